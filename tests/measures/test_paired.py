"""Intervals over blocks and seeds, against what is known of planted errors."""

import numpy as np
import pytest

from factory.measures.paired import ByBlock, compared, mean_interval, share_closed


def errors(
    mean: float, *, seeds: int = 5, blocks: int = 18, size: int = 40, draw: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(S, M) errors with an effect of each block and of each seed, and (M,) groups."""
    rng = np.random.default_rng(draw)
    of_block = np.repeat(rng.normal(0, 1.0, blocks), size)
    of_seed = rng.normal(0, 0.3, (seeds, 1))
    noise = rng.normal(0, 1.0, (seeds, blocks * size))
    return mean + of_block + of_seed + noise, np.repeat(np.arange(blocks), size).astype(str)


def table(mean: float, draw: int = 0, seeds: int = 5) -> ByBlock:
    values, groups = errors(mean, draw=draw, seeds=seeds)
    return ByBlock.of(range(seeds), values, groups)


@pytest.mark.slow
def test_the_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    """5 seeds and 18 blocks: a plain bootstrap of the images would cover it far less often."""
    intervals = [mean_interval(table(8.0, draw)) for draw in range(60)]
    covered = sum(one.low <= 8.0 <= one.high for one in intervals)
    assert 50 <= covered <= 60
    assert all(one.low < one.value < one.high for one in intervals)


def test_pairing_removes_what_the_blocks_share() -> None:
    base, groups = errors(8.0)
    other = base - 0.4 + np.random.default_rng(9).normal(0, 0.3, base.shape)
    ours, theirs = (ByBlock.of(range(5), values, groups) for values in (other, base))
    comparison = compared(ours, theirs)
    assert comparison.difference.low > -0.45 and comparison.difference.high < -0.35
    assert mean_interval(ours).high - mean_interval(ours).low > 0.6
    assert comparison.relative.value == pytest.approx(ours.mean / theirs.mean - 1)
    assert comparison.num_seeds == 5


def test_only_seeds_that_both_have_are_compared() -> None:
    """A training that collapsed is left out of both sides, or the other's seed counts alone."""
    values, groups = errors(8.0)
    full = ByBlock.of(range(5), values, groups)
    without = ByBlock.of((0, 2, 4), values[[0, 2, 4]] - 1.0, groups)
    comparison = compared(without, full)
    assert comparison.num_seeds == 3 and comparison.difference.value == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="no seed"):
        compared(without, ByBlock.of((7, 8), values[:2], groups))


def test_an_arm_without_seeds_is_compared_with_every_seed() -> None:
    values, groups = errors(8.0)
    constant = ByBlock.of((0,), values[:1] * 0 + 11.0, groups)
    comparison = compared(ByBlock.of(range(5), values, groups), constant)
    assert comparison.num_seeds == 5 and comparison.difference.value == pytest.approx(
        values.mean() - 11.0
    )


def test_the_share_of_a_gap_is_that_of_the_means() -> None:
    renders, real, refined = table(8.0), table(3.0), table(5.5)
    share = share_closed(refined, renders, real)
    assert share is not None and share.value == pytest.approx(0.5)
    assert share_closed(refined, real, renders) is None


def test_arms_scored_on_different_images_are_refused() -> None:
    values, groups = errors(8.0)
    with pytest.raises(ValueError, match="different images"):
        compared(
            ByBlock.of(range(5), values, groups), ByBlock.of(range(5), values[:, 1:], groups[1:])
        )
    with pytest.raises(ValueError, match="finite"):
        ByBlock.of((0,), np.array([[np.nan, 1.0]]), np.array(["a", "b"]))
