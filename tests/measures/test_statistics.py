"""Estimates: exact in the middle, honest intervals, and the same in any order."""

import numpy as np
import pytest

from factory.measures.statistics import (
    Condition,
    binned,
    clusters_of,
    estimate,
    quantile_edges,
)


def test_the_numbers_are_those_of_the_values():
    values = np.random.default_rng(0).normal(2, 1, 1001)
    estimated = estimate(values, np.arange(1001))
    assert estimated is not None
    assert estimated.mean == pytest.approx(values.mean()) and estimated.sd == pytest.approx(
        values.std()
    )
    assert estimated.median == np.median(values) and estimated.p95 == np.quantile(values, 0.95)
    assert estimated.num == 1001
    assert estimated.mean_low < estimated.mean < estimated.mean_high
    assert estimated.p95_low < estimated.p95 < estimated.p95_high


def test_nothing_measured_is_none():
    assert estimate(np.full(3, np.nan), np.arange(3)) is None
    assert estimate(np.array([]), np.array([], int)) is None


def test_the_order_of_the_samples_changes_nothing():
    rng = np.random.default_rng(1)
    values, clusters = rng.gamma(2, 1, 500), rng.integers(12, size=500)
    values[::7] = np.nan
    order = rng.permutation(500)
    assert estimate(values, clusters) == estimate(values[order], clusters[order])


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        estimated = estimate(rng.normal(0, 1, 100), np.arange(100))
        covered += estimated.mean_low <= 0 <= estimated.mean_high
    assert 0.88 <= covered / 200 <= 0.99


def test_samples_of_one_identity_are_not_counted_as_so_many_witnesses():
    rng = np.random.default_rng(3)
    identities = np.repeat(np.arange(20), 50)
    values = rng.normal(0, 1, 20)[identities] + rng.normal(0, 0.1, 1000)
    together, alone = estimate(values, identities), estimate(values, np.arange(1000))
    assert together.mean_high - together.mean_low > 4 * (alone.mean_high - alone.mean_low)


def test_a_sample_without_identity_is_its_own():
    assert len(set(clusters_of(["a", None, "a", None]).tolist())) == 3


def test_bins_hold_every_sample_once_and_empty_ones_are_left_out():
    values = np.arange(10.0)
    condition = Condition("yaw, deg", np.linspace(-20, 20, 10), (-np.inf, -5.0, 5.0, 90.0, np.inf))
    bins = binned(values, np.arange(10), [condition])
    assert [line.num_samples for line in bins] == [4, 2, 4]
    assert (bins[0].low, bins[0].high, bins[-1].high) == (None, -5.0, 90.0)
    assert bins[1].estimate.mean == 4.5


def test_edges_of_equal_shares():
    edges = quantile_edges(np.arange(1000.0), 4)
    assert edges == (-np.inf, 250.0, 500.0, 750.0, np.inf)
    assert quantile_edges(np.array([]), 4) == (-np.inf, np.inf)
    assert quantile_edges(np.full(9, 3.0), 4) == (-np.inf, 3.0, np.inf)
