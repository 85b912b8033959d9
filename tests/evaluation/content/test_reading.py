"""Estimates of content: models see no identity twice, and read nothing where there is nothing."""

import numpy as np
import pytest

from factory.evaluation.content.reading import estimates_of
from factory.networks.evaluation_kinds import Examples
from support.drawn_eyes import drawn_eye

pytestmark = pytest.mark.slow


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])


def patterned(num_identities: int, num_each: int) -> Examples:
    """Images of which each identity has a pattern of its own, with a label of its own."""
    rng = np.random.default_rng(4)
    patterns = rng.integers(0, 255, (num_identities, 20, 20))
    values = np.repeat(rng.normal(size=num_identities), num_each)
    images = np.repeat(patterns, num_each, axis=0) + rng.normal(0, 8, (len(values), 20, 20))
    groups = np.repeat([f"person-{number}" for number in range(num_identities)], num_each)
    return Examples(images.clip(0, 255).astype(np.uint8), values[:, None], groups)


def test_no_render_is_estimated_by_a_model_that_saw_its_identity() -> None:
    """A model that did would know the label by the pattern, as it does of the real images here."""
    renders = patterned(num_identities=40, num_each=4)
    estimates = estimates_of(renders, renders.images, seed=0)
    assert abs(correlation(estimates.renders_NL, renders.values_ND)) < 0.4
    assert correlation(estimates.real_ML, renders.values_ND) > 0.7


def eyes(num: int, seed: int, lids: tuple[float, float] = (3.0, 10.0)) -> Examples:
    """Drawn eyes of eight identities, whose labels are the height of the opening, and noise."""
    rng = np.random.default_rng(seed)
    heights = rng.uniform(*lids, num)
    images = [
        drawn_eye(rng.uniform((24, 16), (30, 18)), lids_px=(-height, 6.0), seed=seed + row)
        for row, height in enumerate(heights)
    ]
    groups = np.array([f"person-{row % 8}" for row in range(num)])
    return Examples(np.stack(images), np.stack([heights, rng.normal(size=num)], axis=1), groups)


def test_what_is_drawn_is_read_and_what_is_not_is_not() -> None:
    renders, real = eyes(100, 0), eyes(30, 500, (4.0, 6.0))
    estimates = estimates_of(renders, real.images, seed=0)
    assert correlation(estimates.renders_NL[:, 0], renders.values_ND[:, 0]) > 0.85
    assert abs(correlation(estimates.renders_NL[:, 1], renders.values_ND[:, 1])) < 0.4
    assert np.abs(estimates.real_ML[:, 0] - real.values_ND[:, 0]).mean() < 1.0


def test_the_seed_decides_the_estimates() -> None:
    renders = patterned(num_identities=6, num_each=3)
    first, again, other = (
        estimates_of(renders, renders.images, seed=seed).real_ML for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (40, 1, 1, 1), (2, 9, 3, 5, 1)])
def test_as_few_as_four_identities_of_any_size_are_enough(sizes) -> None:
    groups = np.repeat([f"person-{number}" for number in range(len(sizes))], sizes)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (len(groups), 15, 20)).astype(np.uint8)
    estimates = estimates_of(
        Examples(images, rng.normal(size=(len(groups), 3)), groups), images, seed=0
    )
    assert estimates.renders_NL.shape == estimates.real_ML.shape == (len(groups), 3)
    assert np.isfinite(estimates.renders_NL).all()


def test_fewer_are_refused() -> None:
    renders = patterned(num_identities=3, num_each=20)
    with pytest.raises(ValueError, match="of 3 identities, and at least 4 are needed"):
        estimates_of(renders, renders.images, seed=0)
