"""Cheap models and test sets of eyes, so that evaluations can be tried without training."""

from typing import ClassVar

import numpy as np

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.eye.networks.gaze import angle_deg, gaze_of
from factory.networks.evaluation_kinds import (
    Errors,
    Evaluation,
    Examples,
    Fitted,
    LoadedTest,
    Quantity,
    Regressor,
    TestSet,
)
from schemas.dataset import ImageSpec

GAZE = Quantity("gaze", "deg", ("gaze",), gaze_of, angle_deg)


class Columns(Regressor):
    """Least squares on the mean grey values of columns; with some seeds it collapses, or fails."""

    quantities: ClassVar[frozenset[str]] = frozenset({"gaze"})
    collapses: tuple[int, ...] = ()
    """seeds with which the answer is constant"""
    smallest_px: int = 1

    def check(self, image: ImageSpec) -> None:
        if image.width < self.smallest_px:
            raise ValueError(f"images have to be {self.smallest_px} px wide at least")

    def fit(self, train: Examples, held_out: Examples, quantity: Quantity, *, seed: int) -> Fitted:
        rows = np.random.default_rng(seed).integers(len(train.images), size=len(train.images))
        weights, *_ = np.linalg.lstsq(
            _columns(train.images[rows]), train.values_ND[rows], rcond=None
        )
        if seed in self.collapses:
            mean = train.values_ND.mean(axis=0)
            return Fitted(lambda images: np.tile(mean, (len(images), 1)), {"collapsed": 1})
        error = quantity.errors(_columns(held_out.images) @ weights, held_out.values_ND)
        facts = {"updates": len(rows), "held_out_error": float(error.mean())}
        return Fitted(lambda images: _columns(images) @ weights, facts)


def _columns(images: np.ndarray) -> np.ndarray:
    means = images[:, 10:25].mean(axis=1)[:, ::5] / 255.0
    return np.concatenate([means, np.ones((len(means), 1))], axis=1)


class Labelled(TestSet):
    """Labelled eyes, scored by identity; the eyes of one split can be learnt from."""

    quantity: ClassVar[str] = "gaze"
    score: str = "test"
    learn: str = "train"

    def load(self) -> LoadedTest:
        dataset = Dataset.open(self.dataset)
        images, gaze, groups = _read(dataset, self.score)
        learnable = Examples(*_read(dataset, self.learn))
        return LoadedTest(
            images,
            lambda estimates: Errors(angle_deg(estimates, gaze), groups),
            learnable,
            ("The eyes are drawn.",),
        )


def _read(dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shards = dataset.committed_in(split)
    index = load_index(dataset, ["gaze", "identity"], shards)
    return (
        load_images(dataset, shards),
        gaze_of(index),
        np.asarray(index["identity"].to_pylist()),
    )


EVALUATION = Evaluation({"gaze": GAZE}, {"columns": Columns}, {"labelled": Labelled})
