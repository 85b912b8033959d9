"""Train a small gaze network on a release, in several processes, and go on after a stop.

    torchrun --standalone --nproc-per-node 2 examples/train_gaze.py \\
        --release REFINED/releases/2026-11-21 --output gaze

Each process is a rank of torch.distributed and reads its share of every epoch. A checkpoint holds
the network, the optimiser and the state of the reader. The same command goes on from the last one,
with the samples that would have come next; the number of processes and of workers may be another
one then. `OUTPUT/log.jsonl` has a line for each step.
"""

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from factory import Release
from factory.reading.loader import ReleaseLoader
from factory.reading.sample import Sample

CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


@dataclass(frozen=True)
class Eyes:
    """A batch of eyes."""

    keys: list[str]
    images: torch.Tensor
    """(n, 1, height, width) float32 in [-1, 1]"""
    gaze: torch.Tensor
    """(n, 3) unit vectors: x right, y down, z away from the camera (docs/conventions.md)"""


def kept(sample: Sample) -> tuple[str, np.ndarray, np.ndarray]:
    """What training needs of a sample; the workers drop the rest at once."""
    gaze = sample.labels["gaze"]
    if gaze is None:
        raise ValueError(f"{sample.key} has no gaze; select with --where 'gaze IS NOT NULL'")
    return sample.key, sample.image, np.asarray(gaze, np.float32)


def side_by_side(samples: list[tuple[str, np.ndarray, np.ndarray]]) -> Eyes:
    """A batch, made in the workers."""
    keys, images, gaze = zip(*samples, strict=True)
    pixels = torch.from_numpy(np.stack(images)).unsqueeze(1).float() / 127.5 - 1
    return Eyes(list(keys), pixels, torch.from_numpy(np.stack(gaze)))


class GazeNet(nn.Sequential):
    """Three convolutions and a direction."""

    def __init__(self) -> None:
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(4, outputs), nn.ReLU()]

        super().__init__(
            *block(1, 16),
            *block(16, 32),
            *block(32, 64),
            nn.AdaptiveAvgPool2d((3, 4)),
            nn.Flatten(),
            nn.Linear(64 * 12, 3),
        )


def angle_deg(directions: torch.Tensor, gaze: torch.Tensor) -> torch.Tensor:
    """(n,) degrees between two directions."""
    a, b = normalize(directions), normalize(gaze)
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=1), (a * b).sum(1)))


class Training:
    """A network, what trains it, and the reader of its samples."""

    def __init__(self, options: argparse.Namespace):
        torch.manual_seed(options.seed)
        self.options, self.step = options, 0
        self.net = GazeNet()
        self.optimiser = torch.optim.Adam(self.net.parameters(), options.learning_rate)
        release = Release(options.release, split=options.split, where=options.where)
        self.loader = ReleaseLoader(
            release,
            options.batch_size,
            num_workers=options.workers,
            seed=options.seed,
            transform=kept,
            collate=side_by_side,
        )
        self.checkpoint = Path(options.output, CHECKPOINT)
        if self.checkpoint.exists():
            self._restore(torch.load(self.checkpoint, weights_only=True))
        self.model = DistributedDataParallel(self.net)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.loader.load_state_dict(state["reader"])

    def save(self) -> None:
        """Write the checkpoint, whole or not at all. All ranks have the same, so one writes it."""
        if dist.get_rank() == 0:
            state = {
                "step": self.step,
                "net": self.net.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "reader": self.loader.state_dict(),
            }
            part = self.checkpoint.with_suffix(".part")
            torch.save(state, part)
            part.replace(self.checkpoint)
        dist.barrier()

    def train(self) -> None:
        """All epochs that are left. A checkpoint is written every few steps and after the last."""
        for epoch in range(self.loader.epoch, self.options.epochs):
            for batch in self.loader:
                error_deg = self._learn(batch)
                self.step += 1
                self._log(epoch, batch, error_deg)
                if self.step % self.options.save_every == 0:
                    self.save()
        self.save()

    def _learn(self, batch: Eyes) -> torch.Tensor:
        """One step; the mean error in degrees before it."""
        self.optimiser.zero_grad()
        error = angle_deg(self.model(batch.images), batch.gaze).mean()
        error.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return error.detach()

    def _log(self, epoch: int, batch: Eyes, error_deg: torch.Tensor) -> None:
        """A line of all ranks, written by the first one."""
        dist.all_reduce(error_deg)
        line: dict[str, Any] = {"epoch": epoch, "step": self.step}
        line["error_deg"] = round(float(error_deg) / dist.get_world_size(), 4)
        if self.options.log_keys:
            line["keys"] = [None] * dist.get_world_size()
            dist.all_gather_object(line["keys"], batch.keys)
        if dist.get_rank() == 0:
            with Path(self.options.output, LOG).open("a") as log:
                log.write(json.dumps(line) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", required=True, help="DATASET/releases/NAME, or s3://…")
    parser.add_argument("--output", required=True, help="folder of the checkpoint and the log")
    parser.add_argument("--split", help="split of the release to train on; default all")
    parser.add_argument("--where", help="SQL expression on the labels; default all samples")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64, help="of each process")
    parser.add_argument("--workers", type=int, default=2, help="that read for each process")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--log-keys", action="store_true", help="name the samples of each step")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.makedirs(options.output, exist_ok=True)  # noqa: PTH103 - ranks make it at once
    dist.init_process_group("gloo")
    try:
        Training(options).train()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
