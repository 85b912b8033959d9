"""Features of an image that describe its look (grain, contrast, shading, sharpness) and content.

Pretrained networks expect colour photographs of 224 pixels and more, and were trained to ignore
just what a refiner changes. So a small network is trained here on the given images, by instance
discrimination (Wu et al. 2018, arXiv:1805.01978) with the loss NT-Xent (Chen et al. 2020,
arXiv:2002.05709): it must tell each image from all others, and ignore shifts of a few pixels.

Unlike in these papers, every image comes in several *looks* (blurred or sharpened, noisy, brighter,
with less contrast, lit from one side), and the looks of one image count as different images. These
have the same content, so the features must describe the look to tell them apart. Noise is drawn
anew for the two views of an instance, so that features describe its strength, not its pattern.

The network is trained on real images and renders, never on refined ones. So the features do not
depend on the refiner that is measured, and cannot favour it.

Axes in names: N images, H height, W width, D features.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.measures.looks.settings import FeatureTraining
from factory.measures.small_networks import (
    batches_of,
    network_planes,
    shifted,
    stage,
)
from factory.measures.threads import threads_kept

Images = NDArray[np.uint8]
Features = NDArray[np.float64]


def train_features(settings: FeatureTraining, images_NHW: Images) -> "Extractor":
    """Train a network for features.

    Args:
        images_NHW: (N, H, W) uint8 of all sets that are to be compared, sides of at least 8 px.

    Returns:
        The trained network, the same on every run and with any number of threads.

    Raises:
        ValueError: there are fewer images than a step takes.
    """
    if len(images_NHW) < settings.num_images:
        raise ValueError(
            f"there are {len(images_NHW)} images to train features on, but a step takes "
            f"{settings.num_images}"
        )
    with threads_kept(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder = _Encoder(settings.num_features)
        _fit(settings, encoder, images_NHW)
    return Extractor(encoder)


def _fit(settings: FeatureTraining, encoder: nn.Module, images_NHW: Images) -> None:
    rng = np.random.default_rng(settings.seed)
    head = nn.Sequential(
        nn.Linear(settings.num_features, 64), nn.ReLU(), nn.Linear(64, 32, bias=False)
    )
    parameters = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.learning_rate, total_steps=settings.num_steps
    )
    batches = batches_of(images_NHW, settings.num_images, rng)
    for _ in range(settings.num_steps):
        views = _views(settings, next(batches), rng)
        loss = same_instance_loss(head(encoder(network_planes(views))), settings.temperature)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    encoder.eval()


def _views(settings: FeatureTraining, images_NHW: Images, rng: np.random.Generator) -> Images:
    """(2 n, H, W): two views of each of the n looks of all images, row k and row n + k."""
    instances = np.repeat(images_NHW, settings.num_looks, axis=0)
    looks = Look.draw(len(instances), rng, same=slice(None, None, settings.num_looks))
    return np.concatenate(
        [shifted(looks(instances, rng), settings.max_shift_px, rng) for _ in range(2)]
    )


class Look(NamedTuple):
    """Changes to the look of N images. Every field holds one number an image; 0 changes nothing."""

    blur: Tensor
    """(N,) how far each pixel moves towards the mean of its 3 x 3 neighbourhood, -1 to 1; negative
    values sharpen"""
    gamma_log2: Tensor
    """(N,) binary logarithm of the exponent that is applied to grey values on [0, 1]"""
    contrast_log2: Tensor
    """(N,) binary logarithm of the factor by which differences from the mean grow"""
    ramp_xy: Tensor
    """(N, 2) brightness that is added from the middle to the right and to the bottom border, as a
    share of full scale"""
    noise: Tensor
    """(N,) standard deviation of the noise, as a share of full scale"""

    @classmethod
    def draw(cls, num: int, rng: np.random.Generator, same: slice) -> "Look":
        """Draw looks at random, most of them slight.

        Args:
            num: number of images.
            same: positions of the images that keep their look.
        """
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
        """Apply the changes to (N, H, W) uint8 images; `rng` draws the pattern of the noise."""
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
    """Give (N,) values the shape (N, 1, 1, 1), to be multiplied with images."""
    return values[:, None, None, None]


def same_instance_loss(embedded: Tensor, temperature: float) -> Tensor:
    """NT-Xent, equation (1) of Chen et al. 2020.

    Each view must be more similar to the other view of its instance than to all other views.

    Args:
        embedded: (2 n, d) float32; rows k and n + k are the views of one instance.
        temperature: of the softmax over similarities.

    Returns:
        The mean loss, a scalar.
    """
    unit = nn.functional.normalize(embedded)
    logits = unit @ unit.T / temperature
    logits.fill_diagonal_(float("-inf"))
    num = len(unit) // 2
    other = torch.cat([torch.arange(num, 2 * num), torch.arange(num)])
    return nn.functional.cross_entropy(logits, other)


class Extractor:
    """A trained network that computes features of images."""

    def __init__(self, encoder: nn.Module) -> None:
        self.encoder = encoder

    def __call__(self, images_NHW: Images) -> Features:
        """(N, D) float64 features of (N, H, W) uint8 images, before any scaling."""
        with threads_kept(1), torch.inference_mode():
            parts = [
                self.encoder(network_planes(images_NHW[start : start + 256])).double().numpy()
                for start in range(0, len(images_NHW), 256)
            ]
        return np.concatenate(parts)


class _Encoder(nn.Sequential):
    """A small network: (n, 2, H, W) of `network_planes` to (n, D), the means of D feature maps."""

    def __init__(self, num_features: int) -> None:
        super().__init__(
            *stage(2, 16),
            *stage(16, 32),
            *stage(32, num_features),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
