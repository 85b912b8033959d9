"""`refiner.json`: the description of a refiner's weights, and the architecture that it names."""

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from schemas.base import Float, Model, Sha256, Versioned
from schemas.dataset import ImageSpec
from schemas.version import WRITER

Precision = Literal["float32", "bfloat16"]
"""of a network's arithmetic; weights and images are stored as ever"""
PrecisionChoice = Literal["auto", "float32", "bfloat16"]
"""what may be asked for; `auto` becomes one of the others before anything is computed"""
EngineChoice = Literal["auto", "torch", "ncnn", "openvino", "cuda"]
"""of what runs the network; auto: the fastest one that agrees with PyTorch on the refiner"""
Device = Literal["cpu", "cuda"]
"""what the arithmetic is done on"""


class RefinerConfig(Model):
    """The architecture of a refiner. The defaults are those of the paper's refiner for eyes, which
    has 296,129 parameters."""

    maps: int = Field(default=64, ge=2)
    """number of feature maps of every hidden convolution"""
    blocks: int = Field(default=4, ge=0)
    """number of ResNet blocks, each of two convolutions"""
    kernel: int = Field(default=3, ge=1)
    """side in pixels of the filters inside the blocks, odd"""
    first_kernel: int | None = Field(default=None, ge=1)
    """side in pixels of the first convolution's filters, odd; `kernel` when absent"""
    channels: int = Field(default=1, ge=1)
    """number of channels of the images, the same for input and output"""
    padding: Literal["zeros", "reflect"] = "zeros"
    """what convolutions see beyond the border: `zeros` leaves a faint frame on refined images,
    `reflect` (mirrored pixels) leaves none"""
    noise_channels: int = Field(default=0, ge=0)
    """how many numbers of noise the refiner takes for each image; with any, one render gives
    several refined images (the paper's future work, section 4)"""

    @model_validator(mode="after")
    def _odd(self) -> Self:
        for side in (self.kernel, self.first_kernel):
            if side is not None and side % 2 == 0:
                raise ValueError(f"filters must have odd sides to keep the image size, got {side}")
        return self


class RefinerDescription(Versioned):
    """`refiner.json`: what `refiner.safetensors` beside it holds and where it came from."""

    domain: str
    image: ImageSpec
    """layout of the images that the refiner was trained on"""
    full_scale: Float = Field(default=255.0, gt=0)
    """the pixel value that becomes 1 in the network: x = 2 v / full_scale - 1"""
    empty_below: Float = Field(default=0.0, ge=0)
    """stored values of refined images below it become 0"""
    empty_beyond: Float = Field(default=0.0, ge=0, exclude_if=lambda value: value == 0)
    """stored values of refined images that differ by more than it from the render's become 0, as a
    depth camera gives none where it is unsure of the surface; 0 for none"""
    architecture: RefinerConfig
    weights: Literal["last", "ema"]
    """the weights of the last update, or their running average"""
    sha256: Sha256
    """of the safetensors file: the refiner's name wherever it is referred to"""
    step: int
    """number of discriminator updates"""
    train: dict[str, JsonValue]
    """the training configuration"""
    config: Sha256
    """digest of the training configuration"""
    lineage: dict[str, JsonValue] = Field(default_factory=dict)
    """what the run was made from, as its caller described it"""
    writer: str = WRITER
