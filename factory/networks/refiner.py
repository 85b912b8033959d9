"""The refiner R of Shrivastava et al. 2017 (arXiv:1612.07828).

Shapes: n images, C channels, H x W pixels. The network takes (n, C, H, W) float32 in [-1, 1];
`to_network` and `to_pixels` are the only ways there and back.
"""

import torch
from torch import Tensor, nn

from factory.networks.layers import _conv, _he_init
from schemas.refiner import RefinerConfig


class ResNetBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))): (n, maps, H, W) to the same shape."""

    def __init__(self, maps: int, kernel: int, padding: str) -> None:
        super().__init__()
        self.conv1 = _conv(maps, maps, kernel, padding=padding)
        self.conv2 = _conv(maps, maps, kernel, padding=padding)

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
        self.first = _conv(channels, config.maps, first_kernel, padding=padding)
        self.blocks = nn.Sequential(
            *(ResNetBlock(config.maps, config.kernel, padding) for _ in range(config.blocks))
        )
        self.last = _conv(config.maps, config.channels, 1)
        self._initialise(torch.Generator().manual_seed(seed))

    def _initialise(self, generator: torch.Generator) -> None:
        _he_init(self.first, generator)
        for block in self.blocks:
            assert isinstance(block, ResNetBlock)
            _he_init(block.conv1, generator)
            # Small, so that the sum does not double its variance with every block.
            _he_init(block.conv2, generator, gain=0.1)
        _he_init(self.last, generator, gain=0.5)

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
