#!/usr/bin/env bash
# Build the image without a registry: a base of Debian's packages, the Dockerfile on it, the demo in
# it without network, and lists of what is in it. Needs mmdebstrap and podman, which Debian has.
#
#   cluster/deploy/image.sh [--pip FOLDER] [--torch-index URL] OUT [base|build|demo|sbom]...
#
# Without a step, all four are done in this order. OUT is the folder for base.tar, demo.log, demo/,
# python-packages.cdx.json and debian-packages.txt. docs/deploy.md explains the options.
#
# Exit code: 0, or that of the first command that failed; 2 for bad arguments.
set -euo pipefail

readonly SUITE=bookworm BASE=localhost/simgan-base:bookworm
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/pyproject.toml")
readonly ROOT VERSION IMAGE=localhost/simgan-factory-cpu:$VERSION

say() {
    printf '%s image: %s\n' "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" "$*"
}

refuse() {
    say "$*" >&2
    sed -n '5s/^# *//p' "$ROOT/cluster/deploy/image.sh" >&2
    exit 2
}

# Python with its headers, and a pip that may install into the system, as python:3.11-slim-bookworm
# has them. Pages of documentation are left out, licences stay.
base() {
    # shellcheck disable=SC2016  # mmdebstrap sets $1
    mmdebstrap --variant=minbase \
        --include=ca-certificates,libpython3.11-dev,python-is-python3,python3-pip \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook='rm "$1/usr/lib/python3.11/EXTERNALLY-MANAGED"' \
        "$SUITE" "$out/base.tar"
    podman import --change 'CMD ["bash"]' --change 'ENV LANG=C.UTF-8' "$out/base.tar" "$BASE"
}

# No layer of an earlier build is used: podman does not see that the folder for pip has changed.
build() {
    podman build --no-cache --network host --file "$ROOT/cluster/deploy/Dockerfile" \
        --ignorefile "$ROOT/cluster/deploy/Dockerfile.dockerignore" \
        --build-arg "BASE=$BASE" "${for_pip[@]}" --tag "$IMAGE" "$ROOT"
    podman image inspect --format 'size in bytes: {{.Size}}, user: {{.User}}' "$IMAGE"
}

# With the user of the Dockerfile, without capabilities and new privileges, as Kubernetes runs it.
# The option U gives the folder to that user.
demo() {
    rm -rf "$out/demo"
    mkdir "$out/demo"
    podman run --rm --network none --cap-drop all --security-opt no-new-privileges --shm-size 2g \
        --volume "$out/demo:/demo:U" "$IMAGE" \
        bash -c 'id; python --version; exec simgan-factory demo --output /demo' 2>&1 |
        tee "$out/demo.log"
}

# cyclonedx-bom is beside the image, not in it, and looks at the image's Python from outside.
sbom() {
    local tools=$out/sbom-tools mounts=()
    mkdir -p "$tools"
    if [[ -n $pip_folder ]]; then
        mounts=(--volume "$pip_folder:/pip:ro" --env PIP_CONFIG_FILE=/pip/pip.conf)
    fi
    podman run --rm --network host --user 0:0 "${mounts[@]}" --volume "$tools:/tools" "$IMAGE" \
        pip install --quiet --no-cache-dir --upgrade --target /tools \
        --constraint constraints.txt cyclonedx-bom
    podman run --rm --network none --volume "$tools:/tools:ro" "$IMAGE" python -c '
import runpy, sys
sys.path.append("/tools")
runpy.run_module("cyclonedx_py", run_name="__main__", alter_sys=True)
' environment --pyproject pyproject.toml --mc-type application /usr/bin/python \
        >"$out/python-packages.cdx.json"
    podman run --rm --network none "$IMAGE" dpkg-query --show >"$out/debian-packages.txt"
    wc --lines "$out/debian-packages.txt"
}

pip_folder='' for_pip=() step=''
while [[ ${1:-} == --* ]]; do
    [[ $# -ge 2 ]] || refuse "$1 needs a value"
    case $1 in
    --pip)
        pip_folder=$(cd "$2" && pwd) || refuse "--pip $2 is not a folder"
        for_pip+=(--build-context "pip=$pip_folder")
        ;;
    --torch-index) for_pip+=(--build-arg "TORCH_INDEX=$2") ;;
    *) refuse "there is no option $1" ;;
    esac
    shift 2
done
[[ $# -ge 1 ]] || refuse "OUT is missing"
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
steps=("$@")
[[ $# -gt 0 ]] || steps=(base build demo sbom)
for step in "${steps[@]}"; do
    [[ $step =~ ^(base|build|demo|sbom)$ ]] || refuse "there is no step $step"
done
step=''
for tool in mmdebstrap podman; do
    command -v "$tool" >/dev/null || refuse "$tool is not installed"
done

report_end() {
    say "$step: exit code $1 after $((SECONDS - started)) s"
}
on_exit() {
    local code=$?
    [[ -z $step ]] || report_end "$code" # a command of this step failed
}
trap on_exit EXIT
for step in "${steps[@]}"; do
    started=$SECONDS
    say "$step"
    "$step"
    report_end 0
done
step=''
