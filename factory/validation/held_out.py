"""A score of a refiner on images that it was not trained on, in a minute rather than an hour.

It measures as a validation does, on a sample, without calibration: to compare refiners with each
other, not to let one pass.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.domains.eye.measures import drift_of
from factory.domains.eye.pupil.finder import PupilFinder
from factory.images.png import Grey, grey
from factory.measures.looks.pairs import mean_abs_change
from factory.measures.statistics import spread_or_none
from factory.measures.two_sample import TwoSampleTest
from factory.validation.sampling import sample_images, sample_labelled, shards_of
from schemas.base import digest_of
from schemas.eye.kind import EYE
from schemas.score import Score


def require_scorable(*datasets: Dataset) -> None:
    """Raises `ValueError` for a dataset of other images than these scores are made for."""
    for dataset in datasets:
        if dataset.card.domain != EYE.name:
            raise ValueError(
                "scores on held-out images measure the drift of pupils, and "
                f"{dataset.location} holds {dataset.card.domain} images: train without them "
                "(validate_every = 0) and judge the refined dataset with jobs/validate.py"
            )


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
