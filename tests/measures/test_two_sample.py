"""The two-sample test finds what differs, and nothing where nothing does."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from factory.measures.two_sample import TwoSampleTest, comparisons, interval

Images = NDArray[np.uint8]

QUICK = TwoSampleTest(seeds=(0, 1), num_steps=60)


def blobs(num: int, seed: int, *, blur: float = 1.2) -> Images:
    """Smooth random pictures, equally bright whatever the blur."""
    noise = np.random.default_rng(seed).normal(size=(num, 20, 28))
    smooth = ndimage.gaussian_filter(noise, (0, blur, blur))
    smooth /= smooth.std(axis=(1, 2), keepdims=True)
    return np.clip(128 + 45 * smooth, 0, 255).astype(np.uint8)


@pytest.mark.slow
def test_one_distribution_cannot_be_told_apart() -> None:
    result = QUICK(blobs(500, seed=1), blobs(500, seed=2))
    assert result.low <= 0.5 <= result.high
    assert abs(result.accuracy - 0.5) < 0.06
    assert (result.num_test, result.num_train, result.seeds) == (500, 500, (0, 1))


@pytest.mark.slow
def test_a_blur_is_told_apart() -> None:
    result = QUICK(blobs(500, seed=1), blobs(500, seed=2, blur=1.8))
    assert result.accuracy > 0.95
    assert result.low <= result.accuracy <= result.high <= 1


@pytest.mark.slow
def test_faint_grain_is_told_apart() -> None:
    grain = np.random.default_rng(3).normal(0, 3, (600, 20, 28))
    noisy = np.clip(blobs(600, seed=2) + grain, 0, 255).astype(np.uint8)
    assert TwoSampleTest(seeds=(0,), num_steps=150)(blobs(600, seed=1), noisy).accuracy > 0.95


@pytest.mark.slow
def test_a_mixture_is_told_apart_as_far_as_it_differs() -> None:
    """A third of the second set differs, perfectly: the best accuracy is 2/3."""
    mixed = np.concatenate([blobs(400, seed=2), 255 - blobs(200, seed=3) // 4])
    result = QUICK(blobs(600, seed=1), mixed)
    assert result.low <= 2 / 3 <= result.high


@pytest.mark.slow
def test_sets_of_unequal_size_count_alike() -> None:
    result = QUICK(blobs(900, seed=1), blobs(150, seed=2))
    assert (result.num_test, result.num_train) == (150, 150)
    assert result.low <= 0.5 <= result.high


@pytest.mark.slow
def test_the_same_again_with_any_number_of_threads() -> None:
    test = TwoSampleTest(seeds=(5,), num_steps=8)
    real, other = blobs(80, seed=1), blobs(80, seed=2, blur=1.4)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first = test(real, other)
    assert torch.equal(before, torch.random.get_rng_state())
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if num_threads == 1 else 1)
        assert test(real, other) == first
    finally:
        torch.set_num_threads(num_threads)


@pytest.mark.parametrize("sizes", [(100, 100), (21, 4000), (5000, 300)])
@pytest.mark.parametrize(("seed", "num_folds"), [(0, 2), (7, 3)])
def test_every_image_is_held_out_once_and_never_trained_on_then(
    sizes: tuple[int, int], seed: int, num_folds: int
) -> None:
    test = TwoSampleTest(num_folds=num_folds)
    num_test, num_train = test.sizes(*sizes)
    folds = list(test.folds(*sizes, seed))
    assert len(folds) == num_folds
    for fold in folds:
        for (held, trained), num in zip(fold, sizes, strict=True):
            assert not set(held) & set(trained)
            assert set(held) | set(trained) <= set(range(num))
            assert (len(held), len(trained)) == (num_test, num_train)
    for which in (0, 1):
        held = np.concatenate([fold[which][0] for fold in folds])
        assert len(set(held)) == len(held) == num_folds * (min(sizes) // num_folds)


@pytest.mark.slow
def test_a_scene_is_held_out_before_and_after_refining_alike() -> None:
    """The split knows the sizes and the seed alone, so pairs of images stay together."""
    test = TwoSampleTest(seeds=(0,), num_steps=3)
    synthetic, real = blobs(60, seed=1), blobs(90, seed=2)
    calls = comparisons(synthetic, synthetic.copy(), real, test)
    of_synthetic, of_refined, halves = (call() for call in calls)
    assert of_synthetic == of_refined
    assert halves.num_test + halves.num_train == 88  # 45 each, one too many for two folds


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    for truth in (0.5, 0.8, 0.97):
        held = 0
        for _ in range(500):
            accuracies = rng.binomial(300, truth, size=3) / 300
            low, high = interval([float(a) for a in accuracies], 300)
            held += low <= truth <= high
        assert held >= 0.94 * 500


def test_interval_widens_where_seeds_disagree_and_stays_inside_one() -> None:
    agree, differ = interval([0.8, 0.8, 0.8], 1000), interval([0.6, 0.8, 1.0], 1000)
    assert differ[0] < agree[0] < 0.8 < agree[1] < differ[1]
    low, high = interval([1.0, 1.0], 100)
    assert 0.95 < low < 1 and high == pytest.approx(1.0)
    assert interval([0.5], 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)


def test_refuses_what_it_cannot_compare() -> None:
    good = blobs(40, seed=1)
    with pytest.raises(ValueError, match="7 other images"):
        QUICK(good, good[:7])
    with pytest.raises(ValueError, match="uint8"):
        QUICK(good, good.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(20, 27\)"):
        QUICK(good, good[:, :, :-1])
    with pytest.raises(ValueError, match="pairs"):
        comparisons(good, good[:30], good, QUICK)


def test_a_network_that_diverged_tells_nothing_of_the_sets() -> None:
    """Its NaN is neither real nor other, which would count as an accuracy of 0, the best there
    is."""
    diverging = TwoSampleTest(seeds=(0,), num_steps=3, learning_rate=1e30)
    with pytest.raises(ValueError, match=r"classifier .* values that are not finite"):
        diverging(blobs(40, seed=1), blobs(40, seed=2))
    with pytest.raises(ValueError, match="finite"):
        TwoSampleTest(learning_rate=float("inf"))
