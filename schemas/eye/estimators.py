"""What is written beside the networks that read landmarks and gaze off eyes."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Float, Model, Sha256
from schemas.estimator import EstimatorDescription
from schemas.report import Spread

Maps = Annotated[int, Field(ge=1)]
"""feature maps of one layer"""


class LandmarkConfig(Model):
    """Architecture of a landmark network."""

    maps: int = Field(default=32, ge=1)
    """feature maps of every layer"""
    channels: int = Field(default=1, ge=1)
    """channels of the images"""


class LandmarkDescription(EstimatorDescription):
    """`landmarks.json` describes `landmarks.safetensors`, which lies beside it."""

    NAME = "landmarks"
    ESTIMATES = "landmark"

    architecture: LandmarkConfig
    error_px: dict[str, Float]
    """median distance from the labels of held-out images, by group of landmarks"""


class GazeConfig(Model):
    """Architecture of a gaze network; the defaults are the paper's (9,816,659 parameters for
    images of 35 x 55 pixels)."""

    maps: tuple[Maps, Maps, Maps, Maps, Maps] = (32, 32, 64, 80, 192)
    """feature maps of the five convolutions"""
    hidden: int = Field(default=1000, ge=1)
    """width of the fully connected layer before the last"""


class GazeBin(Model):
    """Errors of the eyes whose true yaw, or pitch, lies in a range."""

    from_deg: Float
    to_deg: Float
    num: int
    median_deg: Float


class GazeErrors(Model):
    """Angles between estimated and true gaze, on images that were not trained on."""

    deg: Spread
    mean_answer_deg: Spread
    """the errors of a network that always answers the mean gaze of the training images"""
    by_yaw: tuple[GazeBin, ...]
    by_pitch: tuple[GazeBin, ...]


class GazeDescription(EstimatorDescription):
    """`gaze.json` describes `gaze.safetensors`, which lies beside it."""

    NAME = "gaze"
    ESTIMATES = "gaze"

    architecture: GazeConfig
    held_out: GazeErrors


class MediapipeSource(Model):
    """`mediapipe.json` says where `iris_landmark.tflite` and `LICENSE`, beside it, are from."""

    package: str
    """name and version on PyPI"""
    wheel: str
    """file name of the wheel"""
    member: str
    """the model's name in it"""
    sha256: Sha256
    """of the model"""
    licence: str = "Apache-2.0"
    writer: str = ""
    """the program that wrote the file"""


class GazeTraining(Model):
    """How a gaze network is trained."""

    steps: int = Field(default=1_000, ge=1)
    """number of updates"""
    batch_size: int = Field(default=32, ge=1)
    """images in each update; the paper's 512 are for 1.2 million renders"""
    lr: Float = Field(default=1e-3, gt=0)
    """learning rate of Adam; the rate is the paper's, which names no optimiser"""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """constant, as in the paper, or a half cosine from `lr` to 0"""
    seed: int = Field(default=0, ge=0)
    """seed of the first weights, of the batches and of the augmentation"""
    augment: bool = True
    """vary light, contrast, blur and noise, so that the renders' look is not learnt"""
    max_shift_px: int = Field(default=2, ge=0)
    """how far training images are moved at most, along each axis, since real eyes are never cut out
    at exactly the same place; 0 for not at all"""
    network: GazeConfig = GazeConfig()
    """architecture"""


class LandmarkTraining(Model):
    """How a landmark network is trained."""

    steps: int = Field(default=2_000, ge=1)
    """number of updates"""
    batch_size: int = Field(default=32, ge=1)
    """images in each update"""
    lr: Float = Field(default=2e-3, gt=0)
    """learning rate of Adam at the start; it falls to 0 as a half cosine"""
    seed: int = Field(default=0, ge=0)
    """seed of the first weights, of the batches and of the augmentation"""
    maps: int = Field(default=32, ge=1)
    """feature maps of every layer"""
