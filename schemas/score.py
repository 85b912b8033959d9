"""`score.json` beside a refiner: what it does to held-out images."""

from typing import Generic, Literal, TypeVar

from schemas.base import Float, Model, Sha256, Versioned
from schemas.realism import ClosedShare
from schemas.report import Spread, TwoSample

SCORE_NAME = "score.json"
SCORED_FOLDER = "scored"
"""of a training run; it has a folder for each scored refiner, named by the updates until then"""
RankedBy = Literal["two_sample_accuracy", "closed_share", "boundary_gain"]
"""the number of `Score.metrics` that decides between refiners within all limits"""


class Score(Model):
    """What a refiner does to held-out images. A domain whose labels can fail in more ways adds
    fields of its own."""

    num_samples: int
    drift_px: Spread | None
    """how far the labelled place moved from each render to its refined image; None where it could
    be measured in no image"""
    mean_abs_delta: Float
    """mean |refined - synthetic| on [-1, 1]"""
    two_sample: TwoSample
    """refined against real: accuracy 0.5 is perfect"""
    closed_share: ClosedShare | None = None
    """how much of the distance to real images refining closed; None where the domain does not
    measure it"""

    def metrics(self) -> dict[str, float]:
        """The numbers by name; a number that could not be measured is left out."""
        values = {
            "two_sample_accuracy": self.two_sample.accuracy,
            "mean_abs_delta": self.mean_abs_delta,
            "num_measured": 0.0,
        }
        if self.closed_share is not None and self.closed_share.share is not None:
            values["closed_share"] = self.closed_share.share.value
        if self.drift_px is not None:
            values |= {
                "num_measured": float(self.drift_px.num),
                "drift_median_px": self.drift_px.median,
                "drift_p95_px": self.drift_px.p95,
            }
        return values


AnyScore = TypeVar("AnyScore", bound=Score)


class ScoreRecord(Versioned, Generic[AnyScore]):
    """`score.json` beside a refiner: its score, and what that depends on."""

    refiner: Sha256
    measured_with: Sha256
    """digest of the held-out images and of how they were measured"""
    score: AnyScore
