"""What the steps of `gpu_session.sh` share: where they compute, on what, and where results go."""

import platform
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import EYE

from factory.training.config import TrainConfig
from schemas.dataset import BYTES_FULL_SCALE, ImageSpec

CONFIGS = Path(__file__).parents[1] / "configs"
CUBE_FULL_SCALE = 301.0
"""of depth in a cube of 300 mm: the largest stored value"""
IMAGES = {"eye": EYE, "hand": ImageSpec(height=224, width=224, bits=16)}
TINY_IMAGES = {"eye": EYE, "hand": ImageSpec(height=64, width=64, bits=16)}
TINY = {"batch_size": 4, "buffer_size": 16}
TINY_REFINER = {"maps": 8, "blocks": 4}
"""the smallest that can start as the exact identity"""


class NotHereError(Exception):
    """This machine lacks what a step needs; the message says what."""


@dataclass(frozen=True)
class Session:
    """One step's view of the session."""

    step: str
    device: str
    """`cuda` or `cpu`"""
    tiny: bool
    """small networks, few images and no compiler: a trial of the script, whose times say nothing"""
    table: Path
    """the Markdown table that every step adds rows to"""

    def prepare(self) -> None:
        """Set up this process; first of all in every process."""
        if self.tiny:
            torch.set_num_threads(1)
            torch.compiler.set_stance("force_eager")

    def row(
        self, question: str, *, ours: str, baseline: str = "", ratio: float | None = None
    ) -> None:
        """Add a row at once, so that it stays if the step is stopped later.

        Args:
            ours, baseline: with their units.
            ratio: ours over the baseline, of rates and of times alike.
        """
        cells = [question, f"`gpu_session.sh {self.step}`", ours, baseline]
        cells.append("" if ratio is None else f"{ratio:.3g}")
        line = f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
        with self.table.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        print(line, flush=True)

    def image(self, domain: str) -> ImageSpec:
        """The layout of a domain's images."""
        return (TINY_IMAGES if self.tiny else IMAGES)[domain]

    def config(self, domain: str, *, pretraining: bool = False, **changes: Any) -> TrainConfig:
        """The training of `configs/<domain>.toml`, without its pre-training unless asked for."""
        content = tomllib.loads((CONFIGS / f"{domain}.toml").read_text("utf-8"))["train"]
        if domain == "hand":
            content["full_scale"] = CUBE_FULL_SCALE
        for name in ("refiner_pretrain_steps", "discriminator_pretrain_steps"):
            content[name] = min(content[name], 2 if self.tiny else content[name]) * pretraining
        if self.tiny:
            content |= TINY
            content["refiner"] |= TINY_REFINER
        return TrainConfig.model_validate(content | changes)

    def drawn(self, domain: str, count: int, seed: int = 0) -> np.ndarray:
        """Drawn images: (count, H, W) uint8 eyes, or uint16 hands in mm."""
        return drawn_images(self.image(domain), count, seed)

    @property
    def float32(self) -> str:
        """float32 as PyTorch computes it here: NVIDIA's convolutions round to TF32 unless told
        not to."""
        has_tf32 = self.device == "cuda" and torch.backends.cudnn.allow_tf32
        return "float32 (TF32)" if has_tf32 else "float32"

    def describe(self) -> str:
        """Device and versions."""
        processor = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        return f"{processor}, torch {torch.__version__}, Python {platform.python_version()}"


def drawn_images(image: ImageSpec, count: int, seed: int) -> np.ndarray:
    """One disc an image: a dark one on skin under noise, or depth that slants before nothing.

    Returns:
        (count, H, W) uint8 for 8 bits, uint16 up to `CUBE_FULL_SCALE` for 16.
    """
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[: image.height, : image.width].astype(np.float32)
    side_px = min(image.height, image.width)
    images = np.empty(
        (count, image.height, image.width), np.uint8 if image.bits == 8 else np.uint16
    )
    for drawing in images:
        x, y = rng.uniform(0.35, 0.65, 2) * (image.width, image.height)
        inside = np.hypot(xs - x, ys - y) < rng.uniform(0.15, 0.35) * side_px
        slant = rng.uniform(-0.5, 0.5, 2)
        shading = (slant[0] * (xs - x) + slant[1] * (ys - y)) / side_px
        noise = rng.standard_normal(xs.shape, np.float32)
        if image.bits == 8:
            levels = 150 - 100 * inside + 60 * shading + 8 * noise
            drawing[:] = levels.clip(0, BYTES_FULL_SCALE).round()
        else:
            depth_mm = (150 + 100 * shading + noise).clip(1, CUBE_FULL_SCALE)
            drawing[:] = np.where(inside, depth_mm, 0).round()
    return images
