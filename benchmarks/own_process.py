"""Lines that benchmarks print, and parts of them in processes whose peak of memory is their own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def say(figures: Mapping[str, object]) -> None:
    """Print a line of JSON, at once."""
    print(json.dumps(figures), flush=True)


def in_own_process(*arguments: object) -> dict[str, float]:
    """What a Python program says, all its lines joined.

    Args:
        arguments: the path of the program, and its options.
    """
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    objects = map(json.loads, done.stdout.splitlines())
    return {name: value for one in objects for name, value in one.items()}


def peak_mib() -> float:
    """The most memory that this process had so far; `getrusage` begins at what its parent had."""
    status = Path("/proc/self/status").read_text()
    (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024
