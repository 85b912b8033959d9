"""A score of a refiner on images that no training saw, in a minute rather than an hour.

It measures as a validation does, on a sample and without calibration: to compare refiners with each
other, not to let one pass. `Domain.scoring` says how the refiners of a domain are scored.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import pyarrow as pa
from pydantic import JsonValue

from factory.dataset.dataset import Dataset
from factory.images.png import Pixels
from factory.validation.sampling import sample_images, sample_labelled, shards_of
from schemas.base import digest_of
from schemas.score import RankedBy, Score, ScoreRecord


@dataclass(frozen=True)
class HeldOut:
    """Renders and real images of one split, as they are stored: (N, H, W), or (N, H, W, C)."""

    index: pa.Table
    """labels of the renders, in the same order"""
    synthetic: Pixels
    real: Pixels

    def digest(self) -> str:
        """Names the choice: by the renders' keys, and the sum of the real images' pixels."""
        return digest_of(
            {"keys": self.index["key"].to_pylist(), "real": int(self.real.sum(dtype=np.int64))}
        )


@dataclass(frozen=True)
class HeldOutChoice:
    """Which images are held out, by places that any worker can read."""

    synthetic: str
    real: str
    split: str
    num_images: int
    """about so many renders, and as many real images"""

    @classmethod
    def checked(cls, synthetic: Dataset, real: Dataset, split: str, num_images: int) -> Self:
        """Raises `ValueError` where a dataset has no such split, or no images in it."""
        for dataset in (synthetic, real):
            shards_of(dataset, split)
        return cls(synthetic.location, real.location, split, num_images)

    def load(self) -> HeldOut:
        """The images, the same at every call."""
        synthetic, real = Dataset.open(self.synthetic), Dataset.open(self.real)
        index, images = sample_labelled(
            synthetic, shards_of(synthetic, self.split), self.num_images, seed=0
        )
        return HeldOut(index, images, sample_images(real, self.split, self.num_images, seed=0))


class Shown(NamedTuple):
    """A number of a score, as tables show it."""

    name: str
    """of `Score.metrics`"""
    title: str
    form: str
    """a format"""
    better: Literal["", "lower", "higher"] = ""
    """which way is better, where one is"""


class Scoring(Protocol):
    """How a domain scores refiners: `Domain.scoring` makes one. It travels to workers."""

    @property
    def record(self) -> type[ScoreRecord[Any]]:
        """What is written beside a refiner, with the kind of score that `score` gives."""

    @property
    def limits(self) -> Mapping[str, float]:
        """What numbers of `Score.metrics` may be at most in a refiner that keeps its labels. All of
        them are errors, 0 in a refiner that changes nothing."""

    @property
    def shown(self) -> tuple[Shown, ...]:
        """The numbers that a table of refiners shows beside change and two-sample accuracy."""

    @property
    def meaning(self) -> str:
        """What those numbers are, in sentences for the reader of such a table."""

    def settings(self) -> dict[str, JsonValue]:
        """All that decides a score beside the images, for the digest of how it was measured."""

    def score(self, held_out: HeldOut, refined: Pixels) -> Score:
        """How well refined renders keep their labels and pass for real.

        Args:
            refined: the held-out renders, refined, in order.

        Raises:
            ValueError: too few images, or numbers that are not finite.
        """


def rank_of(
    metrics: Mapping[str, float],
    limits: Mapping[str, float],
    by: RankedBy = "two_sample_accuracy",
) -> tuple[bool, float, float]:
    """Smallest for the best refiner: of those within all limits, the one that is told from real
    least often, or that came nearest to real by another measure; if there are none, the one that is
    nearest to its limits.

    A number that is missing or NaN is beyond every limit. A share or gain that is missing or NaN is
    behind every other one, and where none has one, accuracy decides.

    Args:
        metrics: of `Score.metrics`.
        limits: of `Scoring.limits`.
        by: what decides between refiners within all limits.
    """
    accuracy = _or_infinite(metrics.get("two_sample_accuracy"))
    if math.isinf(accuracy):
        return True, math.inf, math.inf
    excess = max((_or_infinite(metrics.get(name)) / limits[name] for name in limits), default=0.0)
    if excess > 1:
        return True, excess, math.inf
    if by == "two_sample_accuracy":
        return False, accuracy, 0.0
    nearer = metrics.get(by)
    return False, _or_infinite(None if nearer is None else -nearer), accuracy


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else value
