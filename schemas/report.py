"""What a validation run found: the numbers behind `reports/<id>/report.html`."""

from typing import Literal

from pydantic import Field

from schemas.base import Float, Model, Sha256, Versioned
from schemas.dataset import DatasetCard
from schemas.realism import LookDistances


class Spread(Model):
    """A distribution in five numbers."""

    num: int = Field(ge=0)
    mean: Float
    sd: Float
    median: Float
    p95: Float


class Estimate(Model):
    """A distribution in numbers, with 95 % bootstrap intervals over identities (over samples,
    where there are too few identities)."""

    num: int = Field(ge=0)
    mean: Float
    mean_low: Float
    mean_high: Float
    sd: Float
    median: Float
    median_low: Float
    median_high: Float
    p95: Float
    p95_low: Float
    p95_high: Float
    p99: Float


class ValueBin(Model):
    """The samples of one range of a condition."""

    by: str
    """the condition with its unit, e.g. `head yaw, deg`"""
    low: Float | None
    """None: no lower bound"""
    high: Float | None
    num_samples: int
    estimate: Estimate | None
    """None where nothing could be measured"""


class LookDrift(Model):
    """What a witness says of two looks of one geometry, where nothing moved."""

    look: str
    drift: Spread


class Witness(Model):
    """One way of telling whether labels still fit, with its own error beside what it says."""

    unit: Literal["px", "deg"]
    means: str
    """how it measures, in words"""
    network: Sha256 | None
    """of its weights, where it is a network"""
    num_samples: int
    num_measured: int
    unmeasured: dict[str, int]
    """reason to number of samples"""
    drift: Estimate | None
    """from parent to refined, sample by sample; None where nothing was measured"""
    mean_shift: tuple[Float, Float] | None
    """mean signed displacement, (x, y) px or (yaw, pitch) deg: what all samples share"""
    label_error: Estimate | None
    """of refined images against their labels: drift, and the witness' own error; None where it
    answers with a displacement alone"""
    error: Spread | None
    """of the parent's images against their labels: its own error"""
    null_drift: tuple[LookDrift, ...]
    floor: Spread | None
    """null drift over the looks that are most like a refiner's change"""
    bins: tuple[ValueBin, ...]
    """of the drift"""


class Witnesses(Model):
    """Independent answers to one question."""

    pupil: Witness
    """ellipse fitted to the iris border; classical"""
    iris: Witness | None
    """centre of the iris, by the landmark network; None without one"""
    lids: Witness | None
    """the lids, by the landmark network"""
    gaze: Witness | None
    """direction of gaze, by the paper's estimator; None without one"""
    registration: Witness
    """the whole picture's edges against its parent's; classical"""
    iris_registration: Witness
    """the edges around the iris against its parent's; classical"""


class Agreement(Model):
    """What two witnesses say of the same samples."""

    first: str
    second: str
    num: int
    """measured by both"""
    rank_correlation: Float | None
    """Spearman's, of the drifts; None where one of them is constant"""
    median_difference_px: Float | None
    """of the drifts, where both are in px"""


class ShardCount(Model):
    """Samples of one shard that miss a limit."""

    shard: int
    num_missed: int
    num_samples: int


class SampleCheck(Model):
    """A limit on single samples, against the whole set and against each shard."""

    limit: str
    measure: str
    at_most: Float | None
    at_least: Float | None
    why: str
    drop: bool
    """whether a sample that misses it is dropped"""
    max_share: Float | None
    shard_share: Float | None
    num_measured: int
    """none: the limit is missed, for nobody looked"""
    num_missed: int
    share: Float
    most_allowed: int | None
    """how many may miss it in a set of this size"""
    num_bad_shards: int
    bad_shards: tuple[ShardCount, ...]
    """the worst of them"""
    passed: bool


class Verdicts(Model):
    """Every sample's verdict, in sum; `verdicts.parquet` beside the report has each."""

    sha256: Sha256
    """of verdicts.parquet"""
    num_kept: int
    num_dropped: int
    dropped_share: Float


class PlantedShift(Model):
    """How well a known displacement is recovered."""

    shift_px: Float
    mean_signed_error_px: Float
    """along the planted direction, recovered minus planted"""
    sd_px: Float
    num: int


class NullDrift(Model):
    """Apparent drift between two looks of the same geometry: the floor of every drift."""

    look: str
    """blur, noise, gamma, contrast, camera style ..."""
    drift_px: Spread
    abstained_share: Float


class PupilCalibration(Model):
    """How far the pupil-centre estimator can be trusted on images like these."""

    circle: Literal["iris", "pupil"]
    """which circle was measured"""
    window_radius_px: Float
    """half width of the search window placed around the label"""
    truth: str
    """what the error was measured against, in words"""
    error_px: Spread
    error_percent_eye_width: Spread
    shifts: tuple[PlantedShift, ...]
    null_drift: tuple[NullDrift, ...]
    null_drift_px: Spread
    """the floor: over the looks that are most like a refiner's change (camera style, and blur,
    gamma, gradient and noise together)"""
    abstained_share: Float


class GazeBin(Model):
    """Drift of the samples that look in one direction."""

    yaw_deg: tuple[Float, Float]
    pitch_deg: tuple[Float, Float]
    num_samples: int
    drift_px: Spread | None
    """None where nothing could be measured"""


class PupilDrift(Model):
    """Displacement of the measured pupil centre from parent to refined, sample by sample."""

    num_samples: int
    num_measured: int
    abstained: dict[str, int]
    """reason to number of samples that could not be measured"""
    drift_px: Spread | None
    drift_percent_eye_width: Spread | None
    mean_shift_px: tuple[Float, Float] | None
    """mean signed displacement (x, y): a drift that all samples share"""
    bins: tuple[GazeBin, ...]


class TwoSample(Model):
    """Held-out accuracy of a network trained to tell two sets apart; 0.5 is perfect."""

    accuracy: Float
    low: Float
    """95 % interval over images and seeds"""
    high: Float
    num_train: int
    num_test: int
    seeds: tuple[int, ...]


class Realism(Model):
    """Classifier two-sample tests on held-out images."""

    synthetic_vs_real: TwoSample
    refined_vs_real: TwoSample
    real_vs_real: TwoSample
    """two halves of the real set: the floor"""


class GateCheck(Model):
    """One line of a gate."""

    measure: str
    """dotted name of a number in this report, e.g. `drift.drift_px.median`"""
    at_most: Float | None = None
    at_least: Float | None = None
    why: str
    value: Float | None
    """None: it could not be measured, which fails the check"""
    passed: bool


class ValidatedShard(Model):
    """A shard that the report speaks of, by content."""

    shard: int
    tar_sha256: Sha256
    num_samples: int


class Report(Versioned):
    """`reports/<id>/report.json`."""

    id: str
    created: str
    """UTC, ISO 8601"""
    writer: str
    location: str
    dataset: DatasetCard
    parent_location: str
    parent: DatasetCard
    real_location: str
    real: DatasetCard
    shards: tuple[ValidatedShard, ...]
    num_samples: int
    mean_abs_change: Spread
    """mean |refined - synthetic| of an image on [-1, 1]: 0 means the refiner did nothing"""
    drift: PupilDrift
    calibration: PupilCalibration
    witnesses: Witnesses
    agreement: tuple[Agreement, ...]
    realism: Realism
    looks: LookDistances
    samples: tuple[SampleCheck, ...] = ()
    """the gate's limits on single samples"""
    verdicts: Verdicts
    gate: Sha256 | None
    """digest of the gate file; None when there was none"""
    checks: tuple[GateCheck, ...]
    passed: bool | None
    """None without a gate"""
