"""What the small networks have in common that are trained while something is measured: layers,
batches and the planes that they see.

Axes in names: N images, H height, W width.
"""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.images.png import Pixels

Some = TypeVar("Some", bound=NDArray[Any])


def stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A convolution with stride 2 that halves the image size, batch normalisation and a ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def batches_of(images_NHW: Some, size: int, rng: np.random.Generator) -> Iterator[Some]:
    """Endless random batches of `size` images.

    Every image is drawn once before any is drawn again, but for a remainder that is smaller than a
    batch.
    """
    while True:
        order = rng.permutation(len(images_NHW))
        for start in range(0, len(order) - size + 1, size):
            yield cast("Some", images_NHW[order[start : start + size]])


def shifted(images_NHW: Pixels, most_px: int, rng: np.random.Generator) -> Pixels:
    """Move each image by a random number of whole pixels in x and in y, at most `most_px`.

    What moves in from beyond the border repeats the pixels at the border.
    """
    num, height, width = images_NHW.shape
    dy, dx = rng.integers(-most_px, most_px + 1, (2, num))
    rows = np.clip(np.arange(height) - dy[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) - dx[:, None], 0, width - 1)
    which = np.arange(num)[:, None, None]
    moved: Pixels = images_NHW[which, rows[:, :, None], columns[:, None, :]]
    return moved


def network_planes(images_NHW: Pixels, full_scale: int = 255) -> Tensor:
    """The input of the networks here: (n, 2, H, W) float32, channels last in memory.

    The first plane has the values on [-1, 1]. The second has 4 times their difference from the
    mean of their 3 x 3 neighbourhood, which lets a short training see grain and blur of a few grey
    levels: with it, networks detect added noise of 3 levels at once; without it, one in three does.
    """
    values = torch.from_numpy(images_NHW.astype(np.float32))
    grey = values.div_(full_scale / 2).sub_(1).unsqueeze(1)
    around = nn.functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
    planes = torch.cat([grey, 4 * (grey - around)], dim=1)
    return planes.contiguous(memory_format=torch.channels_last)


def require_finite(outputs: Some, network: str) -> Some:
    """What a trained network gave.

    Args:
        network: its name, for the message.

    Raises:
        ValueError: some of it is not finite, as after a training that diverged. A comparison with
            NaN is always false, which would pass for an answer.
    """
    if not np.isfinite(outputs).all():
        raise ValueError(
            f"the {network} gives values that are not finite: its training diverged; lower its "
            "learning_rate"
        )
    return outputs
