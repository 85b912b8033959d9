#!/usr/bin/env bash
# One scheduled run: ingest the renders that are new, then refine the shards that are missing.
#
# Settings are environment variables; nightly.env.example explains them. A run that is killed,
# repeated or overlaps another does no harm: each job continues from what is committed.
#
# Exit code: 0, or that of the first job that failed. An ingest that could not make every shard (1)
# does not keep the shards that it did make from being refined; bad arguments or a signal do.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

say() {
    printf '%s nightly: %s\n' "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" "$*"
}

step() {
    local name=$1 started=$SECONDS code
    shift
    say "$name: $*"
    "$@"
    code=$?
    say "$name: exit code $code after $((SECONDS - started)) s"
    return "$code"
}

for name in SIMGAN_RENDERS SIMGAN_SYNTHETIC SIMGAN_REFINER SIMGAN_REFINED; do
    if [[ -z ${!name:-} ]]; then
        say "$name is not set; docs/deploy.md tells what it is" >&2
        exit 2
    fi
done
read -ra ingest_options <<<"${SIMGAN_INGEST_OPTIONS:-}"
read -ra refine_options <<<"${SIMGAN_REFINE_OPTIONS:-}"
if [[ -x .venv/bin/python ]]; then
    PATH=$PWD/.venv/bin:$PATH
fi

step ingest python jobs/ingest.py --source "${SIMGAN_SOURCE:-unityeyes}" \
    --input "$SIMGAN_RENDERS" --output "$SIMGAN_SYNTHETIC" \
    --min-shard "${SIMGAN_MIN_SHARD:-4096}" "${ingest_options[@]}"
ingested=$?
if ((ingested > 1)); then
    exit "$ingested"
fi
step refine python jobs/refine.py --input "$SIMGAN_SYNTHETIC" --refiner "$SIMGAN_REFINER" \
    --output "$SIMGAN_REFINED" "${refine_options[@]}"
refined=$?
exit $((ingested != 0 ? ingested : refined))
