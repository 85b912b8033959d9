"""The refiner R and the discriminator D of Shrivastava et al. 2017 (arXiv:1612.07828).

Shapes: n images, C channels, H x W pixels, h x w patches. Both networks take
(n, C, H, W) float32 in [-1, 1]; `to_network` and `to_pixels` are the only ways there and back.
"""

import math
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from schemas.base import Float, Model

REAL, REFINED = 0, 1
"""The discriminator's two classes, in the order of its logits."""


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


class LayerConfig(Model):
    """One layer of a discriminator: a convolution with bias, or a max-pool."""

    kind: Literal["conv", "maxpool"] = "conv"
    kernel: int = Field(ge=1)
    """side of the window, odd"""
    stride: int = Field(default=1, ge=1)
    maps: int = Field(default=0, ge=0)
    """feature maps that a convolution makes; 0 for a max-pool"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"windows must have odd sides, got {self.kernel}")
        if (self.kind == "conv") != (self.maps > 0):
            raise ValueError(f"a {self.kind} layer with maps = {self.maps}")
        return self


EYE_LAYERS = (
    LayerConfig(kernel=3, stride=2, maps=96),
    LayerConfig(kernel=3, stride=2, maps=64),
    LayerConfig(kind="maxpool", kernel=3, stride=1),
    LayerConfig(kernel=3, maps=32),
    LayerConfig(kernel=1, maps=32),
    LayerConfig(kernel=1, maps=2),
)
"""75,906 parameters; a 9 x 14 map for 35 x 55 eyes. The paper counts two max-pools, lists one."""
HAND_LAYERS = (
    LayerConfig(kernel=7, stride=4, maps=96),
    LayerConfig(kernel=5, stride=2, maps=64),
    LayerConfig(kind="maxpool", kernel=3, stride=2),
    LayerConfig(kernel=3, stride=2, maps=32),
    LayerConfig(kernel=1, maps=32),
    LayerConfig(kernel=1, maps=2),
)
"""178,050 parameters; a 7 x 7 map for 224 x 224 hands."""
NAMED_LAYERS = {"eye": EYE_LAYERS, "hand": HAND_LAYERS}


class DiscriminatorConfig(Model):
    """Architecture of a discriminator; the default is the paper's for eyes."""

    layers: tuple[LayerConfig, ...] = EYE_LAYERS
    """first to last; the last one makes the two logits. In a file also "eye" or "hand": the
    paper's"""
    channels: int = Field(default=1, ge=1)
    """channels of the images"""
    scope: Literal["local", "global"] = "local"
    """what is judged: each patch, or the image as a whole, by a last layer that is fully connected
    (the paper's section 3.1 compares them)"""
    spectral_norm: bool = False
    """divide each convolution's weights by their largest singular value (Miyato et al. 2018,
    arXiv:1802.05957)"""

    @field_validator("layers", mode="before")
    @classmethod
    def _by_name(cls, layers: object) -> object:
        if not isinstance(layers, str):
            return layers
        if layers not in NAMED_LAYERS:
            raise ValueError(f"layers are tables, or one of {', '.join(NAMED_LAYERS)}")
        return NAMED_LAYERS[layers]

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next."""
        return math.prod(layer.stride for layer in self.layers)

    @model_validator(mode="after")
    def _two_logits(self) -> Self:
        if not self.layers or self.layers[-1].kind != "conv" or self.layers[-1].maps != 2:
            raise ValueError("the last layer must be a convolution to 2 maps, the logits")
        return self


def _conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: str = "zeros"
) -> nn.Conv2d:
    """A `same`-padded convolution, left uninitialised: no draw from the global generator."""
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d,
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        padding_mode=padding if kernel > 1 else "zeros",
    )
    return conv


def _he_init(conv: nn.Conv2d, generator: torch.Generator, gain: float = 2.0) -> None:
    """Normal weights of variance gain / fan_in, zero bias."""
    fan_in = conv.weight[0].numel()
    with torch.no_grad():
        conv.weight.normal_(0.0, (gain / fan_in) ** 0.5, generator=generator)
        if conv.bias is not None:
            conv.bias.zero_()


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


class Discriminator(nn.Module):
    """D: (n, C, H, W) float32 in [-1, 1] to logits (n, 2, h, w); class 0 real, class 1 refined.

    A ReLU follows every convolution but the last, whose output is the logits: the paper's
    softmax is part of the losses. Weights are drawn from `seed` alone. Of global scope the logits
    are (n, 2, 1, 1), and images must be of the one size that it was made for.
    """

    def __init__(
        self,
        config: DiscriminatorConfig | None = None,
        *,
        seed: int = 0,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        """
        Args:
            image_size: (H, W); needed for global scope alone.
        """
        super().__init__()
        self.config = config = config if config is not None else DiscriminatorConfig()
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        channels = config.channels
        for place, layer in enumerate(config.layers):
            if layer.kind == "maxpool":
                layers.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.kernel // 2))
                continue
            is_last = place == len(config.layers) - 1
            if is_last and config.scope == "global":
                conv = _fully_connected(channels, layer.maps, config, image_size)
            else:
                conv = _conv(channels, layer.maps, layer.kernel, layer.stride)
            channels = layer.maps
            _he_init(conv, generator, gain=1.0 if is_last else 2.0)
            layers.append(_normalised(conv, generator) if config.spectral_norm else conv)
            if not is_last:
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def _fully_connected(
    channels: int, maps: int, config: DiscriminatorConfig, image_size: tuple[int, int] | None
) -> nn.Conv2d:
    """A convolution as large as the map that reaches it."""
    if image_size is None:
        raise ValueError("a discriminator of global scope needs the size of its images")
    before = config.model_copy(update={"layers": config.layers[:-1]})
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, channels, maps, patch_map_size(before, *image_size)
    )
    return conv


def _normalised(conv: nn.Conv2d, generator: torch.Generator) -> nn.Module:
    """Spectrally normalised, without a draw from the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        return nn.utils.parametrizations.spectral_norm(conv)


def patch_map_size(config: DiscriminatorConfig, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the discriminator's map for images of height x width pixels."""
    for layer in config.layers:
        reach = 2 * (layer.kernel // 2) - layer.kernel
        height = (height + reach) // layer.stride + 1
        width = (width + reach) // layer.stride + 1
    return height, width


def to_network(images: np.ndarray, full_scale: Float = 255.0) -> Tensor:
    """Stored pixels to the networks' range, the same way for every domain: 2 v / full_scale - 1.

    Args:
        images: (n, H, W) of one channel or (n, C, H, W), unsigned integers.
        full_scale: the pixel value that becomes 1; v / 127.5 - 1 for 8-bit images.

    Returns:
        (n, C, H, W) float32 in [-1, 1], channels last in memory.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or images.dtype.kind != "u":
        raise ValueError(
            "images must be (n, H, W) or (n, C, H, W) unsigned integers, "
            f"are {images.shape} {images.dtype}"
        )
    return normalised(torch.from_numpy(np.ascontiguousarray(images).astype(np.float32)), full_scale)


def normalised(values: Tensor, full_scale: Float = 255.0) -> Tensor:
    """The same of (n, C, H, W) float32 pixel values on any device, which it overwrites."""
    values = values.div_(full_scale / 2).sub_(1.0)
    return values.contiguous(memory_format=torch.channels_last)


def to_pixels(images: Tensor, full_scale: Float = 255.0, empty_below: Float = 0.0) -> np.ndarray:
    """The inverse of `to_network`, rounded to the nearest and clipped.

    Args:
        images: (n, C, H, W) float in [-1, 1].
        empty_below: rounded values below it become 0, the background of depth images.

    Returns:
        (n, C, H, W) uint8 where full_scale fits it, else uint16.
    """
    values = images.detach().float().add(1.0).mul(full_scale / 2).round_().clamp_(0, full_scale)
    if empty_below > 0:
        values.masked_fill_(values < empty_below, 0.0)
    dtype = np.uint8 if full_scale <= np.iinfo(np.uint8).max else np.uint16
    return values.cpu().contiguous().numpy().astype(dtype)
