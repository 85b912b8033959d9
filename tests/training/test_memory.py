"""Freed memory is kept for the next tensors."""

import platform
import subprocess
import sys

import pytest

from support.places import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told")
def test_memory_that_tensors_free_is_not_cleared_again() -> None:
    """Counted in a process of its own, as the setting cannot be taken back."""
    script = (
        "import resource, torch\n"
        "from factory.training.memory import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20):\n"
        "        torch.ones(48 * 2**18)\n"  # 48 MiB, more than glibc ever keeps by itself
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "before = faults()\n"
        "assert keep_freed_memory()\n"
        "faults()\n"
        "after = faults()\n"
        "assert after < before / 10, (before, after)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
