"""The refiner R and the discriminator D of Shrivastava et al. 2017 (arXiv:1612.07828).

Shapes: n images, C channels, H x W pixels, h x w patches. Both networks take
(n, C, H, W) float32 in [-1, 1]; `to_network` and `to_pixels` are the only ways there and back.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from factory.networks.layers import he_init, same_conv
from schemas.base import Model


class RefinerConfig(Model):
    """Architecture of a refiner; the defaults are the paper's eye refiner (296,129 parameters)."""

    maps: int = Field(default=64, ge=2)
    """feature maps of every hidden convolution"""
    blocks: int = Field(default=4, ge=0)
    """ResNet blocks of two convolutions each"""
    kernel: int = Field(default=3, ge=1)
    """side of the filters inside the blocks, odd"""
    first_kernel: int | None = Field(default=None, ge=1)
    """side of the first convolution's filters, odd; as `kernel` when absent"""
    channels: int = Field(default=1, ge=1)
    """channels of the images, in and out"""
    padding: Literal["zeros", "reflect"] = "zeros"
    """beyond the border: `zeros` as usual, at the price of a faint frame on refined images;
    `reflect` leaves none"""
    noise_channels: int = Field(default=0, ge=0)
    """numbers of noise for each image, with which one render gives several refined images (the
    paper's future work, section 4)"""

    @model_validator(mode="after")
    def _odd(self) -> Self:
        for side in (self.kernel, self.first_kernel):
            if side is not None and side % 2 == 0:
                raise ValueError(f"filters must have odd sides to keep the image size, got {side}")
        return self


class ResNetBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))): (n, maps, H, W) to the same shape."""

    def __init__(self, maps: int, kernel: int, padding: str) -> None:
        super().__init__()
        self.conv1 = same_conv(maps, maps, kernel, padding=padding)
        self.conv2 = same_conv(maps, maps, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class Refiner(nn.Module):
    """R: (n, C, H, W) float32 in [-1, 1] to the same, for any H and W.

    Fully convolutional, without stride or pooling (section 2.1). Weights are drawn from
    `seed` alone. Noise enters as further channels, each of one number all over the image.
    """

    def __init__(self, config: RefinerConfig | None = None, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config if config is not None else RefinerConfig()
        first_kernel = config.first_kernel if config.first_kernel is not None else config.kernel
        padding = config.padding
        channels = config.channels + config.noise_channels
        self.first = same_conv(channels, config.maps, first_kernel, padding=padding)
        self.blocks = nn.Sequential(
            *(ResNetBlock(config.maps, config.kernel, padding) for _ in range(config.blocks))
        )
        self.last = same_conv(config.maps, config.channels, 1)
        self._initialise(torch.Generator().manual_seed(seed))

    def _initialise(self, generator: torch.Generator) -> None:
        he_init(self.first, generator)
        for block in self.blocks:
            assert isinstance(block, ResNetBlock)
            he_init(block.conv1, generator)
            # Small, so that the sum does not double its variance with every block.
            he_init(block.conv2, generator, gain=0.1)
        he_init(self.last, generator, gain=0.5)

    @torch.no_grad()
    def initialise_as_identity(self, slope: float = 1.2) -> None:
        """Make R(x) = tanh(slope x): a good start where 1,000 steps of pre-training cost too much.

        Two maps of each channel carry the positive and the negative part of the image; the blocks'
        second convolutions start at zero; all other filters keep their random start.

        Raises:
            ValueError: fewer than two maps for each channel.
        """
        channels, maps = self.config.channels, self.config.maps
        if maps < 2 * channels:
            raise ValueError(f"{maps} maps cannot carry {channels} channels of both signs")
        middle = self.first.kernel_size[0] // 2
        self.first.weight[: 2 * channels] = 0.0
        self.last.weight.zero_()
        for channel in range(channels):
            for place, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
                self.first.weight[place, channel, middle, middle] = sign
                self.last.weight[channel, place] = sign * slope
        for block in self.blocks:
            assert isinstance(block, ResNetBlock)
            block.conv2.weight.zero_()

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """
        Args:
            noise: (n, noise_channels), standard normal; None for zeros, its mean.
        """
        return self.from_channels(with_noise(images, noise, self.config.noise_channels))

    def from_channels(self, channels: Tensor) -> Tensor:
        """The same of images whose noise is in channels already: (n, C + noise_channels, H, W)."""
        return torch.tanh(self.last(self.blocks(torch.relu(self.first(channels)))))

    def layers(self, images: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        """What the first convolution and each block make: (n, maps, H, W) each, not negative."""
        channels = with_noise(images, noise, self.config.noise_channels)
        found = [torch.relu(self.first(channels))]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found


def with_noise(images: Tensor, noise: Tensor | None, noise_channels: int) -> Tensor:
    """(n, C, H, W) and (n, k) noise as the first convolution takes them: (n, C + k, H, W)."""
    if not noise_channels:
        return images
    n, _, height, width = images.shape
    if noise is None:
        noise = images.new_zeros(n, noise_channels)
    planes = noise.to(images)[:, :, None, None].expand(-1, -1, height, width)
    return torch.cat([images, planes], dim=1).contiguous(memory_format=torch.channels_last)
