"""The discriminator (Shrivastava et al. 2017, section 2.2 and appendix): patches of real and refined
images are told apart."""

import math
from typing import Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from factory.networks.layers import he_init, same_conv
from schemas.base import Model

REAL, REFINED = 0, 1
"""The discriminator's two classes, in the order of its logits."""


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
                conv = same_conv(channels, layer.maps, layer.kernel, layer.stride)
            channels = layer.maps
            he_init(conv, generator, gain=1.0 if is_last else 2.0)
            layers.append(_with_spectral_norm(conv, generator) if config.spectral_norm else conv)
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


def _with_spectral_norm(conv: nn.Conv2d, generator: torch.Generator) -> nn.Module:
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
