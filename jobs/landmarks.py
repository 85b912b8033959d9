"""Train a small network that finds the landmarks of eyes, for training with label consistency."""

from cluster.job.command import run_command
from cluster.job.estimators import (
    EstimatorJob,
    EstimatorKind,
    Judged,
    labelled_eyes,
    train_estimator,
)
from factory.dataset.dataset import Dataset
from factory.domains.eye.estimator_page import landmarks_png
from factory.domains.eye.networks.landmark_training import (
    Labelled,
    LandmarkTraining,
    median_error_px,
    train_landmarks,
)
from factory.domains.eye.networks.landmarks import (
    LandmarkDescription,
    LandmarkNetwork,
    found_landmarks_px,
    landmarks_px,
    load_landmarks,
)

PICTURE = "landmarks.png"


class LandmarksJob(EstimatorJob, LandmarkTraining):
    """Train a small network that finds pupil, iris and lids, on labelled renders.

    Writes landmarks.safetensors and landmarks.json, with its median error on the held-out split,
    and landmarks.png, to look at. jobs/train.py --label-network takes the output. Some minutes of
    one core; begun anew if it is stopped.
    """


def main(job: LandmarksJob) -> None:
    train_estimator(job, KIND)


def _labelled(dataset: Dataset, split: str) -> Labelled:
    images, index = labelled_eyes(dataset, split, ["pupil_px", "iris_px", "lid_px"])
    return Labelled(images, landmarks_px(index))


def _judged(network: LandmarkNetwork, _: Labelled, held_out: Labelled) -> Judged:
    found = found_landmarks_px(network, held_out.images)
    errors = median_error_px(found, held_out)
    medians = ", ".join(f"{name} {error:.2f} px" for name, error in errors.items())
    picture = landmarks_png(held_out.images, held_out.landmarks_px, found)
    told = f"median error on {len(found)} eyes: {medians}"
    return Judged({"error_px": errors}, {PICTURE: picture}, told)


KIND = EstimatorKind(
    domain="eye",
    description=LandmarkDescription,
    training=LandmarkTraining,
    load=load_landmarks,
    read=_labelled,
    train=train_landmarks,
    judge=_judged,
    loss="{:.2f} px",
)


if __name__ == "__main__":
    run_command(LandmarksJob, main)
