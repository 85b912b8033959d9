#!/usr/bin/env bash
# Prometheus and promtool from Debian's package, without root, unpacked into a folder (once).
#
#   tests/support/prometheus.sh ROOT
set -euo pipefail

[ -x "$1/usr/bin/prometheus" ] && exit
mkdir -p "$(dirname "$1")"
work=$(mktemp -d "$(dirname "$1")/.prometheus-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
(
  cd "$work"
  apt-get -o APT::Sandbox::User=root download prometheus
  dpkg -x prometheus_*.deb root
)
mv -T "$work/root" "$1"
