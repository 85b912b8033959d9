"""The closed share: 0 and 1 where they are planted, an interval that holds, none without a gap."""

import numpy as np
import pytest
from numpy.typing import NDArray

from factory.measures.looks.closed_share import closed_share_of
from factory.measures.looks.feature_distances import kernel
from factory.measures.looks.jackknife import Jackknife, Sets, groups_of
from factory.validation.gate import value_of
from schemas.eye.report import EyeReport
from schemas.realism import ClosedShare, Distance
from support.report_example import example_report

NUM_FEATURES = 4
Mean = NDArray[np.float64]


def mean_of(shift: float) -> Mean:
    return np.full(NUM_FEATURES, shift)


def sets_of(rng: np.random.Generator, num: int, synthetic: float, refined: float) -> Sets[Mean]:
    """Features of unit variance whose means lie so far from those of real images; a refined image
    keeps most of its render's own features."""
    own = rng.normal(size=(num, NUM_FEATURES))
    kept = 0.8 * own + 0.6 * rng.normal(size=own.shape)
    return Sets(own + synthetic, kept + refined, *rng.normal(size=(2, num, NUM_FEATURES)))


def share_in(closed: ClosedShare) -> Distance:
    assert closed.share is not None and closed.why_not is None
    return closed.share


def expected_kernel(m: Mean, k: Mean) -> float:
    """Mean of (x·y / D + 1)³ of normal features of unit variance with the means m and k, by the
    moments of x·y."""
    both, squares, num = m @ k, m @ m + k @ k, len(m)
    third = both**3 + 3 * both * squares + 3 * both * num + 6 * both
    second = num + squares + both**2
    return float(third / num**3 + 3 * second / num**2 + 3 * both / num + 1)


def expected_distance(shift: float) -> float:
    m, real = mean_of(shift), mean_of(0)
    between = expected_kernel(m, m) + expected_kernel(real, real) - 2 * expected_kernel(m, real)
    return float(np.sqrt(between))


@pytest.mark.slow
@pytest.mark.parametrize("identities", [None, 12])
def test_the_interval_holds_the_true_share_as_often_as_it_says(identities) -> None:
    true = 1 - expected_distance(0.5) / expected_distance(1)
    groups = None if identities is None else groups_of([f"{k % identities}" for k in range(120)])
    rng, held, values = np.random.default_rng(0), 0, []
    for seed in range(100):
        share = share_in(
            closed_share_of(sets_of(rng, 120, 1, 0.5), Jackknife(40, 120, groups, seed))
        )
        held += share.low <= true <= share.high
        values.append(share.value)
        assert share.low < share.value < share.high
    assert held >= 0.9 * 100
    assert np.median(values) == pytest.approx(true, abs=0.02)


def test_nothing_closed_is_0_and_all_of_it_is_1_and_a_way_back_is_negative() -> None:
    rng, jackknife = np.random.default_rng(1), Jackknife(60, 300, None, 0)
    sets = sets_of(rng, 300, 1, 0)
    unchanged = share_in(closed_share_of(sets._replace(refined=sets.synthetic), jackknife))
    assert (unchanged.value, unchanged.low, unchanged.high) == pytest.approx((0, 0, 0), abs=1e-9)
    all_of_it = share_in(closed_share_of(sets, jackknife))
    assert all_of_it.low < 1 < all_of_it.high and all_of_it.low > 0.8
    further = share_in(closed_share_of(sets._replace(refined=sets.synthetic + 0.5), jackknife))
    assert further.high < 0


def test_the_interval_is_narrower_than_distances_taken_one_by_one_allow() -> None:
    """Refined images that all but equal their renders: the two distances vary together."""
    rng, jackknife = np.random.default_rng(2), Jackknife(60, 200, None, 0)
    sets = sets_of(rng, 200, 1, 0)
    nearly = sets.synthetic + rng.normal(0, 0.05, sets.synthetic.shape) - 0.02
    share = share_in(closed_share_of(sets._replace(refined=nearly), jackknife))
    values_3, values_R3 = jackknife.together(sets._replace(refined=nearly), kernel)
    roots_3, roots_R3 = (np.sqrt(values.clip(0)) for values in (values_3, values_R3))
    apart = np.hypot(*(jackknife.of_renders.half_width(roots_R) for roots_R in roots_R3.T[:2]))
    assert (share.high - share.low) / 2 < 0.5 * apart / (roots_3[0] - roots_3[2])


def test_renders_that_are_no_farther_than_real_images_leave_nothing_to_close() -> None:
    rng = np.random.default_rng(3)
    shares = [
        closed_share_of(sets_of(rng, 60, 0, 0.2), Jackknife(40, 60, None, seed))
        for seed in range(20)
    ]
    reasons = [closed.why_not for closed in shares if closed.share is None]
    assert len(reasons) >= 18, "chance is hardly ever taken for a distance"
    assert all(reason is not None and "60 images of each" in reason for reason in reasons)


def test_a_report_from_before_there_was_a_share_can_still_be_read() -> None:
    content = example_report().model_dump(mode="json")
    del content["looks"]["closed_share"]
    read = EyeReport.model_validate(content)
    assert read.looks.closed_share is None and value_of(read, "derived.closed_share") is None
    assert value_of(example_report(), "derived.closed_share") == pytest.approx(0.929)
