"""Refiners scored while their run goes on; the best one kept."""

import math
from pathlib import Path

import pytest

from factory.networks.refiner_files import load_refiner
from factory.validation.held_out import rank_of
from schemas.score import SCORED_FOLDER, Score
from support.fakes import score
from support.trainers import (
    LIMITS,
    Killed,
    Prepared,
    kill_at,
    small_config,
    train_here,
    trained,
    weights_of,
)

pytestmark = pytest.mark.slow  # all of them train
CONFIG = {"validate_every": 4, "keep": "best"}
CLOCKS = [8, 12, 16, 17]
"""multiples of 4 in the adversarial phase, and the last"""


def test_the_best_is_one_that_keeps_its_labels() -> None:
    ranked = [score(0.5, 0.7), score(0.1, 0.9), score(0.9, 0.5), score(1.5, 0.5), score(None, 0.5)]
    ranks = [rank_of(one.metrics(), LIMITS) for one in ranked]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("by", ["closed_share", "boundary_gain"])
def test_what_came_nearer_to_real_is_the_better_one_where_that_is_asked_for(by) -> None:
    """And only there; labels come first, and where none came nearer accuracy decides."""

    def metrics(one: Score) -> dict[str, float]:
        return {by if name == "closed_share" else name: v for name, v in one.metrics().items()}

    ranked = [
        score(0.5, 0.99, share=0.8),
        score(0.1, 0.60, share=0.3),
        score(0.1, 0.55, share=-0.2),
        score(0.1, 0.50),
        score(0.1, 0.70),
        score(0.9, 0.50, share=0.9),
    ]
    ranks = [rank_of(metrics(one), LIMITS, by) for one in ranked]
    assert ranks == sorted(ranks) and len(set(ranks)) == len(ranks)
    by_default = [rank_of(metrics(one), LIMITS) for one in ranked]
    assert min(by_default) == by_default[3]
    good = metrics(score(0.1, 0.6, share=0.3))
    for name in (*LIMITS, "two_sample_accuracy", by):
        assert rank_of(good | {name: math.nan}, LIMITS, by) > rank_of(good, LIMITS, by)


@pytest.mark.parametrize("name", [*LIMITS, "two_sample_accuracy"])
def test_a_number_that_is_missing_or_not_finite_is_beyond_every_limit(name) -> None:
    good = score(0.3, 0.9).metrics()
    for worse in (good | {name: float("nan")}, {k: v for k, v in good.items() if k != name}):
        assert rank_of(worse, LIMITS) == (True, math.inf, math.inf) > rank_of(good, LIMITS)


def test_a_score_that_is_not_finite_is_never_the_best(images, tmp_path) -> None:
    """Also where it comes first: NaN compares as smaller than nothing, and as no larger either."""
    scores = {clock: score(0.3, 0.9) for clock in CLOCKS}
    broken = scores[8].two_sample.model_copy(update={"accuracy": float("nan")})
    scores[8] = scores[8].model_copy(update={"two_sample": broken})
    run = trained(small_config(**CONFIG), images, tmp_path, scorer=Prepared(scores))
    assert load_refiner(run)[1].step == CLOCKS[1] - 5


@pytest.mark.parametrize("best", CLOCKS)
def test_the_best_refiner_is_the_result(images, tmp_path, best) -> None:
    scorer = Prepared({clock: score(0.3, 0.6 if clock == best else 0.9) for clock in CLOCKS})
    run = trained(small_config(**CONFIG), images, tmp_path, scorer=scorer)
    assert scorer.asked == CLOCKS
    scored, _ = load_refiner(run / SCORED_FOLDER / f"{best:08d}")
    kept, described = load_refiner(run)
    assert all((a == b).all() for a, b in zip(weights_of(scored), weights_of(kept), strict=True))
    assert described.step == best - 5


@pytest.mark.parametrize(("by", "best"), [("closed_share", 12), ("two_sample_accuracy", 16)])
def test_what_is_best_can_be_the_closed_share(images, tmp_path, by, best) -> None:
    scores = {
        clock: score(0.3, 0.6 if clock == 16 else 0.9, share=0.7 if clock == 12 else 0.5)
        for clock in CLOCKS
    }
    config = small_config(**CONFIG, keep_by=by)
    run = trained(config, images, tmp_path, scorer=Prepared(scores))
    assert load_refiner(run)[1].step == best - 5
    is_recorded = "keep_by" in config.model_dump(mode="json")
    assert is_recorded == (by == "closed_share"), "earlier runs did not record it"


def test_a_killed_run_scores_what_was_not_scored(images, tmp_path) -> None:
    config = small_config(**CONFIG, checkpoint_every=6)
    scores = {clock: score(0.3, 1 - clock / 100) for clock in CLOCKS}
    first, second = Prepared(scores), Prepared(scores)
    with pytest.raises(Killed):
        train_here(config, images, tmp_path, scorer=first, on_progress=kill_at(16))
    run = trained(config, images, tmp_path, scorer=second)
    assert first.asked == [8, 12, 16] and second.asked == CLOCKS  # its own record spares the work
    assert load_refiner(run)[1].step == 12


def test_a_score_that_fails_costs_no_training(images, tmp_path, caplog) -> None:
    scorer = Prepared({clock: score(0.3, 0.9) for clock in CLOCKS[1:]})
    run = trained(small_config(**CONFIG), images, tmp_path, scorer=scorer)
    assert load_refiner(run)[1].step == CLOCKS[1] - 5
    assert "update 8 was not scored" in caplog.text
    with pytest.raises(RuntimeError, match="no refiner of this run could be scored"):
        trained(small_config(**CONFIG), images, tmp_path / "none", scorer=Prepared({}))


def test_the_last_is_kept_where_that_is_wanted(images, tmp_path) -> None:
    scorer = Prepared({clock: score(0.3, clock / 100) for clock in CLOCKS})
    run = trained(small_config(validate_every=4), images, tmp_path, scorer=scorer)
    assert load_refiner(run)[1].step == 12


def test_scores_need_someone_who_scores(images, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs held-out images"):
        train_here(small_config(validate_every=4), images, tmp_path)
    with pytest.raises(ValueError, match="keep = best needs validate_every"):
        small_config(keep="best")
    with pytest.raises(ValueError, match="keep_by = closed_share needs keep = best"):
        small_config(validate_every=4, keep_by="closed_share")
