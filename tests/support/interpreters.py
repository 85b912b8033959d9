"""Scripts in interpreters of their own, in which nothing is imported yet."""

import subprocess
import sys

from support.places import ROOT


def passes_in_a_fresh_interpreter(script: str) -> None:
    """Run a script in which nothing is imported yet; its assertions are this test's."""
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
