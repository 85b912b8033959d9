"""The architecture of a discriminator, as a training run's record has it."""

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.base import Model


class LayerConfig(Model):
    """One layer of a discriminator: a convolution with bias, or a max-pooling."""

    kind: Literal["conv", "maxpool"] = "conv"
    kernel: int = Field(ge=1)
    """side of the window in pixels, odd"""
    stride: int = Field(default=1, ge=1)
    """distance of two windows in pixels"""
    maps: int = Field(default=0, ge=0)
    """number of feature maps that a convolution gives; 0 for a max-pooling"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"windows must have odd sides, got {self.kernel}")
        if (self.kind == "conv") != (self.maps > 0):
            raise ValueError(
                "a conv layer needs maps > 0 and a maxpool layer maps = 0, "
                f"got kind = {self.kind} with maps = {self.maps}"
            )
        return self


EYE_LAYERS = (
    LayerConfig(kernel=3, stride=2, maps=96),
    LayerConfig(kernel=3, stride=2, maps=64),
    LayerConfig(kind="maxpool", kernel=3, stride=1),
    LayerConfig(kernel=3, maps=32),
    LayerConfig(kernel=1, maps=32),
    LayerConfig(kernel=1, maps=2),
)
"""The paper's discriminator for eyes: 75,906 parameters, and 9 x 14 patches for images of 35 x 55.
The paper's text counts two max-poolings, but its list has one; this is the list."""


HAND_LAYERS = (
    LayerConfig(kernel=7, stride=4, maps=96),
    LayerConfig(kernel=5, stride=2, maps=64),
    LayerConfig(kind="maxpool", kernel=3, stride=2),
    LayerConfig(kernel=3, stride=2, maps=32),
    LayerConfig(kernel=1, maps=32),
    LayerConfig(kernel=1, maps=2),
)
"""The paper's discriminator for hands: 178,050 parameters, and 7 x 7 patches for images of
224 x 224."""


NAMED_LAYERS = {"eye": EYE_LAYERS, "hand": HAND_LAYERS}


class DiscriminatorConfig(Model):
    """The architecture of a discriminator. The default is that of the paper for eyes."""

    layers: tuple[LayerConfig, ...] = EYE_LAYERS
    """the layers from first to last; the last one gives the two logits. A configuration file may
    also say "eye" or "hand" for the layers that the paper lists for these"""
    channels: int = Field(default=1, ge=1)
    """number of channels of the images"""
    scope: Literal["local", "global"] = "local"
    """`local` judges each patch, `global` the image as a whole with a fully connected last layer;
    the paper compares the two in section 3.1"""
    spectral_norm: bool = False
    """whether each convolution's weights are divided by their largest singular value (Miyato et
    al. 2018, arXiv:1802.05957)"""

    @field_validator("layers", mode="before")
    @classmethod
    def _by_name(cls, layers: object) -> object:
        if not isinstance(layers, str):
            return layers
        if layers not in NAMED_LAYERS:
            raise ValueError(
                f"layers must be a list of tables or one of {', '.join(NAMED_LAYERS)}, "
                f"got {layers!r}"
            )
        return NAMED_LAYERS[layers]

    @property
    def stride(self) -> int:
        """The distance of two neighbouring patches in pixels of the image."""
        return math.prod(layer.stride for layer in self.layers)

    @model_validator(mode="after")
    def _two_logits(self) -> Self:
        if not self.layers or self.layers[-1].kind != "conv" or self.layers[-1].maps != 2:
            raise ValueError("the last layer must be a convolution with 2 maps, the two logits")
        return self
