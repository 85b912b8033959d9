"""Features that see how an image looks: its grain, contrast, shading and sharpness, and what it
shows.

Pretrained networks see colour photographs of 224 pixels and more, and were trained to ignore just
the looks that a refiner changes. So a small network is trained here on the images at hand, by
instance discrimination (Wu et al. 2018, arXiv:1805.01978; the loss is NT-Xent, Chen et al. 2020,
arXiv:2002.05709): it must tell each image from all others, but for shifts of a few pixels. Unlike
there, every image comes in several *looks* (blurred or sharpened, noisy, brighter, flatter, lit
from one side), and the looks of one image count as different images. The pose of the eye is no
help in telling those apart, so features must carry the look; the noise of two views of an
instance is drawn anew, so that they carry its strength rather than its pattern.

The network sees real images and renders, never refined ones: no refiner can have been chosen by
it, and images refined by any refiner are measured with the same one.

Axes in names: N images, H height, W width, D features.
"""

from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from factory.measures.two_sample import (
    batches_of,
    network_planes,
    one_thread,
    shifted,
    stage,
)
from schemas.base import Model

Images = NDArray[np.uint8]
Features = NDArray[np.float64]


class FeatureTraining(Model):
    """A small network and how it is trained; the defaults take a minute of one core."""

    num_features: Annotated[int, Field(gt=0)] = 48
    num_steps: Annotated[int, Field(gt=0)] = 150
    """optimiser steps"""
    num_images: Annotated[int, Field(gt=1)] = 32
    """images a step"""
    num_looks: Annotated[int, Field(gt=1)] = 4
    """of each image in a step, one of them as it is"""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """at its peak; it rises and falls once"""
    temperature: Annotated[float, Field(gt=0)] = 0.2
    max_shift_px: Annotated[int, Field(ge=0)] = 2
    """between views of one instance"""
    seed: int = 0

    def __call__(self, images_NHW: Images) -> "Extractor":
        """Train on images of all sets that are to be told apart.

        Args:
            images_NHW: uint8, sides of 8 px or more.

        Returns:
            The same on every run and with any number of threads.

        Raises:
            ValueError: too few images for one step.
        """
        if len(images_NHW) < self.num_images:
            raise ValueError(
                f"{len(images_NHW)} images to train features on, a step takes {self.num_images}"
            )
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            encoder = _Encoder(self.num_features)
            self._fit(encoder, images_NHW)
        return Extractor(encoder)

    def _fit(self, encoder: nn.Module, images_NHW: Images) -> None:
        rng = np.random.default_rng(self.seed)
        head = nn.Sequential(
            nn.Linear(self.num_features, 64), nn.ReLU(), nn.Linear(64, 32, bias=False)
        )
        parameters = [*encoder.parameters(), *head.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=self.num_steps
        )
        batches = batches_of(images_NHW, self.num_images, rng)
        for _ in range(self.num_steps):
            views = self._views(next(batches), rng)
            loss = same_instance_loss(head(encoder(network_planes(views))), self.temperature)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        encoder.eval()

    def _views(self, images_NHW: Images, rng: np.random.Generator) -> Images:
        """Two views of every look of every image: the first of all, then the second of all."""
        instances = np.repeat(images_NHW, self.num_looks, axis=0)
        looks = Look.draw(len(instances), rng, same=slice(None, None, self.num_looks))
        return np.concatenate(
            [shifted(looks(instances, rng), self.max_shift_px, rng) for _ in range(2)]
        )


class Look(NamedTuple):
    """Changes of how images look, one number for each image, 0 for none."""

    blur: Tensor
    """part of the way to the mean of the 3x3 surroundings; below 0: sharper"""
    gamma_log2: Tensor
    contrast_log2: Tensor
    ramp_xy: Tensor
    """(N, 2) brightness gained from the middle to the right and to the bottom, of full scale"""
    noise: Tensor
    """standard deviation, of full scale"""

    @classmethod
    def draw(cls, num: int, rng: np.random.Generator, same: slice) -> "Look":
        """Mostly slight changes, and none for those of `same`."""
        draws = torch.from_numpy(rng.standard_normal((num, 6)).astype(np.float32))
        draws[same] = 0
        blur, gamma, contrast, right, down, noise = draws.unbind(1)
        return cls(
            blur=(0.4 * blur).clamp(-1, 1),
            gamma_log2=0.3 * gamma,
            contrast_log2=0.3 * contrast,
            ramp_xy=0.06 * torch.stack([right, down], dim=1),
            noise=0.02 * noise.abs(),
        )

    def __call__(self, images_NHW: Images, rng: np.random.Generator) -> Images:
        """The images with this look; noise is drawn anew each time."""
        grey = torch.from_numpy(images_NHW).float().div_(255).unsqueeze(1)
        around = nn.functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
        grey = (grey + _each(self.blur) * (around - grey)).clamp(0, 1)
        grey = grey ** _each(2**self.gamma_log2)
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        grey = mean + _each(2**self.contrast_log2) * (grey - mean)
        height, width = grey.shape[2:]
        across = torch.linspace(-1, 1, width)[None, None, None, :]
        down = torch.linspace(-1, 1, height)[None, None, :, None]
        grey = grey + _each(self.ramp_xy[:, 0]) * across + _each(self.ramp_xy[:, 1]) * down
        pattern = torch.from_numpy(rng.standard_normal(grey.shape, np.float32))
        grey = grey + _each(self.noise) * pattern
        looked: Images = grey.squeeze(1).mul(255).round_().clamp_(0, 255).byte().numpy()
        return looked


def _each(values: Tensor) -> Tensor:
    """(N,) to be multiplied with (N, 1, H, W)."""
    return values[:, None, None, None]


def same_instance_loss(embedded: Tensor, temperature: float) -> Tensor:
    """NT-Xent, Chen et al. 2020, equation (1): each view must find the other one of its instance.

    Args:
        embedded: (2 n, d); rows k and n + k are views of one instance.
    """
    unit = nn.functional.normalize(embedded)
    logits = unit @ unit.T / temperature
    logits.fill_diagonal_(float("-inf"))
    num = len(unit) // 2
    other = torch.cat([torch.arange(num, 2 * num), torch.arange(num)])
    return nn.functional.cross_entropy(logits, other)


class Extractor:
    """A trained network: images to features."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder

    def __call__(self, images_NHW: Images) -> Features:
        """(N, D) float64, before any scaling."""
        with one_thread(), torch.inference_mode():
            parts = [
                self.encoder(network_planes(images_NHW[start : start + 256])).double().numpy()
                for start in range(0, len(images_NHW), 256)
            ]
        return np.concatenate(parts)


class _Encoder(nn.Sequential):
    """(n, 2, H, W) to (n, D), the mean over all places of D maps."""

    def __init__(self, num_features: int) -> None:
        super().__init__(
            *stage(2, 16),
            *stage(16, 32),
            *stage(32, num_features),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
