"""The networks that read labels off eyes, as kinds that `jobs/estimator.py` trains."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.domains.eye.estimator_pictures import gaze_png, gaze_scatter_png, landmarks_png
from factory.domains.eye.networks.gaze import (
    GazeNetwork,
    found_gaze_N3,
    gaze_of,
    load_gaze,
    map_size,
)
from factory.domains.eye.networks.gaze_training import (
    GazeTraining,
    Gazing,
    gaze_errors,
    train_gaze,
)
from factory.domains.eye.networks.landmark_training import (
    Labelled,
    LandmarkTraining,
    median_error_px,
    train_landmarks,
)
from factory.domains.eye.networks.landmarks import (
    LandmarkNetwork,
    found_landmarks_px,
    landmarks_px,
    load_landmarks,
)
from factory.images.png import Grey, grey
from factory.networks.estimator_kinds import EstimatorKind, Judged, labelled_images
from factory.networks.estimator_training import OnUpdate
from schemas.dataset import ImageSpec
from schemas.eye.estimators import GazeDescription, LandmarkDescription
from schemas.eye.kind import EYE


class LandmarkEstimator(EstimatorKind[LandmarkTraining, Labelled, LandmarkNetwork]):
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

    def load(self, location: str | Path) -> tuple[LandmarkNetwork, LandmarkDescription]:
        return load_landmarks(location)

    def read(self, dataset: Dataset, split: str) -> Labelled:
        images, index = labelled_eyes(dataset, split, ["pupil_px", "iris_px", "lid_px"])
        return Labelled(images, landmarks_px(index))

    def train(
        self, training: LandmarkTraining, labelled: Labelled, on_update: OnUpdate
    ) -> LandmarkNetwork:
        return train_landmarks(training, labelled, on_update)

    def judge(self, network: LandmarkNetwork, labelled: Labelled, held_out: Labelled) -> Judged:
        found = found_landmarks_px(network, held_out.images)
        errors = median_error_px(found, held_out)
        medians = ", ".join(f"{name} {error:.2f} px" for name, error in errors.items())
        picture = landmarks_png(held_out.images, held_out.landmarks_px, found)
        return Judged(
            errors={"error_px": errors},
            pictures={"landmarks.png": picture},
            summary=f"median error on {len(found)} eyes: {medians}",
        )


class GazeEstimator(EstimatorKind[GazeTraining, Gazing, GazeNetwork]):
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
        map_size(image.height, image.width)

    def load(self, location: str | Path) -> tuple[GazeNetwork, GazeDescription]:
        return load_gaze(location)

    def read(self, dataset: Dataset, split: str) -> Gazing:
        images, index = labelled_eyes(dataset, split, ["gaze"])
        return Gazing(images, gaze_of(index))

    def train(self, training: GazeTraining, labelled: Gazing, on_update: OnUpdate) -> GazeNetwork:
        return train_gaze(training, labelled, on_update)

    def judge(self, network: GazeNetwork, labelled: Gazing, held_out: Gazing) -> Judged:
        found = found_gaze_N3(network, held_out.images)
        errors = gaze_errors(found, held_out.gaze_N3, labelled.gaze_N3.mean(axis=0))
        mean_answer = errors.mean_answer_deg
        return Judged(
            errors={"held_out": errors},
            pictures={
                "gaze.png": gaze_png(held_out.images, held_out.gaze_N3, found),
                "gaze_scatter.png": gaze_scatter_png(held_out.gaze_N3, found),
            },
            summary=f"error on {len(found)} eyes: mean {errors.deg.mean:.1f}°, "
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
