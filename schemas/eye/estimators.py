"""What is written beside the networks that read landmarks and gaze off eyes."""

from pydantic import Field

from schemas.base import Float, Model
from schemas.estimator import EstimatorDescription
from schemas.report import Spread


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

    maps: tuple[int, int, int, int, int] = (32, 32, 64, 80, 192)
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
