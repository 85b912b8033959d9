"""Refined frames of a short sequence must agree: the paper's other future work (section 4).

Renders come one by one, so a sequence is made from each: the render moved a little further with
every frame, by a motion that is known. A refiner whose images do not flicker refines the moved
render to the moved refined image (Eilertsen et al. 2019, arXiv:1902.10424).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MAX_SHIFT_PX = 1.5
MAX_TURN_RAD = math.radians(2.0)
MAX_ZOOM = 0.02
"""all by frame"""


def small_motions(
    generator: np.random.Generator, n: int, num_frames: int, height: int, width: int
) -> Tensor:
    """A steady motion for each of n images, of up to the limits above.

    Returns:
        (num_frames - 1, n, 2, 3) float32: where each later frame finds its pixels in the first, in
        the coordinates of `torch.nn.functional.affine_grid`.
    """
    speeds = generator.uniform(-1.0, 1.0, (n, 4))
    frames = []
    for frame in range(1, num_frames):
        shift_x, shift_y, turn, zoom = (frame * speeds).T
        angle, scale = MAX_TURN_RAD * turn, 1.0 + MAX_ZOOM * zoom
        cos, sin, aspect = scale * np.cos(angle), scale * np.sin(angle), height / width
        rows = (
            (cos, -sin * aspect, 2 * MAX_SHIFT_PX * shift_x / width),
            (sin / aspect, cos, 2 * MAX_SHIFT_PX * shift_y / height),
        )
        frames.append(np.stack([np.stack(row, axis=1) for row in rows], axis=1))
    return torch.from_numpy(np.stack(frames).astype(np.float32))


def moved(images: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
    """Images (n, C, H, W) after a motion (n, 2, 3), and where they are known: (n, 1, H, W)."""
    grid = functional.affine_grid(motion, list(images.shape), align_corners=False)
    frames = functional.grid_sample(images, grid, "bicubic", "border", align_corners=False)
    known = (grid.abs() <= 1).all(dim=-1)[:, None]
    return frames.clamp(-1.0, 1.0), known


def sequence_loss(
    refine: Callable[[Tensor], Tensor], synthetic: Tensor, refined: Tensor, motions: Tensor
) -> Tensor:
    """Mean |R(moved x) - moved R(x)| over all later frames, where they are known.

    Args:
        refine: R.
        synthetic: (n, C, H, W) in [-1, 1].
        refined: R of them, attached.
        motions: of `small_motions`.

    Returns:
        Scalar, on [-1, 1].
    """
    losses = []
    for motion in motions.to(synthetic.device):
        frame, known = moved(synthetic, motion)
        expected, _ = moved(refined, motion)
        apart = (refine(frame) - expected).abs().mean(dim=1, keepdim=True)
        losses.append((apart * known).sum() / known.sum())
    return torch.stack(losses).mean()
