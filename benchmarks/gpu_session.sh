#!/usr/bin/env bash
# Measures what results.md asks of a GPU, on a machine with one and nothing but PyTorch and numpy.
#
#   benchmarks/gpu_session.sh pack
#       once, where a package registry can be reached: put the other packages that are needed, for
#       each Python version below, into build/gpu_session, which travels with the checkout (git
#       ignores it)
#   benchmarks/gpu_session.sh [--device cuda|cpu] [--tiny] [--out FOLDER]
#                             [--limit STEP=SECONDS]... [STEP...]
#       on the machine with the GPU: run all steps, or those that are named, each with its own time
#       limit, and print the table of rows. A step that fails leaves a row with the reason, and the
#       others go on. FOLDER (default $OUT, else out/gpu_session) gets rows.md and session.log.
#       --tiny is a trial with small networks and no compiler, whose times say nothing.
#
# PYTHON names the interpreter (default python3). Exit status: 0 if every step did its work, 1 if one
# did not, 2 for wrong options and missing packages.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
python=${PYTHON:-python3}
packages=$root/build/gpu_session
versions=(3.11 3.12)
travels_at_most_mb=60
# What must be brought where it is not installed, and how to tell that it is.
needed=(pydantic orjson safetensors)
declare -A import_of=(
    [pydantic]="from pydantic import model_validator"
    [orjson]="import orjson"
    [safetensors]="import safetensors"
)
# In this order; together 530 of the 540 seconds that a session may take.
steps=(parity engine eye-step history eye-config hand-config hand-step two-processes)
declare -A limit_s=(
    [parity]=45
    [engine]=115
    [eye-step]=95
    [history]=30
    [eye-config]=40
    [hand-config]=70
    [hand-step]=110
    [two-processes]=25
)

refuse() {
    echo "gpu_session.sh: $*" >&2
    exit 2
}

# Unpack the needed packages into one folder for each version of Python and package.
pack() {
    local version name platform platforms=()
    for platform in manylinux_2_28 manylinux_2_17 manylinux2014; do
        platforms+=(--platform "${platform}_x86_64")
    done
    rm -rf "$packages"
    for version in "${versions[@]}"; do
        for name in "${needed[@]}"; do
            "$python" -m pip install --quiet --target "$packages/$version/$name" --no-compile \
                --only-binary=:all: --implementation cp --python-version "$version" \
                "${platforms[@]}" --constraint "$root/constraints.txt" "$name"
        done
    done
    local packages_mb checkout_mb
    packages_mb=$(du -sm "$packages" | cut -f 1)
    checkout_mb=$(git -C "$root" ls-files -z | (cd "$root" && du -cm --files0-from=-) |
        tail -n 1 | cut -f 1)
    echo "$packages: $packages_mb MB, beside a checkout of $checkout_mb MB"
    if ((packages_mb + checkout_mb >= travels_at_most_mb)); then
        refuse "that is more than the $travels_at_most_mb MB that may travel"
    fi
}

# Print the folders of those needed packages that this Python lacks, each with a colon after it.
brought() {
    local version name
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    for name in "${needed[@]}"; do
        if "$python" -c "${import_of[$name]}" 2>/dev/null; then
            continue
        fi
        if [[ ! -d $packages/$version/$name ]]; then
            refuse "this Python $version has no usable $name, and $packages has none for it; run" \
                "\`benchmarks/gpu_session.sh pack\` where a registry can be reached, and bring" \
                "build/gpu_session along"
        fi
        printf '%s:' "$packages/$version/$name"
    done
}

# Add a row for a step that did not end well.
failed() {
    local step=$1 reason=${2//|/\\|}
    echo "| $step | \`gpu_session.sh $step\` | not measured: $reason | | |" >>"$out/rows.md"
}

# Run one step within its limit; succeeds if the step does.
run_step() {
    local step=$1 lines status=0 started=$SECONDS reason said
    echo "== $step, at most ${limit_s[$step]} s" >>"$out/session.log"
    lines=$(wc -l <"$out/session.log")
    # A compiler that is stopped leaves broken files in its cache, so no other step gets that one.
    TORCHINDUCTOR_CACHE_DIR=$compiled/$step \
        timeout --kill-after=5 "${limit_s[$step]}" "$python" "$here/gpu_session.py" "$step" \
            --table "$out/rows.md" "${options[@]}" >>"$out/session.log" 2>&1 || status=$?
    echo "$step: exit status $status after $((SECONDS - started)) s"
    if ((status == 0)); then
        return
    fi
    reason="exit status $status"
    if ((status == 124 || status == 137)); then
        reason="stopped at its limit of ${limit_s[$step]} s"
    fi
    said=$(tail -n "+$((lines + 1))" "$out/session.log" |
        grep -E '^[A-Za-z_.]+(Error|Exception|Loss)(:|$)|^PyTorch sees' | tail -n 1 | cut -c -300 || true)
    failed "$step" "$reason${said:+; $said}"
    return 1
}

if [[ ${1:-} == pack ]]; then
    (($# == 1)) || refuse "pack takes no options"
    pack
    exit
fi

device=cuda
out=${OUT:-$root/out/gpu_session}
options=()
chosen=()
while (($#)); do
    case $1 in
        --device) device=${2:?--device needs cuda or cpu} && shift ;;
        --out) out=${2:?--out needs a folder} && shift ;;
        --tiny) options+=(--tiny) ;;
        --limit)
            [[ ${2:-} == *=* && -n ${limit_s[${2%%=*}]:-} ]] || refuse "--limit needs STEP=SECONDS"
            limit_s[${2%%=*}]=${2#*=} && shift
            ;;
        *)
            [[ -n ${limit_s[$1]:-} ]] || refuse "no step or option $1; the steps: ${steps[*]}"
            chosen+=("$1")
            ;;
    esac
    shift
done
[[ $device == cuda || $device == cpu ]] || refuse "--device is cuda or cpu, not $device"
((${#chosen[@]})) || chosen=("${steps[@]}")
options+=(--device "$device")

path=$(brought)
export PYTHONPATH=$path$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
mkdir -p "$out"
compiled=$(mktemp -d)
trap 'rm -rf "$compiled"' EXIT
: >"$out/session.log"
{
    if [[ " ${options[*]} " == *" --tiny "* ]]; then
        printf 'A trial with tiny networks on %s: these times say nothing.\n\n' "$device"
    fi
    echo "| question | script | ours | baseline | ratio |"
    echo "|---|---|---|---|---|"
} >"$out/rows.md"
exit_status=0
for step in "${chosen[@]}"; do
    run_step "$step" || exit_status=1
done
echo "$SECONDS s in all; the log is $out/session.log"
echo
cat "$out/rows.md"
exit "$exit_status"
