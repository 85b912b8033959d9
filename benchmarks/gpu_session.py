"""One step of a session on a machine with a GPU; `gpu_session.sh` runs them all, with time limits.

Each adds rows for results.md to a Markdown table, and what else it has to say goes to the log.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import gpu_engines
import gpu_training
import torch
from gpu_rows import NotHereError, Session

STEPS: dict[str, Callable[[Session], None]] = {
    "parity": gpu_engines.parity,
    "engine": gpu_engines.engine_rates,
    "eye-step": gpu_training.eye_step,
    "history": gpu_training.history,
    "eye-config": gpu_training.eye_config,
    "hand-config": gpu_training.hand_config,
    "hand-step": gpu_training.hand_step,
    "two-processes": gpu_training.two_processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a trial whose times say nothing")
    parser.add_argument("--table", type=Path, required=True, help="Markdown file to add rows to")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA device")
    session = Session(options.step, options.device, options.tiny, options.table)
    session.prepare()
    try:
        STEPS[options.step](session)
    except NotHereError as reason:
        session.row(options.step, ours=f"not run: {reason}")


if __name__ == "__main__":
    main()
