"""Whether the demos pass their gates on any seed and on any machine's roundings.

    python benchmarks/demo_seeds.py [--domains eye hand] [--seeds 0 1 2] [--numerics native avx2]
        [--at-once 2]
    python benchmarks/demo_seeds.py --table

Each row of benchmarks/results/demo_seeds.jsonl is one whole demo: its seed, its numerics, what the
gate's measures were, and how long it took. Rows that are there already are not made again, so that
the table can be made in several sittings; a change of the settings or of the gate begins a new one.
`--table` prints the rows that belong to the present settings as Markdown. With `--at-once` several
demos share the processor: the table is sooner made, but says nothing about the time of those rows.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "benchmarks" / "results" / "demo_seeds.jsonl"
SETTINGS = {"eye": "configs/demo.toml", "hand": "configs/demo-hand.toml"}
GATES = {"eye": "gates/demo.toml", "hand": "gates/demo-hand.toml"}
NUMERICS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "OPENCV_CPU_DISABLE": "AVX512_SKX",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
    },
    "one_thread": {},
}
"""what the libraries may use: all of this processor on two threads, no more than AVX2, or all of it
on one thread, which adds up in another order"""


def settings_of(domain: str, numerics: str) -> str:
    """The settings of a demo."""
    text = (ROOT / SETTINGS[domain]).read_text("utf-8")
    num_threads = 1 if numerics == "one_thread" else 2
    return re.sub(r"(?m)^num_threads = 2$", f"num_threads = {num_threads}", text)


def digest_of(domain: str) -> str:
    """Of all that decides whether a demo passes, beside the code."""
    files = (SETTINGS[domain], GATES[domain])
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in files)).hexdigest()[:16]


def rows() -> Iterator[dict[str, Any]]:
    """The rows that were made with the present settings."""
    present = {domain: digest_of(domain) for domain in SETTINGS}
    for line in ROWS.read_text("utf-8").splitlines() if ROWS.exists() else ():
        row = json.loads(line)
        if row["settings"] == present[row["domain"]]:
            yield row


def made(domain: str, seed: int, numerics: str, at_once: int) -> dict[str, Any]:
    """Run a demo in a folder of its own, beside others or alone, and describe how it ended."""
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir=os.environ.get("TMPDIR")))
    environment = {**os.environ, **NUMERICS[numerics], "PYTHONPATH": str(ROOT)}
    (folder / "settings.toml").write_text(settings_of(domain, numerics), "utf-8")
    command = [sys.executable, "-m", "jobs.demo", "--domain", domain, "--seed", str(seed)]
    command += ["--settings", str(folder / "settings.toml"), "--output", str(folder / "out")]
    started = time.monotonic()
    try:
        with (folder / "log.txt").open("wb") as log:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False
            )
        seconds = time.monotonic() - started
        reports = list((folder / "out" / "refined" / "reports").glob("*/report.json"))
        if not reports:
            sys.exit((folder / "log.txt").read_text("utf-8")[-3000:])
        checks = json.loads(reports[0].read_text("utf-8"))["checks"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "domain": domain,
        "seed": seed,
        "numerics": numerics,
        "processor": processor(),
        "settings": digest_of(domain),
        "commit": output_of("git", "describe", "--always", "--dirty"),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds),
        "at_once": at_once,
        "exit_code": done.returncode,
        "passed": all(check["passed"] for check in checks),
        "figures": {check["measure"]: check["value"] for check in checks},
    }


def output_of(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def processor() -> str:
    """Name and kind of this machine's processor."""
    kind = "from factory.networks.precision import processor_kind as k; print(k())"
    match = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{match[1] if match else 'unknown'} ({output_of(sys.executable, '-c', kind)})"


def table() -> str:
    """The rows as Markdown: for each domain and numerics, passes, range of each figure, time."""
    lines = [
        "| demo | numerics | passed | seconds | figures, lowest to highest |",
        "|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows():
        groups.setdefault((row["domain"], row["numerics"]), []).append(row)
    for (domain, numerics), group in sorted(groups.items()):
        passed = f"{sum(row['passed'] for row in group)} of {len(group)}"
        alone = sorted(row["seconds"] for row in group if row.get("at_once", 1) == 1)
        seconds = f"{alone[0]} to {alone[-1]}" if alone else "not measured"
        figures = []
        for measure in group[0]["figures"]:
            values = [row["figures"][measure] for row in group]
            if None in values:
                figures.append(f"`{measure}` not measured")
            else:
                figures.append(f"`{measure}` {min(values):.3g} to {max(values):.3g}")
        lines.append(f"| {domain} | {numerics} | {passed} | {seconds} | {'; '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domains", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--numerics", nargs="+", choices=NUMERICS, default=list(NUMERICS))
    parser.add_argument("--at-once", type=int, default=1, help="demos that run at one time")
    parser.add_argument("--table", action="store_true", help="print the rows as Markdown")
    given = parser.parse_args()
    if given.table:
        print(table())
        return
    done = {(row["domain"], row["seed"], row["numerics"]) for row in rows()}
    # Seed by seed, so that a sitting that ends early has tried every domain and numerics.
    wanted = [
        (domain, seed, numerics)
        for seed in given.seeds
        for numerics in given.numerics
        for domain in given.domains
    ]
    missing = [case for case in wanted if case not in done]
    ROWS.parent.mkdir(exist_ok=True)
    pool = ThreadPoolExecutor(given.at_once)
    try:
        demos = [pool.submit(made, *case, given.at_once) for case in missing]
        for number, demo in enumerate(as_completed(demos), 1):
            row = demo.result()
            with ROWS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            case = f"{row['domain']} {row['seed']} {row['numerics']}"
            verdict = "passed" if row["passed"] else "FAILED"
            print(f"{number} of {len(missing)}: {case} {verdict} in {row['seconds']} s", flush=True)
    finally:  # a demo that broke, or Ctrl-C, begins no other one
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
