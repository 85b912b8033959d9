"""The networks that evaluations train on eyes: gaze, and the centre of the iris."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from factory.images.png import Pixels, grey
from factory.networks.evaluation_kinds import Examples, Fitted, Quantity, Values
from factory.networks.stopping import StoppedTraining, Watch
from schemas.base import Float
from schemas.dataset import ImageSpec
from schemas.eye.estimators import GazeConfig, GazeTraining, LandmarkTraining

if TYPE_CHECKING:
    from torch import nn


class GazeCnn(StoppedTraining):
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

    def fit(self, train: Examples, held_out: Examples, quantity: Quantity, *, seed: int) -> Fitted:
        from factory.domains.eye.networks.gaze import GazeNetwork, found_gaze_N3
        from factory.domains.eye.networks.gaze_training import Gazing, train_gaze

        def estimate(network: "nn.Module", images: Pixels) -> Values:
            assert isinstance(network, GazeNetwork)
            return found_gaze_N3(network, grey(images))

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
        watch = _watch(self, estimate, train, held_out, quantity, seed)
        labelled = Gazing(grey(train.images), train.values_ND)
        network = train_gaze(training, labelled, stop=watch)
        facts = watch.finish(network)
        return Fitted(lambda images: estimate(network, images), facts)


class IrisNetwork(StoppedTraining):
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

    def fit(self, train: Examples, held_out: Examples, quantity: Quantity, *, seed: int) -> Fitted:
        from factory.domains.eye.networks.landmark_training import Labelled, train_landmarks
        from factory.domains.eye.networks.landmarks import LandmarkNetwork, found_landmarks_px

        def estimate(network: "nn.Module", images: Pixels) -> Values:
            assert isinstance(network, LandmarkNetwork)
            return found_landmarks_px(network, grey(images))[:, 0].astype(np.float64)

        training = LandmarkTraining(
            steps=self.steps, batch_size=self.batch_size, lr=self.lr, seed=seed, maps=self.maps
        )
        watch = _watch(self, estimate, train, held_out, quantity, seed)
        labelled = Labelled(grey(train.images), train.values_ND[:, None].astype(np.float32))
        network = train_landmarks(training, labelled, stop=watch, augment=self.augment)
        facts = watch.finish(network)
        return Fitted(lambda images: estimate(network, images), facts)


def _require_grey(name: str, image: ImageSpec) -> None:
    if (image.channels, image.bits) != (1, 8):
        raise ValueError(
            f"{name} of evaluations takes grey images of 8 bits, the dataset has {image.channels} "
            f"channels of {image.bits} bits"
        )


def _watch(
    options: StoppedTraining,
    estimate: "Callable[[nn.Module, Pixels], Values]",
    train: Examples,
    held_out: Examples,
    quantity: Quantity,
    seed: int,
) -> Watch:
    mean_answer = train.values_ND.mean(axis=0)
    return Watch(options, estimate, mean_answer, held_out, quantity, shifted=_relit, seed=seed)


def _relit(images: Pixels, rng: np.random.Generator) -> Pixels:
    from factory.domains.eye.networks.landmark_training import relit
    from factory.networks.scaling import to_network, to_pixels

    return to_pixels(relit(to_network(images), rng))[:, 0]
