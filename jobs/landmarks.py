"""Train a small network that finds the landmarks of eyes, for training with label consistency."""

import logging
from typing import Annotated

import cv2
import numpy as np
import torch
import tyro
from pydantic import Field

from cluster.command import JobConfig, run_command
from cluster.session import Progress, start
from cluster.training import lineage_of
from factory.dataset import Dataset, load_images, load_index
from factory.images import encode_png
from factory.landmark_training import (
    Labelled,
    LandmarkTraining,
    found_landmarks_px,
    median_error_px,
    train_landmarks,
)
from factory.landmarks import (
    DESCRIPTION_NAME,
    LandmarkDescription,
    landmarks_px,
    load_landmarks,
    save_landmarks,
)
from factory.store import open_store
from factory.validate import grey

log = logging.getLogger(__name__)
PICTURE = "landmarks.png"
NUM_COLUMNS, NUM_ROWS = 6, 3
ZOOM = 4


class LandmarksJob(JobConfig, LandmarkTraining):
    """Train a small network that finds pupil, iris and lids, on labelled renders.

    Writes landmarks.safetensors and landmarks.json, with its median error on the held-out split,
    and landmarks.png, to look at. jobs/train.py --label-network takes the output. A few minutes of
    one core; begun anew if it is stopped.
    """

    synthetic: str
    """dataset of labelled renders"""
    output: str
    """folder for the network, or s3://bucket/prefix"""
    split: str = "train"
    """to train on"""
    held_out: str = "test"
    """split that the error is measured on"""
    num_threads: Annotated[int | None, Field(ge=1), tyro.conf.arg(metavar="INT")] = None
    """CPU threads; default all cores"""


def main(job: LandmarksJob) -> None:
    dataset, store = Dataset.open(job.synthetic), open_store(job.output)
    training = LandmarkTraining(**{n: getattr(job, n) for n in LandmarkTraining.model_fields})
    made_of = {**training.model_dump(mode="json"), "lineage": lineage_of(dataset, job.split)}
    with start(job, job.output):
        if store.size(DESCRIPTION_NAME) is not None:
            if load_landmarks(job.output)[1].train != made_of:
                raise ValueError(
                    f"{job.output} holds a network of another training; give another --output"
                )
            log.info("%s: already trained", job.output)
            return
        if job.num_threads is not None:
            torch.set_num_threads(job.num_threads)
        held_out = _labelled(dataset, job.held_out)
        progress = Progress("landmarks", job.steps, "updates")
        try:
            network = train_landmarks(
                training,
                _labelled(dataset, job.split),
                lambda loss: progress.advance(1, f"loss {loss:.2f} px"),
            )
        finally:
            progress.close()
        found = found_landmarks_px(network, held_out.images)
        errors = median_error_px(found, held_out)
        store.put(PICTURE, _picture(held_out, found))
        described = LandmarkDescription(
            domain=dataset.card.domain,
            image=dataset.card.image,
            architecture=network.config,
            sha256="0" * 64,
            error_px=errors,
            train=made_of,
        )
        save_landmarks(job.output, network, described)
        told = ", ".join(f"{name} {error:.2f} px" for name, error in errors.items())
        log.info("median error on %d eyes of %s: %s", len(found), job.held_out, told)


def _labelled(dataset: Dataset, split: str) -> Labelled:
    """A split's images and landmarks.

    Raises:
        ValueError: there are none.
    """
    if split not in dataset.card.splits:
        raise ValueError(
            f"{dataset.location} has no split {split}; it has {', '.join(dataset.card.splits)}"
        )
    if not dataset.card.labelled:
        raise ValueError(f"{dataset.location} has no labels to learn from")
    if dataset.card.image.channels != 1:
        raise ValueError(f"{dataset.location} is in colour; landmarks are found in grey images")
    shards = dataset.committed_in(split)
    index = load_index(dataset, ["pupil_px", "iris_px", "lid_px"], shards)
    return Labelled(grey(load_images(dataset, shards)), landmarks_px(index))


def _picture(labelled: Labelled, found: np.ndarray) -> bytes:
    """Eyes with their landmarks (rings) and what the network finds (dots)."""
    tiles = [
        _tile(*eye)
        for eye in zip(
            labelled.images[: NUM_COLUMNS * NUM_ROWS],
            labelled.landmarks_px,
            found,
            strict=False,
        )
    ]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % NUM_COLUMNS)
    rows = [
        np.concatenate(tiles[first : first + NUM_COLUMNS], axis=1)
        for first in range(0, len(tiles), NUM_COLUMNS)
    ]
    return encode_png(np.concatenate(rows))


def _tile(image: np.ndarray, truth_px: np.ndarray, found_px: np.ndarray) -> np.ndarray:
    size = (image.shape[1] * ZOOM, image.shape[0] * ZOOM)
    tile = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
    for points, radius, colour, width in (
        (truth_px, 4, (255, 180, 0), 1),
        (found_px, 2, (0, 220, 255), -1),
    ):
        for x, y in (points + 0.5) * ZOOM - 0.5:
            cv2.circle(tile, (round(float(x)), round(float(y))), radius, colour, width, cv2.LINE_AA)
    return np.asarray(tile)


if __name__ == "__main__":
    run_command(LandmarksJob, main)
