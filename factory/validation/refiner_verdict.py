"""The verdict on a refiner, in words: it did nothing, it moved labels, or it closed so much of the
distance to real images. docs/validation.md states the rule."""

from fnmatch import fnmatchcase

from factory.store.open import open_store
from factory.validation.gate import limit_text
from factory.validation.measure_words import measure_of
from schemas.base import digest_of
from schemas.dataset import DatasetCard
from schemas.evaluation import EvaluationReport, TrialRecord, Verdict
from schemas.report import RefinerOutcome, RefinerVerdict, Report, Witness

EVALUATION_NAME = "evaluation.json"
NUM_SHOWN = 2
"""reasons why labels moved that the words name"""


def verdict_of(report: Report, evaluated: tuple[Verdict, ...] = ()) -> RefinerVerdict:
    """The verdict on the refiner of a report, whose own is not looked at.

    Args:
        report: with the checks of its gate, where it has one.
        evaluated: what an evaluation says of the same refiner.
    """
    moved = (*_moved_by_witness(report), *_missed_limits(report))
    outcome, words = _look_of(report)
    if moved:
        shown = "; ".join(moved[:NUM_SHOWN])
        if len(moved) > NUM_SHOWN:
            shown += f"; and {len(moved) - NUM_SHOWN} more"
        outcome, words = "moved labels", f"moved labels ({shown}); {words}"
    for verdict in evaluated:
        words += f"; {verdict.outcome} for {verdict.model} on {verdict.test}"
    return RefinerVerdict(outcome=outcome, words=words, moved=moved, evaluated=evaluated)


def verdict_in_short(verdict: RefinerVerdict | None) -> str:
    """The verdict for the first lines of a page: how many measurements say that labels moved, where
    some do, in place of what each of them says; empty without a verdict."""
    if verdict is None or verdict.outcome != "moved labels":
        return "" if verdict is None else verdict.words
    num = len(verdict.moved)
    words = f"moved labels, as {num} measurement{' says' if num == 1 else 's say'}"
    for one in verdict.evaluated:
        words += f"; {one.outcome} for {one.model} on {one.test}"
    return words


def _missed_limits(report: Report) -> list[str]:
    """Upper limits of the gate that a measure of labels exceeds."""
    return [
        (
            f"{measure.words} is {measure.shown(check.value)}, {limit_text(check, measure.shown)}"
        ).replace("\N{NO-BREAK SPACE}", " ")
        for check in report.checks
        if check.value is not None
        and check.at_most is not None
        and check.value > check.at_most
        and any(fnmatchcase(check.measure, name) for name in report.label_measures)
        and (measure := measure_of(report, check.measure))
    ]


def _moved_by_witness(report: Report) -> list[str]:
    """Witnesses whose median drift is certainly larger than what 95 % of the samples read where
    nothing moved, and than what the domain allows."""
    return [
        f"{name.replace('_', ' ')}: median {witness.drift.median:.2f} {witness.unit}, where "
        f"{bound:.2f} {witness.unit} is no movement"
        for name, witness in report.by_witness()
        if witness is not None
        and witness.drift is not None
        and (bound := _no_movement(report, witness)) is not None
        and witness.drift.median_low > bound
    ]


def _no_movement(report: Report, witness: Witness) -> float | None:
    if witness.floor is None:
        return None
    return max(witness.floor.p95, report.allowed_drift.get(witness.unit, 0.0))


def _look_of(report: Report) -> tuple[RefinerOutcome, str]:
    """What became of the look, whatever became of the labels."""
    change, closed = report.mean_abs_change.median, report.closed_share()
    share = None if closed is None else closed.share
    if change < report.least_change and (share is None or share.low <= 0 <= share.high):
        return "did nothing", (
            f"did nothing: its images changed by {change:.3f} in the median, "
            f"less than {report.least_change:g}"
        )
    if share is None:
        why = "this is not measured here" if closed is None else (closed.why_not or "")
        return "not known", (
            f"changed its images by {change:.3f} in the median; which share of the distance to "
            f"real images it closed is not known: {why}"
        )
    value, low, high = (100 * number for number in (share.value, share.low, share.high))
    within = f"(95 % interval {low:.0f} to {high:.0f} %)"
    if share.high < 0:
        return "went away", (
            f"went away from real images by {-value:.0f} % of the distance "
            f"(95 % interval {-high:.0f} to {-low:.0f} %)"
        )
    if share.low <= 0:
        return "closed nothing", (
            f"closed nothing of the distance to real images that could be told from chance: "
            f"{value:.0f} % {within}"
        )
    return "closed", f"closed {value:.0f} % of the distance to real images {within}"


def evaluated_verdicts(location: str, card: DatasetCard, tars: list[str]) -> tuple[Verdict, ...]:
    """What an evaluation says of the refiner of a dataset, or of the dataset itself.

    Args:
        location: output of jobs/evaluate.py.
        card: of the refined dataset.
        tars: digests of its tars, in order.

    Raises:
        FileNotFoundError: no evaluation was finished there.
        FormatError: its files are damaged.
        ValueError: none of its arms has this refiner or this dataset.
    """
    store = open_store(location)
    if store.size(EVALUATION_NAME) is None:
        raise FileNotFoundError(
            f"{location} has no {EVALUATION_NAME}; give the output of a finished jobs/evaluate.py"
        )
    report = EvaluationReport.from_json(
        store.read(EVALUATION_NAME), where=f"{location}/{EVALUATION_NAME}"
    )
    sha256 = None if card.refiner is None else card.refiner.sha256
    content = digest_of(tars)
    arms = set()
    for entry in store.walk("trials"):
        if not entry.name.endswith(".json"):
            continue
        trial = TrialRecord.from_json(store.read(entry.name), where=f"{location}/{entry.name}")
        refiners = trial.arm_settings.get("refiners")
        has_refiner = isinstance(refiners, list) and sha256 in refiners
        if has_refiner or trial.arm_settings.get("dataset") == content:
            arms.add(trial.arm)
    verdicts = tuple(verdict for verdict in report.verdicts if verdict.arm in arms)
    if not verdicts:
        raise ValueError(
            f"{location} has judged no arm with the refiner {sha256} or with this dataset; its "
            f"verdicts are of: {', '.join(sorted({v.arm for v in report.verdicts})) or 'none'}"
        )
    return verdicts
