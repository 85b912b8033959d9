#!/usr/bin/env bash
# A real S3 server on the loopback, without root: Ceph's RADOS gateway from Debian's packages.
#
#   tests/support/rgw.sh get  ROOT                      download and unpack the packages (Debian 12, once)
#   tests/support/rgw.sh up   ROOT RUN PORT [OWNER]     start it; stops by itself once process OWNER is gone
#   tests/support/rgw.sh kill RUN                       SIGKILL the gateway alone; what it stored stays
#   tests/support/rgw.sh back RUN                       start the gateway again
#   tests/support/rgw.sh down RUN                       stop everything; what it stored is gone
#
# `up` reads RGW_ACCESS_KEY and RGW_SECRET_KEY, the keys of the one user it makes. The data lies in
# memory, in a ceph-osd of its own, so the gateway may die and come back like a server that fails.
set -euo pipefail

LIB=/usr/lib/x86_64-linux-gnu

get() {
  [ -x "$1/usr/bin/radosgw" ] && return
  local work
  mkdir -p "$(dirname "$1")"
  work=$(mktemp -d "$(dirname "$1")/.rgw-XXXXXX")
  trap 'rm -rf "$work"' RETURN
  mkdir "$work/debs" "$work/root"
  (
    cd "$work/debs"
    needed=$(apt-get install -s --no-install-recommends radosgw ceph-mon ceph-osd |
      awk '/^Inst/ {print $2}')
    # shellcheck disable=SC2086
    apt-get -o APT::Sandbox::User=root download $needed
    for package in *.deb; do dpkg -x "$package" "$work/root"; done
  )
  mv -T "$work/root" "$1"
}

enter() {  # RUN: find what `up` left there
  run=$(cd "$1" && pwd)
  # shellcheck disable=SC1091
  . "$run/env"
  export LD_LIBRARY_PATH=$root$LIB:$root$LIB/ceph:$root/usr/lib/ceph:$root/lib/x86_64-linux-gnu
  export PYTHONPATH=$root/usr/lib/python3/dist-packages
}

ceph() {  # COMMAND [ARGUMENT...]
  local command=$1
  shift
  "$root/usr/bin/$command" -c "$run/ceph.conf" "$@"
}

gateway() {
  ceph radosgw -n client.admin 2>>"$run/log/start"
  for _ in $(seq 120); do
    if (echo >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then return; fi
    sleep 0.1
  done
  echo "the gateway did not open port $port; see $run/log" >&2
  return 1
}

up() {
  local monitor=$(($3 + 1)) monitor_v1=$(($3 + 2)) fsid osd
  mkdir -p "$2"/{mon,osd0,rgw,log}
  printf 'root=%q\nport=%q\n' "$(cd "$1" && pwd)" "$3" >"$2/env"
  enter "$2"
  fsid=$(cat /proc/sys/kernel/random/uuid) osd=$(cat /proc/sys/kernel/random/uuid)
  cat >"$run/ceph.conf" <<CONF
[global]
fsid = $fsid
mon_host = [v2:127.0.0.1:$monitor,v1:127.0.0.1:$monitor_v1]
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = $run
admin_socket =
pid_file = $run/\$name.pid
log_file = $run/log/\$name.log
mon_cluster_log_file = $run/log/cluster.log
plugin_dir = $root$LIB/ceph
erasure_code_dir = $root$LIB/ceph/erasure-code
osd_class_dir = $root$LIB/rados-classes
osd_class_load_list = *
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 0
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[mon.a]
mon_data = $run/mon
[osd.0]
osd_data = $run/osd0
[client]
# Without tcp_nodelay, every small answer waits 40 ms for a delayed acknowledgement.
rgw_frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw_data = $run/rgw
rgw_dns_name = localhost
# radosgw wants secure connections to the monitor by default, which auth=none cannot give.
ms_mon_client_mode = crc
CONF
  "$root/usr/bin/ceph-authtool" --create-keyring "$run/keyring" --gen-key -n mon. \
    --cap mon 'allow *' >/dev/null
  "$root/usr/bin/monmaptool" --create --addv a "[v2:127.0.0.1:$monitor,v1:127.0.0.1:$monitor_v1]" \
    --fsid "$fsid" "$run/monmap" >/dev/null
  ceph ceph-mon -i a --mkfs --monmap "$run/monmap" --keyring "$run/keyring"
  ceph ceph-mon -i a
  timeout 60 python3 "$root/usr/bin/ceph" -c "$run/ceph.conf" osd new "$osd" 0 >/dev/null
  ceph ceph-osd -i 0 --mkfs --osd-uuid "$osd" 2>>"$run/log/start"
  ceph ceph-osd -i 0 2>>"$run/log/start"
  gateway
  ceph radosgw-admin -n client.admin user create --uid=lab --display-name=lab \
    --access-key="$RGW_ACCESS_KEY" --secret="$RGW_SECRET_KEY" >/dev/null 2>>"$run/log/start"
  if [ -n "${4:-}" ]; then
    (trap "" HUP INT TERM; while kill -0 "$4" 2>/dev/null; do sleep 1; done; down "$run") </dev/null >/dev/null 2>&1 &
  fi
}

kill_gateway() {  # and wait until it is gone, with its port
  local pid
  pid=$(cat "$1/client.admin.pid")
  kill -KILL "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
}

down() {
  for daemon in client.admin osd.0 mon.a; do
    kill -KILL "$(cat "$1/$daemon.pid" 2>/dev/null)" 2>/dev/null || true
  done
}

case "${1:-}" in
  get) get "$2" ;;
  up) up "$2" "$3" "$4" "${5:-}" ;;
  kill) kill_gateway "$2" ;;
  back) enter "$2" && gateway ;;
  down) down "$2" ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2 ;;
esac
