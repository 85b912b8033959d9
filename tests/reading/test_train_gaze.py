"""The example that trains on a release: killed, it goes on with the samples that come next."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from factory.reading.release import Release
from support.places import ROOT
from support.reading import keys, place_of

RANKS, BATCH = 2, 2
STEPS_OF_EPOCH = 24 // RANKS // BATCH


def start(location: str, output: Path, workers: int, epochs: int) -> list[subprocess.Popen]:
    """A process for each rank, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, str(ROOT / "examples" / "train_gaze.py"), "--log-keys"),
        *("--release", location, "--output", str(output), "--workers", str(workers)),
        *("--epochs", str(epochs), "--batch-size", str(BATCH), "--save-every", "5"),
    ]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                           "WORLD_SIZE": str(RANKS), "PYTHONPATH": str(ROOT)}  # fmt: skip
    return [
        subprocess.Popen(command, env=common | {"RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(RANKS)
    ]


def lines_of(output: Path) -> list[dict]:
    """The whole lines of the log."""
    log = output / "log.jsonl"
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def expected_keys(location: str, epochs: int) -> list[list[list[str]]]:
    """Of each step, the keys of each rank, from the reader alone."""
    release, steps = Release(location), []
    for epoch in range(epochs):
        of_ranks = [keys(release.epoch(epoch, rank=r, num_ranks=RANKS)) for r in range(RANKS)]
        for start_at in range(0, STEPS_OF_EPOCH * BATCH, BATCH):
            steps.append([of[start_at : start_at + BATCH] for of in of_ranks])
    return steps


@pytest.mark.slow
def test_a_killed_training_goes_on_with_the_same_order_of_samples(released, tmp_path) -> None:
    location, output = place_of(released), tmp_path / "gaze"
    ranks = start(location, output, workers=0, epochs=10_000)
    try:
        until = time.monotonic() + 300
        while len(lines_of(output)) < 14 and time.monotonic() < until:
            assert all(rank.poll() is None for rank in ranks), ranks[0].stderr.read().decode()
            time.sleep(0.01)
    finally:
        kill(ranks)
    before = lines_of(output)
    saved = torch.load(output / "checkpoint.pt", weights_only=True)
    assert 10 <= saved["step"] <= len(before)
    assert saved["reader"]["position"] == ((saved["step"] - 1) % STEPS_OF_EPOCH + 1) * BATCH * RANKS

    epochs = saved["reader"]["epoch"] + 2
    ranks = start(location, output, workers=1, epochs=epochs)
    try:
        for rank in ranks:
            _, said = rank.communicate(timeout=300)
            assert rank.returncode == 0, said.decode()
    finally:
        kill(ranks)
    after = lines_of(output)[len(before) :]
    assert after[0]["step"] == saved["step"] + 1
    trained = [*before[: saved["step"]], *after]
    assert [line["keys"] for line in trained] == expected_keys(location, epochs)
    assert [line["step"] for line in trained] == list(range(1, STEPS_OF_EPOCH * epochs + 1))
    errors = [line["error_deg"] for line in trained]
    assert sum(errors[-STEPS_OF_EPOCH:]) < sum(errors[:STEPS_OF_EPOCH])


def kill(ranks: list[subprocess.Popen]) -> None:
    """End them at once, whatever they do."""
    for rank in ranks:
        rank.send_signal(signal.SIGKILL)
        rank.wait()
        rank.stderr.close()
