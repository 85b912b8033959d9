"""Verdicts: samples that miss a limit are dropped, too many of them fail set or shard."""

import numpy as np
import pytest
from scipy.stats import binom

from factory.dataset.columns import values_of
from factory.validation.gate import sample_text
from factory.validation.sample_checks import (
    CHANCE,
    check_samples,
    missed,
    most_allowed,
    resolved,
    resolved_all,
    verdicts_of,
)
from schemas.gate import SampleLimit
from support.eye_rows import measures

WHY = "because of the labels"
DRIFT = SampleLimit(measure="iris_drift_px", at_most=2.0, why=WHY, max_share=0.01, shard_share=0.02)


def test_a_limit_is_kept_at_its_end_and_by_what_was_not_measured():
    rows = measures([1.0, 2.0, 2.5, None], 4)
    assert missed(rows, DRIFT).tolist() == [False, False, True, False]
    low = SampleLimit(measure="iris_drift_px", at_least=1.5, at_most=2.0, why=WHY)
    assert missed(rows, low).tolist() == [True, False, True, False]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_measurement_that_is_no_number_misses_every_limit(bad):
    rows = measures([bad, None, 1.0], 3)
    assert rows["iris_drift_px"].null_count == 1
    low = SampleLimit(measure="iris_drift_px", at_least=0.5, why=WHY)
    for limit in (DRIFT, low):
        assert missed(rows, limit).tolist() == [True, False, False]
    assert [line["keep"] for line in verdicts_of(rows, [DRIFT]).to_pylist()] == [False, True, True]


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_a_limit_in_spreads_goes_with_the_set(scale):
    spread_out = scale * np.arange(101)  # median 50, quartiles 25 and 75, times scale
    rows = measures([*spread_out.tolist(), None, float("nan")], 103)
    high = SampleLimit(measure="iris_drift_px", at_most_spreads=1.81, why=WHY)
    low = SampleLimit(measure="iris_drift_px", at_least_spreads=1.81, why=WHY)
    values = values_of(rows, "iris_drift_px")
    assert resolved(high, values).at_most == pytest.approx(95.25 * scale)
    assert resolved(low, values).at_least == pytest.approx(4.75 * scale)
    checks = check_samples(rows, resolved_all(rows, [high, low]))
    assert [check.num_missed for check in checks] == [6, 6]  # 5 of the numbers, and NaN
    assert checks[0].limit == f"iris_drift_px > {95.25 * scale:.3g} (1.81 spreads above the median)"
    assert verdicts_of(rows, resolved_all(rows, [high]))["keep"].to_pylist().count(False) == 6


def test_a_limit_in_spreads_of_a_set_that_does_not_vary_is_its_median():
    rows = measures([2.0] * 20 + [2.5], 21)
    limit = SampleLimit(measure="iris_drift_px", at_most_spreads=5, why=WHY, max_share=0.001)
    (check,) = check_samples(rows, resolved_all(rows, [limit]))
    assert check.at_most == 2 and check.num_missed == 1


def test_a_bad_shard_is_judged_by_the_median_and_spread_of_the_whole_set():
    values = np.random.default_rng(0).normal(size=400)
    keys = [f"{k // 20:06d}-{k % 20:06d}" for k in range(400)]
    limit = SampleLimit(measure="iris_drift_px", at_most_spreads=4, why=WHY, shard_share=0.01)
    values[40:60] += 20
    rows = measures(values.tolist(), 400, key=keys)
    (check,) = check_samples(rows, resolved_all(rows, [limit]))
    assert [shard.shard for shard in check.bad_shards] == [2] and not check.passed


def test_what_nobody_measured_misses_no_limit_in_spreads_but_fails_the_set():
    rows = measures([None, None], 2)
    limit = SampleLimit(measure="iris_drift_px", at_most_spreads=4, why=WHY, max_share=0.01)
    (check,) = check_samples(rows, resolved_all(rows, [limit]))
    assert check.num_missed == 0 and check.at_most is None and not check.passed
    assert resolved(limit, np.array([1.0, np.nan]), np.array([0.0, 1.0])) == limit


def test_a_side_of_a_limit_has_one_bound():
    with pytest.raises(ValueError, match="either at_most or at_most_spreads, not both"):
        SampleLimit(measure="iris_drift_px", at_most=2, at_most_spreads=4, why=WHY)
    with pytest.raises(ValueError, match="neither at_most nor at_least"):
        SampleLimit(measure="iris_drift_px", why=WHY)
    both = SampleLimit(measure="iris_drift_px", at_least=1, at_most_spreads=4, why=WHY)
    assert both.name == "iris_drift_px < 1 or iris_drift_px > 4 spreads above the median"


def test_every_sample_has_a_verdict_with_every_reason():
    closed = SampleLimit(measure="opening_ratio", at_least=0.5, why=WHY)
    counted = SampleLimit(measure="contrast", at_least=0.9, drop=False, why=WHY)
    rows = measures([3.0, 3.0, 0.1], 3, opening_ratio=[0.1, 1.0, 1.0], contrast=[0.1, 0.1, 0.1])
    verdicts = verdicts_of(rows, [DRIFT, closed, counted]).to_pylist()
    assert [line["keep"] for line in verdicts] == [False, False, True]
    assert verdicts[0]["reasons"] == ["iris_drift_px > 2", "opening_ratio < 0.5"]
    assert verdicts[1]["reasons"] == ["iris_drift_px > 2"] and verdicts[2]["reasons"] == []


def test_without_limits_everything_is_kept():
    assert verdicts_of(measures([9.0], 1), []).to_pylist() == [
        {"key": "000000-000000", "keep": True, "reasons": []}
    ]
    assert len(verdicts_of(measures([], 1), [DRIFT])) == 0


@pytest.mark.parametrize(("num", "share"), [(100, 0.001), (1000, 0.01), (10_000, 0.05)])
def test_as_many_as_chance_explains_are_allowed_and_no_more(num, share):
    allowed = most_allowed(num, share)
    assert binom.sf(allowed, num, share) <= CHANCE < binom.sf(allowed - 1, num, share)
    assert most_allowed(0, share) == 0 and most_allowed(10, 0) == 0


def test_too_many_misses_fail_the_set():
    allowed = most_allowed(1000, 0.01)
    for num_missed, passed in ((allowed, True), (allowed + 1, False)):
        drift = np.zeros(1000)
        drift[np.random.default_rng(0).permutation(1000)[:num_missed]] = 5
        (line,) = check_samples(measures(drift.tolist(), 1000), [
            DRIFT.model_copy(update={"shard_share": None})
        ])  # fmt: skip
        assert line.passed == passed
        assert (line.num_missed, line.most_allowed) == (num_missed, allowed)
        assert line.share == num_missed / 1000


def test_one_bad_shard_fails_a_set_that_its_size_would_hide():
    drift = np.zeros(10_000)
    drift[300:350] = 5  # half of shard 3, and half a percent of the set
    (line,) = check_samples(measures(drift.tolist(), 100), [DRIFT])
    assert line.num_missed <= line.most_allowed and not line.passed
    (bad,) = line.bad_shards
    assert (bad.shard, bad.num_missed, bad.num_samples, line.num_bad_shards) == (3, 50, 100, 1)


def test_a_limit_without_shares_only_drops():
    limit = SampleLimit(measure="iris_drift_px", at_most=2.0, why=WHY)
    (line,) = check_samples(measures([5.0] * 50, 10), [limit])
    assert line.passed and line.most_allowed is None and line.share == 1


def test_an_empty_set_misses_nothing():
    (line,) = check_samples(measures([], 1), [DRIFT])
    assert line.passed and line.share == 0


def test_a_measure_that_no_sample_has_is_missed_for_nobody_looked():
    rows = measures([None] * 50, 10)
    (line,) = check_samples(rows, [DRIFT])
    assert not line.passed and "the gate needs the network" in sample_text(line)
    only_drops = SampleLimit(measure="iris_drift_px", at_most=2.0, why=WHY)
    assert check_samples(rows, [only_drops])[0].passed
    assert check_samples(measures([None] * 49 + [0.1], 10), [DRIFT])[0].passed
