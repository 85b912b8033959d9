#!/usr/bin/env bash
# One scheduled night, from new renders to a release: jobs/night.py with the settings of this
# machine. They are environment variables, which nightly.env.example explains, or the tables of the
# file that SIMGAN_SETTINGS names (night.example.toml), or both; variables come first. Arguments are
# passed on: `--overdue-hours 26` only looks whether nights still end in releases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [[ -x .venv/bin/python ]]; then
    PATH=$PWD/.venv/bin:$PATH
fi
exec python jobs/night.py ${SIMGAN_SETTINGS:+--settings "$SIMGAN_SETTINGS"} "$@"
