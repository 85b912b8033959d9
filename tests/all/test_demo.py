"""`make demo` for each domain, with fewer renders and steps, from start to release."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.clusters import without_ray_address
from support.demos import smaller
from support.places import ROOT

pytestmark = [pytest.mark.long, pytest.mark.ray]


@pytest.mark.parametrize(("domain", "name"), [("eye", "demo"), ("hand", "demo-hand")])
def test_the_chain_ends_in_a_release(domain: str, name: str, tmp_path: Path) -> None:
    text = (ROOT / "configs" / f"{name}.toml").read_text("utf-8")
    (tmp_path / "settings.toml").write_text(smaller(text), "utf-8")
    command = [sys.executable, "-m", "jobs.demo", "--domain", domain]
    done = subprocess.run(
        [*command, "--settings", "settings.toml", "--output", "out"],  # relative, as by default
        cwd=tmp_path,
        env=without_ray_address() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "refined" / "releases" / "demo" / "manifest.json").is_file()
    assert "<img" in (tmp_path / "out" / "report.html").read_text("utf-8")
    made, passed, look = done.stderr.rstrip().splitlines()[-3:]
    assert "made: 1" in made and made.endswith("released as 'demo'")
    assert "passed: all 1 limits of the gate; the refiner " in passed
    assert look.endswith("report.html") and "open: /" in look
