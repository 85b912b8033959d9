"""What an evaluation writes: the record of each trial, a line of the log of trials, the report."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from schemas.base import Float, Model, Sha256, Versioned

Fact = float | int | str
Outcome = Literal["pays", "not shown", "harms"]


class Summary(Model):
    """Errors of one trained model on one test set."""

    unit: str
    """of all errors: deg, px"""
    num_units: int = Field(ge=1)
    """images, or frames that show both eyes"""
    mean: Float
    median: Float
    p95: Float


class TrialRecord(Versioned):
    """`trials/<digest>.json`: one model, trained on one arm with one seed. The error of each unit
    is in the Parquet file of the same name."""

    digest: Sha256
    """of all that decides the trial: images, labels, settings, seed, test sets"""
    setting: Sha256
    """the same without the seed, and without the test sets"""
    arm: str
    size: int | None
    """number of images that were asked for; None for all that the arm has"""
    seed: int
    model: str
    arm_settings: dict[str, JsonValue]
    model_settings: dict[str, JsonValue]
    num_images: int
    """images that the model was trained on"""
    facts: dict[str, Fact]
    """what the training tells of itself: its updates, its error on its own held-out images"""
    errors: dict[str, Summary]
    """by the name of the test set"""
    cpu_s: Float
    """seconds of CPU time that training and scoring took"""

    @property
    def collapsed(self) -> bool:
        """Whether the model gives nearly the same answer to every image."""
        return bool(self.facts.get("collapsed"))


class LoggedTrial(Model):
    """A line of the log of trials: figures of one trial on one test set, without pixels."""

    date: str
    """UTC, ISO 8601"""
    commit: str
    """of the code; `unknown` outside a checkout"""
    digest: Sha256
    setting: Sha256
    test_set: Sha256
    """digest of the test set's images and of what is scored of it"""
    test: str
    arm: str
    size: int | None
    seed: int
    model: str
    arm_settings: dict[str, JsonValue]
    model_settings: dict[str, JsonValue]
    facts: dict[str, Fact]
    error: Summary


class Interval(Model):
    """A number with its 95 % bootstrap interval."""

    value: Float
    low: Float
    high: Float


class ArmResult(Model):
    """One arm on one test set, with one model and one size."""

    arm: str
    kind: str
    """of the arm: renders, refined, degraded, ..."""
    size: int | None
    model: str
    test: str
    unit: str
    mean: Interval | None
    """mean error over units and seeds; None where every training collapsed"""
    by_seed: tuple[tuple[int, Float], ...]
    """(seed, mean error) of each training that did not collapse"""
    collapsed_seeds: tuple[int, ...]
    within: dict[str, Float]
    """share of the units with an error of at most so much, by the bound: "7" for 7 degrees"""
    updates: tuple[int, ...]
    """of each training, where the model is trained in updates"""


class PairedDifference(Model):
    """Error of an arm less that of another one, on the same units with the same seeds."""

    arm: str
    other: str
    size: int | None
    model: str
    test: str
    unit: str
    num_seeds: int
    difference: Interval
    """negative: the arm is better"""
    relative: Interval
    """the difference over the other's error"""


class GapClosed(Model):
    """(renders - arm) / (renders - real), of one model."""

    arm: str
    size: int | None
    model: str
    test: str
    real: str
    """the arm of real images"""
    num_real: int
    share: Interval


class Verdict(Model):
    """What an evaluation says of one arm with one model on one test set."""

    arm: str
    size: int | None
    model: str
    test: str
    outcome: Outcome
    why: str
    """in a sentence, with the figures"""


class ScoredRefiner(Model):
    """The error of one model that was trained on what one refiner made, beside that refiner's score
    on held-out images."""

    arm: str
    size: int | None
    model: str
    test: str
    unit: str
    """of the error"""
    seed: int
    """of the model"""
    error: Float
    """mean error over units"""
    metrics: dict[str, Float]
    """the numbers of `score.json` beside the refiner: drift in px, mean |change| on [-1, 1], share
    of the distance to real images that was closed, accuracy of telling refined from real"""


class Looks(Model):
    """How often a test set has been scored, by the log of trials."""

    test: str
    num_settings: int
    """settings that have been scored on it, those of this evaluation included"""
    num_new_settings: int
    """those that this evaluation was the first to score"""


class EvaluationReport(Versioned):
    """`evaluation.json` in the output of jobs/evaluate.py."""

    domain: str
    baseline: str
    control: str | None
    seeds: tuple[Annotated[int, Field(ge=0)], ...]
    num_trials: int
    arms: tuple[ArmResult, ...]
    differences: tuple[PairedDifference, ...]
    gaps: tuple[GapClosed, ...]
    verdicts: tuple[Verdict, ...]
    looks: tuple[Looks, ...]
    scored: tuple[ScoredRefiner, ...] = ()
    """of the arms whose refiners have been scored, as jobs/ablate.py scores them"""
    notes: tuple[str, ...]
    """what a reader has to know of the figures, in sentences"""
