"""`score.json` beside a refiner: what it does to held-out images."""

from schemas.base import Float, Model, Sha256, Versioned
from schemas.report import Spread, TwoSample


class Score(Model):
    """What a refiner does to held-out images."""

    num_samples: int
    drift_px: Spread | None
    """of the pupil's centre; None where no eye could be measured"""
    mean_abs_delta: Float
    """mean |refined - synthetic| on [-1, 1]"""
    two_sample: TwoSample
    """refined against real: accuracy 0.5 is perfect"""


class ScoreRecord(Versioned):
    """`score.json` beside a refiner: its score, and what that depends on."""

    refiner: Sha256
    measured_with: Sha256
    """digest of the held-out images and of how they were measured"""
    score: Score
