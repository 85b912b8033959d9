"""The refiner R of Shrivastava et al. 2017 (arXiv:1612.07828), section 2.1 and appendix.

Shapes: n images, C channels, H x W pixels, k numbers of noise. Images are float32 in [-1, 1];
`factory.networks.scaling` makes them from pixels, and pixels from them.
"""

import torch
from torch import Tensor, nn

from factory.networks.layers import he_init, same_conv
from schemas.refiner import RefinerConfig


class ResNetBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))); input and output are (n, maps, H, W)."""

    def __init__(self, maps: int, kernel: int, padding: str) -> None:
        super().__init__()
        self.conv1 = same_conv(maps, maps, kernel, padding=padding)
        self.conv2 = same_conv(maps, maps, kernel, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        # In place: what a convolution has made is its own, and no pass needs it before the sum.
        return torch.relu_(self.conv2(torch.relu_(self.conv1(x))).add_(x))


class Refiner(nn.Module):
    """The refiner R. Input and output are (n, C, H, W) float32 in [-1, 1], for any H and W.

    It is fully convolutional, without stride or pooling (section 2.1). Its initial weights depend
    on `seed` alone. Noise enters as further input channels, each constant over the image.
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
            # A small gain keeps the sum of a block from doubling its variance with every block.
            he_init(block.conv2, generator, gain=0.1)
        he_init(self.last, generator, gain=0.5)

    @torch.no_grad()
    def initialise_as_identity(self, slope: float = 1.2) -> None:
        """Set weights so that R(x) = tanh(slope x), in place of pre-training.

        For each channel, two maps carry the positive and the negative part of the image through
        the network. The second convolution of every block becomes zero. All other filters keep
        their random weights.

        Args:
            slope: the gain of the identity before the tanh.

        Raises:
            ValueError: the refiner has fewer than two maps for each channel.
        """
        channels, maps = self.config.channels, self.config.maps
        if maps < 2 * channels:
            raise ValueError(f"{maps} maps cannot carry {channels} channels of both signs")
        middle = self.first.kernel_size[0] // 2
        self.first.weight[: 2 * channels] = 0.0
        self.last.weight.zero_()
        for channel in range(channels):
            for index, sign in ((2 * channel, 1.0), (2 * channel + 1, -1.0)):
                self.first.weight[index, channel, middle, middle] = sign
                self.last.weight[channel, index] = sign * slope
        for block in self.blocks:
            assert isinstance(block, ResNetBlock)
            block.conv2.weight.zero_()

    def forward(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Refine images.

        Args:
            images: (n, C, H, W) float32 in [-1, 1].
            noise: (n, noise_channels), drawn from a standard normal distribution; None stands for
                zeros, the mean of that distribution.

        Returns:
            (n, C, H, W) float32 in [-1, 1].
        """
        return self.from_channels(with_noise(images, noise, self.config.noise_channels))

    def from_channels(self, channels: Tensor) -> Tensor:
        """Refine images whose noise has been made into channels already, see `with_noise`.

        Args:
            channels: (n, C + noise_channels, H, W) float32.
        """
        return torch.tanh(self.last(self.blocks(torch.relu_(self.first(channels)))))

    def layers(self, images: Tensor, noise: Tensor | None = None) -> list[Tensor]:
        """The feature maps after the first convolution and after each block.

        Returns:
            `blocks` + 1 tensors of (n, maps, H, W) float32, all values 0 or larger.
        """
        channels = with_noise(images, noise, self.config.noise_channels)
        features = [torch.relu_(self.first(channels))]
        for block in self.blocks:
            features.append(block(features[-1]))
        return features


def with_noise(images: Tensor, noise: Tensor | None, noise_channels: int) -> Tensor:
    """Join images and noise to the input of the first convolution.

    Args:
        images: (n, C, H, W).
        noise: (n, noise_channels); None stands for zeros.

    Returns:
        (n, C + noise_channels, H, W), channels last in memory; `images` itself when the refiner
        takes no noise.
    """
    if not noise_channels:
        return images
    n, _, height, width = images.shape
    if noise is None:
        noise = images.new_zeros(n, noise_channels)
    planes = noise.to(images)[:, :, None, None].expand(-1, -1, height, width)
    return torch.cat([images, planes], dim=1).contiguous(memory_format=torch.channels_last)
