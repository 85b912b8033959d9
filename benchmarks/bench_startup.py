"""CPU seconds until each job answers `--help`, against the import of the libraries that every job
needs for its options.

    python benchmarks/bench_startup.py [--rounds 5]
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASELINE = "import numpy, orjson, pyarrow, pydantic, tyro"


def cpu_s(*command: str) -> float:
    """CPU seconds of a process and what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    commands = {BASELINE: ("-c", BASELINE)}
    for path in sorted((ROOT / "jobs").glob("[a-z]*.py")):
        commands[f"{path.name} --help"] = ("-m", f"jobs.{path.stem}", "--help")
    seconds = {name: [cpu_s(*command) for _ in range(rounds)] for name, command in commands.items()}
    baseline = statistics.median(seconds[BASELINE])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:48} {median:.2f} s of CPU, {median / baseline:.1f} x")


if __name__ == "__main__":
    main()
