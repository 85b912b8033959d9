"""The session that measures on a GPU, tried on a CPU with tiny networks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu_session.sh"
STEPS = re.search(r"^steps=\((.+)\)$", SCRIPT.read_text("utf-8"), re.MULTILINE)[1].split()
LIMITS_S = dict(re.findall(r"^    \[([a-z-]+)\]=(\d+)$", SCRIPT.read_text("utf-8"), re.MULTILINE))


def session(script: Path, *options: object, python: str = sys.executable, **variables: str):
    """Run the script, with two threads of CPU at most."""
    return subprocess.run(
        ["bash", script, *map(str, options)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": python, "OMP_NUM_THREADS": "1", **variables},
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps", [["hand-step", "parity"], pytest.param(STEPS, marks=pytest.mark.long)], ids=len
)
def test_every_step_leaves_a_row_and_a_failure_stops_none(tmp_path, steps) -> None:
    limits = {step: "300" for step in steps} | {"hand-step": "0.1"}
    options = [part for limit in limits.items() for part in ("--limit", "=".join(limit))]
    run = session(SCRIPT, "--device", "cpu", "--tiny", "--out", tmp_path, *options, *steps)
    assert run.returncode == 1, run.stdout + run.stderr

    table = (tmp_path / "rows.md").read_text("utf-8")
    assert run.stdout.endswith(table)
    assert "these times say nothing" in table
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines() if line[:1] == "|"]
    assert all(len(row) == 5 for row in rows)
    assert [cell.strip() for cell in rows[0]] == ["question", "script", "ours", "baseline", "ratio"]
    ours = {step: [] for step in steps}
    for row in rows[2:]:
        ours[row[1].strip(" `").removeprefix("gpu_session.sh ")].append(row[2].strip())
    assert ours.pop("hand-step") == ["not measured: stopped at its limit of 0.1 s"]
    log = (tmp_path / "session.log").read_text("utf-8")
    for step, cells in ours.items():
        assert cells and all(cells), f"{step} left no row\n{log}"
        assert not any(cell.startswith("not ") for cell in cells), f"{step}: {cells}\n{log}"
    assert all("within the tolerance" in cell for cell in ours["parity"])
    for cell in ours.get("two-processes", ()):
        assert "weights of the two differ by 0.0e+00" in cell
    assert len(list(tmp_path.iterdir())) <= 8, "more files than a lent machine gives back"


@pytest.mark.slow
def test_an_error_is_the_reason_in_the_row(tmp_path) -> None:
    run = session(SCRIPT, "--out", tmp_path, "parity", CUDA_VISIBLE_DEVICES="")
    assert run.returncode == 1
    reason = "not measured: exit status 1; PyTorch sees no CUDA device"
    assert f"| parity | `gpu_session.sh parity` | {reason} | | |" in run.stdout


def test_all_limits_together_are_less_than_nine_minutes() -> None:
    assert list(LIMITS_S) == STEPS
    assert sum(map(int, LIMITS_S.values())) <= 540


def test_missing_packages_are_named_with_the_remedy(tmp_path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    copy = tmp_path / "benchmarks" / SCRIPT.name
    copy.parent.mkdir()
    shutil.copy(SCRIPT, copy)
    run = session(copy, python=str(bare / "bin" / "python"), PYTHONPATH="")
    assert run.returncode == 2
    assert "has no usable pydantic" in run.stderr and "gpu_session.sh pack" in run.stderr


@pytest.mark.parametrize(
    "options", [["--device", "tpu"], ["--limit", "engine"], ["--limit", "x=1"], ["x"], ["--seed"]]
)
def test_wrong_options_are_refused(tmp_path, options) -> None:
    run = session(SCRIPT, "--out", tmp_path / "new", *options)
    assert run.returncode == 2
    assert run.stderr.startswith("gpu_session.sh: ") and not (tmp_path / "new").exists()


def test_it_is_a_sound_script() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    run = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
