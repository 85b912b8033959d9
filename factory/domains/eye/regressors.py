"""The networks that evaluations train on eyes: gaze, and the centre of the iris."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.images.png import Pixels, grey
from factory.networks.evaluation_kinds import Examples, Values
from factory.networks.stopping import StoppedTraining, Watch
from schemas.base import Float
from schemas.dataset import ImageSpec
from schemas.eye.estimators import GazeConfig, GazeTraining, LandmarkTraining

if TYPE_CHECKING:
    from torch import nn


class _OfEyes(StoppedTraining):
    def shifted(self, images: Pixels, rng: np.random.Generator) -> Pixels:
        from factory.domains.eye.networks.landmark_training import relit
        from factory.networks.scaling import to_network, to_pixels

        return to_pixels(relit(to_network(images), rng))[:, 0]


class GazeCnn(_OfEyes):
    """The paper's gaze network (Shrivastava et al. 2017, appendix), trained with Adam."""

    quantities: ClassVar[frozenset[str] | None] = frozenset({"gaze"})

    lr_schedule: Literal["constant", "cosine"] = Field(
        default="constant", exclude_if=lambda schedule: schedule == "constant"
    )
    """constant, as in the paper, or a half cosine from `lr` to 0 over all `steps`"""
    augment: bool = False
    """vary light, contrast, blur and noise of training images; arms differ in their look, so the
    comparison is made without"""
    max_shift_px: int = Field(default=0, ge=0, exclude_if=lambda value: value == 0)
    """how far training images are moved at most, along each axis: the eye corners by which real
    eyes are cut out are found with errors, those of renders are exact"""
    network: GazeConfig = GazeConfig()
    """architecture"""

    def check(self, image: ImageSpec) -> None:
        from factory.domains.eye.networks.gaze import map_size

        _require_grey("the gaze network", image)
        map_size(image.height, image.width)

    def trained(self, train: Examples, seed: int, watch: Watch) -> "nn.Module":
        from factory.domains.eye.networks.gaze_training import Gazing, train_gaze

        training = GazeTraining(
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            lr_schedule=self.lr_schedule,
            seed=seed,
            augment=self.augment,
            max_shift_px=self.max_shift_px,
            network=self.network,
        )
        return train_gaze(training, Gazing(grey(train.images), train.values_ND), stop=watch)

    def found(self, network: "nn.Module", images: Pixels) -> Values:
        from factory.domains.eye.networks.gaze import GazeNetwork, found_gaze_N3

        assert isinstance(network, GazeNetwork)
        return found_gaze_N3(network, grey(images))


class IrisNetwork(_OfEyes):
    """The landmark network with one landmark, the centre of the iris (px of the crop)."""

    quantities: ClassVar[frozenset[str] | None] = frozenset({"iris"})

    lr: Float = Field(default=2e-3, gt=0)
    """learning rate of Adam at the start; it falls to 0 as a half cosine"""
    augment: bool = False
    """vary light, contrast, blur and noise of training images, and turn, scale and shift them a
    little"""
    maps: int = Field(default=32, ge=1)
    """feature maps of every layer"""

    def check(self, image: ImageSpec) -> None:
        _require_grey("the iris network", image)

    def trained(self, train: Examples, seed: int, watch: Watch) -> "nn.Module":
        from factory.domains.eye.networks.landmark_training import Labelled, train_landmarks

        training = LandmarkTraining(
            steps=self.steps, batch_size=self.batch_size, lr=self.lr, seed=seed, maps=self.maps
        )
        labelled = Labelled(grey(train.images), train.values_ND[:, None].astype(np.float32))
        return train_landmarks(training, labelled, stop=watch, augment=self.augment)

    def found(self, network: "nn.Module", images: Pixels) -> NDArray[np.floating]:
        from factory.domains.eye.networks.landmarks import LandmarkNetwork, found_landmarks_px

        assert isinstance(network, LandmarkNetwork)
        return found_landmarks_px(network, grey(images))


def _require_grey(name: str, image: ImageSpec) -> None:
    if (image.channels, image.bits) != (1, 8):
        raise ValueError(
            f"{name} of evaluations takes grey images of 8 bits, the dataset has {image.channels} "
            f"channels of {image.bits} bits"
        )
