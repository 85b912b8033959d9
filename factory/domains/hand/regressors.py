"""The networks that evaluations train on hands: the paper's stacked hourglass, and a small one for
processors without a GPU. Both give the 14 evaluated joints in px of the crop."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.images.png import Pixels
from factory.networks.evaluation_kinds import Examples
from factory.networks.stopping import StoppedTraining, Watch
from schemas.base import Float
from schemas.dataset import ImageSpec
from schemas.hand.estimators import HourglassConfig, HourglassTraining, JointTraining
from schemas.hand.sample import MAX_CUBE_MM

if TYPE_CHECKING:
    from torch import nn

    from factory.domains.hand.networks.joint_training import Posed


class FindsJoints(StoppedTraining):
    """A network of joints. Training pictures are turned by up to 20 degrees and cropped, as in the
    paper; depths are left as they are, because arms differ in their look. In a picture without a
    hand, which a refiner may make, its answer is the mean joints of the training images."""

    quantities: ClassVar[frozenset[str] | None] = frozenset({"joints"})

    cube_mm: int = Field(default=300, ge=1, le=MAX_CUBE_MM)
    """side of the cube that the datasets' pictures were cut by, `cube_mm` of their ingest"""

    def check(self, image: ImageSpec) -> None:
        if (image.channels, image.bits) != (1, 16):
            raise ValueError(
                f"joints are found in depth of 16 bits, the dataset has {image.channels} channels "
                f"of {image.bits} bits"
            )

    def trained(self, train: Examples, seed: int, watch: Watch) -> "nn.Module":
        return self._trained(self._posed(train), seed, watch)

    def shifted(self, images: Pixels, rng: np.random.Generator) -> Pixels:
        from factory.domains.hand.networks.depth_augmentation import remeasured

        return remeasured(_depth(images), self.cube_mm, rng)

    def _posed(self, train: Examples) -> "Posed":
        from factory.domains.hand.networks.joint_training import Posed
        from factory.domains.hand.networks.joints import NUM_JOINTS, inside_or_nan

        images = _depth(train.images)
        if (deepest := int(images.max(initial=0))) > self.cube_mm + 1:
            raise ValueError(
                f"training images have depths up to {deepest} mm in a cube of {self.cube_mm} mm; "
                "set the model's cube_mm to that of the datasets"
            )
        joints_px = train.values_ND.reshape(-1, NUM_JOINTS, 2).astype(np.float32)
        return Posed(images, inside_or_nan(joints_px, *images.shape[1:]), self.cube_mm)

    @abstractmethod
    def _trained(self, posed: "Posed", seed: int, watch: Watch) -> "nn.Module":
        """Train a network."""


class Hourglass(FindsJoints):
    """The paper's estimator, a stacked hourglass (Shrivastava et al. 2017, section 3.2), with the
    optimiser of Newell et al. 2016. It is trained on a GPU where its process sees one; a processor
    takes seconds for an update."""

    steps: int = Field(default=100_000, ge=1)
    """number of updates at most"""
    batch_size: int = Field(default=6, ge=2)
    """hands in each update"""
    lr: Float = Field(default=2.5e-4, gt=0)
    """learning rate of RMSprop"""
    validate_every: int = Field(default=1_000, ge=1)
    """updates between two validations"""
    stacks: int = Field(default=2, ge=1)
    """number of hourglasses"""
    maps: int = Field(default=256, ge=4, multiple_of=4)
    """feature maps of the hourglasses"""
    input_px: int = Field(default=256, ge=64, multiple_of=64)
    """side that pictures are brought to; heatmaps have a quarter of it"""

    def check(self, image: ImageSpec) -> None:
        from factory.domains.hand.networks.hourglass import check_square

        super().check(image)
        check_square(image.height, image.width)

    def _trained(self, posed: "Posed", seed: int, watch: Watch) -> "nn.Module":
        import torch

        from factory.domains.hand.networks.hourglass_training import train_hourglass

        network = HourglassConfig(
            stacks=self.stacks, maps=self.maps, input_px=self.input_px, cube_mm=self.cube_mm
        )
        training = HourglassTraining(
            steps=self.steps, batch_size=self.batch_size, lr=self.lr, seed=seed, network=network
        )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return train_hourglass(training, posed, stop=watch, device=device)

    def found(self, network: "nn.Module", images: Pixels) -> NDArray[np.float32]:
        from factory.domains.hand.networks.hourglass import StackedHourglass
        from factory.domains.hand.networks.joints import found_joints_px

        assert isinstance(network, StackedHourglass)
        return found_joints_px(network.joints_px, _depth(images))


class JointNetwork(FindsJoints):
    """The small hourglass of `jobs/estimator.py joints`, which one core trains in minutes."""

    steps: int = Field(default=1_500, ge=1)
    """number of updates at most"""
    batch_size: int = Field(default=32, ge=2)
    """hands in each update"""
    lr: Float = Field(default=4e-3, gt=0)
    """learning rate of Adam at the start; it falls to 0 as a half cosine"""
    validate_every: int = Field(default=50, ge=1)
    """updates between two validations"""
    maps: int = Field(default=16, ge=1)
    """feature maps of the finest layer"""
    reduce: int = Field(default=4, ge=1)
    """pixels in a row, and in a column, of a cell of the finest layer"""

    def check(self, image: ImageSpec) -> None:
        from factory.domains.hand.networks.joints import check_size

        super().check(image)
        check_size(image.height, image.width, self.reduce)

    def _trained(self, posed: "Posed", seed: int, watch: Watch) -> "nn.Module":
        from factory.domains.hand.networks.joint_training import train_joints

        training = JointTraining(
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            seed=seed,
            maps=self.maps,
            reduce=self.reduce,
        )
        return train_joints(training, posed, stop=watch, vary_look=False)

    def found(self, network: "nn.Module", images: Pixels) -> NDArray[np.float32]:
        from factory.domains.hand.networks.joints import found_joints_px

        return found_joints_px(network, _depth(images))


def _depth(images: Pixels) -> NDArray[np.uint16]:
    return images.astype(np.uint16, copy=False)
