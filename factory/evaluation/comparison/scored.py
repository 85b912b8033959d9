"""Errors on real images beside the scores of the refiners that made the training images: they show
which score tells beforehand whether a refiner pays."""

from collections.abc import Mapping

from factory.dataset.dataset import Dataset
from factory.domains.base import MissingHookError
from factory.domains.registry import domain_named
from factory.evaluation.ablation import columns_of
from factory.evaluation.comparison.arms import RefinedArm
from factory.evaluation.comparison.results import Outcome, Row
from factory.evaluation.comparison.setup import Compared
from factory.measures.two_sample import TwoSampleTest
from factory.store.open import open_store
from factory.validation.held_out import Scoring
from schemas.evaluation import ScoredRefiner
from schemas.score import SCORE_NAME


def scoring_of(compared: Compared) -> Scoring | None:
    """How refiners of the domain are scored; None where it does not say."""
    renders = Dataset.open(compared.renders.renders)
    try:
        return domain_named(compared.domain).scoring(renders, TwoSampleTest())
    except MissingHookError:
        return None


def scored_refiners(
    compared: Compared, outcomes: Mapping[Row, Outcome], scoring: Scoring | None
) -> tuple[ScoredRefiner, ...]:
    """The trainings whose refiner has a `score.json`; those that collapsed are left out.

    Args:
        scoring: of `scoring_of`.

    Raises:
        FormatError: a score cannot be read.
    """
    if scoring is None:
        return ()
    number_of = {seed: number for number, seed in enumerate(compared.setup.seeds)}
    metrics: dict[str, dict[str, float] | None] = {}
    scored = []
    for row, outcome in outcomes.items():
        arm = compared.arms[row.arm]
        if not isinstance(arm, RefinedArm) or arm.kind != "refined" or outcome.by_block is None:
            continue
        if arm.refinements > 1:
            continue  # an error of several refiners belongs to none of their scores
        for seed, errors in zip(outcome.by_block.seeds, outcome.errors_SM, strict=True):
            refiner = arm.refiners_of(number_of[seed])[0]
            if refiner not in metrics:
                metrics[refiner] = _metrics(refiner, scoring)
            if (numbers := metrics[refiner]) is not None:
                scored.append(
                    ScoredRefiner(
                        **row._asdict(),
                        unit=outcome.unit(row.test),
                        seed=seed,
                        error=float(errors.mean()),
                        metrics=numbers,
                    )
                )
    return tuple(scored)


def _metrics(refiner: str, scoring: Scoring) -> dict[str, float] | None:
    store = open_store(refiner)
    try:
        raw = store.read(SCORE_NAME)
    except FileNotFoundError:
        return None
    metrics: dict[str, float] = scoring.record.from_json(
        raw, where=f"{refiner}/{SCORE_NAME}"
    ).score.metrics()
    return metrics


def titles_of(scoring: Scoring | None) -> dict[str, str]:
    """What the numbers of a score are called, by their names, in the order of a table."""
    columns = columns_of(scoring) if scoring is not None else ()
    return {shown.name: shown.title for shown in columns if shown.name != "num_measured"}
