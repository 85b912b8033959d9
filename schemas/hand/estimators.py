"""What is written beside the network that finds the joints of hands."""

from pydantic import Field

from schemas.base import Float, Model
from schemas.estimator import EstimatorDescription
from schemas.hand.sample import MAX_CUBE_MM
from schemas.report import Spread


class JointConfig(Model):
    """Architecture of a joint network; with the defaults it has 215,102 parameters."""

    maps: int = Field(default=16, ge=1)
    """feature maps of the finest layer; the coarsest has four times as many"""
    reduce: int = Field(default=4, ge=1)
    """pixels in a row, and in a column, of a cell of the finest layer"""
    cube_mm: int = Field(default=300, ge=1, le=MAX_CUBE_MM)
    """side of the cube that the pictures are cut by"""


class JointError(Model):
    """Errors of one joint."""

    joint: int
    """index of the joint in the order of NYU's `joint_names`"""
    px: Spread
    within_5_px: Float


class JointErrors(Model):
    """Distances in the picture between found and true joints, on hands that were not trained on.
    Joints outside the picture do not count."""

    px: Spread
    within_5_px: Float
    """share of the joints that are found within 5 px, the measure of the paper's table 4"""
    mean_answer_px: Spread
    """the errors of a network that always answers the mean joints of the training images"""
    mean_answer_within_5_px: Float
    by_joint: tuple[JointError, ...]


class JointDescription(EstimatorDescription):
    """`joints.json` describes `joints.safetensors`, which lies beside it."""

    NAME = "joints"
    ESTIMATES = "joint"

    architecture: JointConfig
    held_out: JointErrors


class JointTraining(Model):
    """How a joint network is trained."""

    steps: int = Field(default=1_500, ge=1)
    """number of updates"""
    batch_size: int = Field(default=32, ge=2)
    """hands in each update"""
    lr: Float = Field(default=4e-3, gt=0)
    """learning rate of Adam at the start; it falls to 0 as a half cosine"""
    seed: int = Field(default=0, ge=0)
    """seed of the first weights, of the batches and of the augmentation"""
    maps: int = Field(default=16, ge=1)
    """feature maps of the finest layer"""
    reduce: int = Field(default=4, ge=1)
    """pixels in a row, and in a column, of a cell of the finest layer"""


class HourglassConfig(Model):
    """Architecture of a stacked hourglass; with the defaults it has 6,562,588 parameters."""

    stacks: int = Field(default=2, ge=1)
    """number of hourglasses, each of which gives heatmaps"""
    maps: int = Field(default=256, ge=4, multiple_of=4)
    """feature maps of the hourglasses"""
    input_px: int = Field(default=256, ge=64, multiple_of=64)
    """side that pictures are brought to; heatmaps have a quarter of it, 64 x 64 by default"""
    cube_mm: int = Field(default=300, ge=1, le=MAX_CUBE_MM)
    """side of the cube that the pictures are cut by"""


class HourglassTraining(Model):
    """How a stacked hourglass is trained: the optimiser, rate and batches of Newell et al. 2016."""

    steps: int = Field(default=100_000, ge=1)
    """number of updates"""
    batch_size: int = Field(default=6, ge=2)
    """hands in each update"""
    lr: Float = Field(default=2.5e-4, gt=0)
    """learning rate of RMSprop"""
    seed: int = Field(default=0, ge=0)
    """seed of the first weights, of the batches and of rotations and crops"""
    network: HourglassConfig = HourglassConfig()
    """architecture"""
