"""A score of a refiner on images that it was not trained on, in a minute rather than an hour.

It measures as a validation does, on a sample, without calibration: to compare refiners with each
other, not to let one pass.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset import Dataset
from factory.domains.eye import EYE
from factory.eye_measures import drift_of
from factory.images import grey
from factory.labels.drift import spread_or_none
from factory.labels.pupil import PupilFinder
from factory.looks.pairs import mean_abs_change
from factory.realism import TwoSampleTest
from factory.validate import (
    sample_images,
    sample_labelled,
    shards_of,
)
from schemas.base import Float, Model, digest_of
from schemas.report import Spread, TwoSample

Grey = NDArray[np.uint8]


def require_scorable(*datasets: Dataset) -> None:
    """Raises `ValueError` for a dataset of other images than these scores are made for."""
    for dataset in datasets:
        if dataset.card.domain != EYE.name:
            raise ValueError(
                "scores on held-out images measure the drift of pupils, and "
                f"{dataset.location} holds {dataset.card.domain} images: train without them "
                "(validate_every = 0) and judge the refined dataset with jobs/validate.py"
            )


class Score(Model):
    """What a refiner does to held-out images."""

    num_samples: int
    drift_px: Spread | None
    """of the pupil's centre; None where no eye could be measured"""
    mean_abs_delta: Float
    """mean |refined - synthetic| on [-1, 1]"""
    two_sample: TwoSample
    """refined against real: accuracy 0.5 is perfect"""


@dataclass(frozen=True)
class HeldOut:
    """Renders and real images of one split; images uint8 (N, H, W)."""

    index: pa.Table
    synthetic: Grey
    real: Grey

    @classmethod
    def sample(cls, synthetic: Dataset, real: Dataset, split: str, count: int, seed: int) -> Self:
        """About `count` of both.

        Raises:
            ValueError: there are none in that split.
        """
        index, images = sample_labelled(synthetic, shards_of(synthetic, split), count, seed)
        return cls(index, grey(images), grey(sample_images(real, split, count, seed)))

    def digest(self) -> str:
        """Of the renders' keys and the real images' pixels: names the choice."""
        return digest_of(
            {"keys": self.index["key"].to_pylist(), "real": int(self.real.sum(dtype=np.int64))}
        )

    def score(self, refined: Grey, finder: PupilFinder, test: TwoSampleTest) -> Score:
        """How well the refined renders keep their labels and pass for real.

        Args:
            refined: the renders, refined, in order.
        """
        drift = drift_of(self.index, self.synthetic, refined, finder)
        return Score(
            num_samples=len(refined),
            drift_px=spread_or_none(drift.drift_px),
            mean_abs_delta=float(mean_abs_change(self.synthetic, refined).mean()),
            two_sample=test(self.real, refined),
        )
