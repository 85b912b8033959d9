"""Train a small network that finds the landmarks of eyes, for training with label consistency."""

import logging

from cluster.command import run_command
from cluster.estimators import EstimatorJob, already_trained, labelled_eyes
from cluster.session import Progress, start
from cluster.training import lineage_of
from factory.dataset import Dataset
from factory.estimators import UNSAVED
from factory.landmark_training import (
    Labelled,
    LandmarkTraining,
    found_landmarks_px,
    median_error_px,
    train_landmarks,
)
from factory.landmarks import LandmarkDescription, landmarks_px, load_landmarks, save_landmarks
from factory.report.estimators import landmarks_png
from factory.store import open_store

log = logging.getLogger(__name__)
PICTURE = "landmarks.png"


class LandmarksJob(EstimatorJob, LandmarkTraining):
    """Train a small network that finds pupil, iris and lids, on labelled renders.

    Writes landmarks.safetensors and landmarks.json, with its median error on the held-out split,
    and landmarks.png, to look at. jobs/train.py --label-network takes the output. Some minutes of
    one core; begun anew if it is stopped.
    """


def main(job: LandmarksJob) -> None:
    dataset = Dataset.open(job.synthetic)
    dataset.require_splits(job.split, job.held_out)
    training = job.part(LandmarkTraining)
    made_of = {**training.model_dump(mode="json"), "lineage": lineage_of(dataset, job.split)}
    with start(job, job.output):
        if already_trained(job.output, load_landmarks, made_of):
            log.info("%s: already trained", job.output)
            return
        job.limit_threads()
        labelled, held_out = _labelled(dataset, job.split), _labelled(dataset, job.held_out)
        progress = Progress("landmarks", job.steps, "updates")
        try:
            network = train_landmarks(
                training, labelled, lambda loss: progress.advance(1, f"loss {loss:.2f} px")
            )
        finally:
            progress.close()
        found = found_landmarks_px(network, held_out.images)
        errors = median_error_px(found, held_out)
        picture = landmarks_png(held_out.images, held_out.landmarks_px, found)
        open_store(job.output).put(PICTURE, picture)
        described = LandmarkDescription(
            domain=dataset.card.domain,
            image=dataset.card.image,
            architecture=network.config,
            sha256=UNSAVED,
            error_px=errors,
            train=made_of,
        )
        save_landmarks(job.output, network, described)
        told = ", ".join(f"{name} {error:.2f} px" for name, error in errors.items())
        log.info("median error on %d eyes of %s: %s", len(found), job.held_out, told)


def _labelled(dataset: Dataset, split: str) -> Labelled:
    images, index = labelled_eyes(dataset, split, ["pupil_px", "iris_px", "lid_px"])
    return Labelled(images, landmarks_px(index))


if __name__ == "__main__":
    run_command(LandmarksJob, main)
