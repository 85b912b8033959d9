"""The networks that read labels off eyes, as kinds that `jobs/estimator.py` trains."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.images.png import Grey, grey
from factory.networks.estimator_kinds import EstimatorKind, Judged, labelled_images
from factory.store.extras import MissingExtraError
from schemas.dataset import ImageSpec
from schemas.eye.estimators import (
    GazeDescription,
    GazeTraining,
    LandmarkDescription,
    LandmarkTraining,
)
from schemas.eye.kind import EYE

if TYPE_CHECKING:
    from factory.domains.eye.networks.gaze import GazeNetwork
    from factory.domains.eye.networks.gaze_training import Gazing
    from factory.domains.eye.networks.landmark_training import Labelled
    from factory.domains.eye.networks.landmarks import LandmarkNetwork
    from factory.networks.estimator_training import OnUpdate

log = logging.getLogger(__name__)


class LandmarkEstimator(EstimatorKind[LandmarkTraining, "Labelled", "LandmarkNetwork"]):
    """Train a small network that finds pupil, iris and lids of eyes.

    Writes landmarks.safetensors, landmarks.json with its median errors on the held-out split, and
    the picture landmarks.png. `jobs/validate.py --witnesses landmarks` and `jobs/train.py
    --label-network` take the output. The defaults take some minutes on one core. A training that
    was stopped begins anew.
    """

    domain = EYE.name
    description = LandmarkDescription
    training = LandmarkTraining
    loss_format = "{:.2f} px"

    def load(self, location: str | Path) -> "tuple[LandmarkNetwork, LandmarkDescription]":
        from factory.domains.eye.networks.landmarks import load_landmarks

        return load_landmarks(location)

    def read(self, dataset: Dataset, split: str) -> "Labelled":
        from factory.domains.eye.networks.landmark_training import Labelled
        from factory.domains.eye.networks.landmarks import landmarks_px

        images, index = labelled_eyes(dataset, split, ["pupil_px", "iris_px", "lid_px"])
        return Labelled(images, landmarks_px(index))

    def train(
        self, training: LandmarkTraining, labelled: "Labelled", on_update: "OnUpdate"
    ) -> "LandmarkNetwork":
        from factory.domains.eye.networks.landmark_training import train_landmarks

        return train_landmarks(training, labelled, on_update)

    def judge(
        self, network: "LandmarkNetwork", labelled: "Labelled", held_out: "Labelled"
    ) -> Judged:
        from factory.domains.eye.estimator_pictures import landmarks_png
        from factory.domains.eye.networks.landmark_training import median_error_px
        from factory.domains.eye.networks.landmarks import found_landmarks_px

        found_px = found_landmarks_px(network, held_out.images)
        errors = median_error_px(found_px, held_out)
        medians = ", ".join(f"{name} {error:.2f} px" for name, error in errors.items())
        picture = landmarks_png(held_out.images, held_out.landmarks_px, found_px)
        return Judged(
            errors={"error_px": errors},
            pictures={"landmarks.png": picture},
            summary=f"median error on {len(found_px)} eyes: {medians}",
        )


class GazeEstimator(EstimatorKind[GazeTraining, "Gazing", "GazeNetwork"]):
    """Train the paper's network that estimates the gaze of eyes.

    Writes gaze.safetensors, gaze.json with its errors on the held-out split in degrees, and the
    pictures gaze.png and gaze_scatter.png (true against estimated yaw and pitch).
    `jobs/validate.py --witnesses gaze` takes the output. The defaults take about ten minutes on one
    core. A training that was stopped begins anew.
    """

    domain = EYE.name
    description = GazeDescription
    training = GazeTraining

    def check(self, training: GazeTraining, image: ImageSpec) -> None:
        from factory.domains.eye.networks.gaze import map_size

        map_size(image.height, image.width)

    def load(self, location: str | Path) -> "tuple[GazeNetwork, GazeDescription]":
        from factory.domains.eye.networks.gaze import load_gaze

        return load_gaze(location)

    def read(self, dataset: Dataset, split: str) -> "Gazing":
        from factory.domains.eye.networks.gaze import gaze_of
        from factory.domains.eye.networks.gaze_training import Gazing

        images, index = labelled_eyes(dataset, split, ["gaze"])
        return Gazing(images, gaze_of(index))

    def train(
        self, training: GazeTraining, labelled: "Gazing", on_update: "OnUpdate"
    ) -> "GazeNetwork":
        from factory.domains.eye.networks.gaze_training import train_gaze

        return train_gaze(training, labelled, on_update)

    def judge(self, network: "GazeNetwork", labelled: "Gazing", held_out: "Gazing") -> Judged:
        from factory.domains.eye.estimator_pictures import gaze_png, gaze_scatter_png
        from factory.domains.eye.networks.gaze import found_gaze_N3
        from factory.domains.eye.networks.gaze_training import gaze_errors

        found_N3 = found_gaze_N3(network, held_out.images)
        errors = gaze_errors(found_N3, held_out.gaze_N3, labelled.gaze_N3.mean(axis=0))
        mean_answer = errors.mean_answer_deg
        pictures = {"gaze.png": gaze_png(held_out.images, held_out.gaze_N3, found_N3)}
        try:
            pictures["gaze_scatter.png"] = gaze_scatter_png(held_out.gaze_N3, found_N3)
        except MissingExtraError as error:
            log.warning("gaze_scatter.png is left out: %s", error)
        return Judged(
            errors={"held_out": errors},
            pictures=pictures,
            summary=f"error on {len(found_N3)} eyes: mean {errors.deg.mean:.1f}°, "
            f"median {errors.deg.median:.1f}°; of always answering the mean gaze: "
            f"mean {mean_answer.mean:.1f}°, median {mean_answer.median:.1f}°",
        )


def labelled_eyes(dataset: Dataset, split: str, columns: Sequence[str]) -> tuple[Grey, pa.Table]:
    """`labelled_images` of 8 bits.

    Raises:
        ValueError: as `labelled_images`, or the images have 16 bits.
    """
    images, index = labelled_images(dataset, split, columns)
    return grey(images), index
