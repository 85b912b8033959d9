"""What a validation run found: the numbers behind `reports/<id>/report.html`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from schemas.base import Float, Model, Sha256, Versioned
from schemas.dataset import DatasetCard
from schemas.evaluation import Verdict
from schemas.realism import ClosedShare, Fidelity


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

    unit: Literal["px", "deg", "mm"]
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


RefinerOutcome = Literal[
    "moved labels", "did nothing", "closed", "closed nothing", "went away", "not known"
]


class RefinerVerdict(Model):
    """What a report says of the refiner, by the rule in docs/validation.md."""

    outcome: RefinerOutcome
    words: str
    """the same in a sentence without a full stop, with its figures"""
    moved: tuple[str, ...]
    """what says that labels moved, in words; empty where nothing does"""
    evaluated: tuple[Verdict, ...]
    """what an evaluation on real images says of this refiner, where one was named"""


class ValidatedShard(Model):
    """A shard that the report speaks of, by content."""

    shard: int
    tar_sha256: Sha256
    num_samples: int


class Report(Versioned):
    """`reports/<id>/report.json`: what reports of all domains say. Each domain has its own class,
    whose numbers a gate may limit by their dotted names."""

    model_config = ConfigDict(extra="ignore")

    derived: ClassVar[Mapping[str, tuple[Callable[[Any], float | None], str]]] = {}
    """numbers that follow from several of a report, with their meaning"""
    sample_measures: ClassVar[Mapping[str, str]] = {}
    """what limits on single samples may name, with its meaning: columns of measurements"""
    number_words: ClassVar[Mapping[str, str]] = {}
    """what the other numbers are called in words: their dotted names without the statistic, with *
    for any part, and the words, in which `{witness}` stands for the name of the witness"""
    least_change: ClassVar[float] = 0.01
    """median of `mean_abs_change` below which a refiner did nothing, unless it came nearer to real
    all the same"""
    label_measures: ClassVar[tuple[str, ...]] = ()
    """which measures of a gate say how far labels moved: names, with * for any part"""
    allowed_drift: ClassVar[Mapping[str, float]] = {}
    """the median drift that is no movement of labels, by the unit of the witness"""

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
    """in these shards; of an input that was rewritten, the newest sample alone counts"""
    mean_abs_change: Spread
    """mean |refined - synthetic| of an image on [-1, 1]: 0 means the refiner did nothing"""
    realism: Realism
    fidelity: Fidelity | None = None
    """None where no weights were given, and in reports from before it could be measured"""
    samples: tuple[SampleCheck, ...] = ()
    """the gate's limits on single samples"""
    verdicts: Verdicts
    gate: Sha256 | None = None
    """digest of the gate file; None when there was none"""
    gate_name: str | None = None
    """name of the gate file, without its folder; None without a gate, and in reports from before it
    was kept"""
    checks: tuple[GateCheck, ...] = ()
    passed: bool | None = None
    """None without a gate"""
    refiner_verdict: RefinerVerdict | None = None
    """None in reports from before there was one"""

    def by_witness(self) -> Iterable[tuple[str, Witness | None]]:
        """What each of the domain's witnesses found, by name; None for one that did not measure."""
        return ()

    def closed_share(self) -> ClosedShare | None:
        """How much of the distance to real images refining closed; None where the domain does not
        measure it, and in reports from before it did."""
        return None


WITNESS_WORDS: Mapping[str, str] = {
    "witnesses.*.drift": "the drift by the witness {witness}",
    "witnesses.*.floor": "the floor of the witness {witness}, its drift where nothing moved",
    "witnesses.*.label_error": "the distance from the labels by the witness {witness}",
    "witnesses.*.error": "the error of the witness {witness} on renders",
    "mean_abs_change": "the change of an image, mean |Δ| on [−1, 1]",
    "realism.synthetic_vs_real": "renders told from real images",
    "realism.refined_vs_real": "refined images told from real ones",
    "realism.real_vs_real": "real images told from other real ones",
    "fidelity.refined.fid": "FID of the refined images",
    "fidelity.refined.kid": "KID of the refined images",
    "verdicts.dropped_share": "share of the samples that miss a limit on single samples",
}
"""What the numbers of reports of any domain are called."""

REALISM_DERIVED: Mapping[str, tuple[Callable[[Any], float | None], str]] = {
    "derived.realism_gain": (
        lambda of: of.realism.synthetic_vs_real.accuracy - of.realism.refined_vs_real.accuracy,
        "two-sample accuracy of synthetic against real, less that of refined against real",
    ),
    "derived.refined_over_floor": (
        lambda of: of.realism.refined_vs_real.accuracy - of.realism.real_vs_real.accuracy,
        "two-sample accuracy of refined against real, less that of real against real",
    ),
}
"""What follows from the two-sample tests of any domain."""
