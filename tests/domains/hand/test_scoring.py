"""Refiners of hands scored on held-out images: by outline, depth and joints."""

import numpy as np
import pytest

from factory.domains.hand.looks import SENSOR_LOOK, deepened, in_look, moved
from factory.domains.hand.scoring import HandScoring
from factory.images.png import Pixels
from factory.measures.two_sample import TwoSampleTest
from factory.networks.exact_start import start_as_exact_identity
from factory.networks.refiner import Refiner
from factory.training.scores import score_refiner
from factory.validation.held_out import HeldOut, rank_of
from schemas.hand.score import HandScore
from schemas.refiner import RefinerConfig
from schemas.score import ScoreRecord
from support.hand_pairs import drawn_hands, save_hand_refiner

NUM = 20


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    rows, synthetic = drawn_hands(NUM)
    return HeldOut(rows, synthetic, in_look(drawn_hands(NUM, seed=1)[1], SENSOR_LOOK, 2))


SCORING = HandScoring(224, TwoSampleTest(seeds=(0,), num_steps=2))


def scored(held_out: HeldOut, refined: Pixels) -> tuple[HandScore, bool]:
    """And whether it is within the limits."""
    score = SCORING.score(held_out, refined)
    return score, not rank_of(score.metrics(), SCORING.limits)[0]


@pytest.mark.slow
def test_what_changes_nothing_or_the_look_alone_is_within_the_limits(held_out) -> None:
    same, is_within = scored(held_out, held_out.synthetic)
    assert is_within and same.mean_abs_delta == 0 and same.label_fit == 1
    assert same.mean_shift_px == 0 and same.boundary_gain == 0
    sensed, is_within = scored(held_out, in_look(held_out.synthetic, SENSOR_LOOK, 3))
    assert is_within and sensed.mean_abs_delta > 0
    assert sensed.boundary_gain is not None and sensed.boundary_gain > 0.5, "the real ones have it"


@pytest.mark.slow
def test_a_moved_outline_a_changed_depth_and_lost_hands_are_beyond_the_limits(held_out) -> None:
    shift_N2 = np.tile([1.0, 0.0], (NUM, 1))
    score, is_within = scored(held_out, moved(held_out.synthetic, shift_N2))
    assert not is_within and score.drift_px is not None
    assert score.drift_px.median == pytest.approx(1, abs=0.1)
    assert score.mean_shift_px == pytest.approx(1, abs=0.1)
    shift_N2[::2] *= -1
    assert scored(held_out, moved(held_out.synthetic, shift_N2))[0].mean_shift_px < 0.1

    score, is_within = scored(held_out, deepened(held_out.synthetic, 4))
    assert not is_within and score.depth_error_mm is not None
    assert score.depth_error_mm.median == pytest.approx(4, abs=0.1)

    gone = held_out.synthetic.copy()
    gone[: NUM // 4] = 0
    score, is_within = scored(held_out, gone)
    assert not is_within and score.lost_joint_share == pytest.approx(0.25, abs=0.05)
    assert score.drift_px is not None and score.drift_px.median == 0, "of the hands that are left"
    assert not scored(held_out, np.zeros_like(gone))[1]


@pytest.mark.slow
def test_a_refiner_on_disk_is_scored_once(held_out, tmp_path) -> None:
    """From its files, in 16 bits; one that starts as the identity keeps its labels."""
    refiner = Refiner(RefinerConfig(maps=10, blocks=4, padding="reflect"))
    start_as_exact_identity(refiner)
    save_hand_refiner(tmp_path, refiner, empty_below=12)
    score = score_refiner(str(tmp_path), held_out, SCORING)
    assert not rank_of(score.metrics(), SCORING.limits)[0] and score.num_samples == NUM
    written = (tmp_path / "score.json").stat().st_mtime_ns
    assert score_refiner(str(tmp_path), held_out, SCORING) == score
    assert (tmp_path / "score.json").stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_score_on_disk_reads_back_with_depth_and_joints(held_out) -> None:
    score, _ = scored(held_out, held_out.synthetic)
    record = SCORING.record(refiner="0" * 64, measured_with="1" * 64, score=score)
    read = ScoreRecord[HandScore].from_json(record.to_json(), where="score.json")
    assert read.score == score
