"""Measures of looks: at the floor where nothing differs, above it by what was planted."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import linalg, ndimage, stats

from factory.measures.looks.copies import nearest_in, nearest_others, thumbnails
from factory.measures.looks.curves import (
    GRADIENT_STEP,
    SetCurves,
    gradient_histograms,
    grey_histograms,
    rms_difference,
    spectra,
    wasserstein,
)
from factory.measures.looks.feature_distances import (
    diversity,
    frechet,
    kernel,
    neighbours,
    scaled_by,
)
from factory.measures.looks.features import Look, train_features
from factory.measures.looks.jackknife import (
    Jackknife,
    Rounds,
    Sets,
    Statistic,
    groups_of,
)
from factory.measures.looks.measure import look_parts, looks_of
from factory.measures.looks.patches import patches_of, sliced_wasserstein
from factory.measures.looks.settings import FeatureTraining, LookSettings
from factory.validation.report import look_figures
from schemas.realism import Compared, LookDistances

Images = NDArray[np.uint8]
QUICK = LookSettings(num_rounds=30, features=FeatureTraining(num_features=16, num_steps=30))
ALIKE = ("coverage", "density", "diversity")
"""about 1 for equal sets"""
DISTANCES = (
    "frechet",
    "kernel",
    "sliced_wasserstein_fine",
    "sliced_wasserstein_coarse",
    "spectrum_db",
    "grey",
    "gradient",
)


def blobs(num: int, seed: int) -> Images:
    """Smooth random pictures of 20x28."""
    noise = np.random.default_rng(seed).normal(size=(num, 20, 28))
    smooth = ndimage.gaussian_filter(noise, (0, 1.2, 1.2))
    return as_images(128 + 45 * smooth / smooth.std(axis=(1, 2), keepdims=True))


def as_images(values: NDArray[np.float64]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def value(statistic: Statistic, num: int, column: int = 0) -> float:
    everything = np.ones((1, num), bool)
    return float(statistic(everything, everything)[0, column])


def measure_looks(*sets: Images, identities: Sequence[str] | None = None) -> LookDistances:
    """All measures of synthetic, refined and real images, one part after another."""
    return looks_of([part() for part in look_parts(*sets, QUICK, identities=identities)])


@cache
def same_and_blurred() -> LookDistances:
    """Refined ones of the real distribution, renders that are blurred."""
    refined = blobs(240, seed=1)
    blurred = as_images(ndimage.gaussian_filter(refined.astype(np.float64), (0, 1, 1)))
    return measure_looks(blurred, refined, blobs(480, seed=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DISTANCES, *ALIKE])
def test_equal_distributions_lie_at_the_floor_and_a_blur_does_not(name) -> None:
    compared: Compared = getattr(same_and_blurred(), name)
    assert (
        compared.refined.low <= compared.floor.high and compared.floor.low <= compared.refined.high
    )
    apart = compared.synthetic.low > compared.floor.high
    crowded = compared.synthetic.high < compared.floor.low
    assert crowded if name in ("coverage", "diversity") else (apart or name == "density")


@pytest.mark.slow
def test_one_part_after_another_gives_the_same_again_with_any_number_of_threads() -> None:
    first = measure_looks(*few())
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if num_threads == 1 else 1)
        assert looks_of([part() for part in look_parts(*few(), QUICK)]) == first
    finally:
        torch.set_num_threads(num_threads)
    assert LookDistances.from_json(first.to_json(), where="here") == first


def few() -> tuple[Images, Images, Images]:
    synthetic = blobs(60, seed=1)
    return synthetic, 255 - synthetic, blobs(120, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blur", {"blur": 0.5}),
        ("noise", {"noise": 6 / 255}),
        ("gamma", {"gamma_log2": 0.25}),
        ("contrast", {"contrast_log2": -0.25}),
        ("ramp", {"right": 0.08}),
    ],
)
def test_features_see_each_look(name, change) -> None:
    real = blobs(400, seed=2)
    extractor = trained()
    reference = extractor(real[:200])
    floor = value(frechet(*scaled(extractor(real[200:]), reference)), 200)
    changed = extractor(look(200, **change)(real[200:], np.random.default_rng(0)))
    assert value(frechet(*scaled(changed, reference)), 200) > 3 * floor


@cache
def trained():
    return train_features(FeatureTraining(num_features=32, num_steps=80), blobs(600, seed=1))


def scaled(other, reference):
    return scaled_by(reference, other), scaled_by(reference, reference)


def look(num: int, right: float = 0.0, **changes: float) -> Look:
    """The same change for all images."""
    none = dict.fromkeys(("blur", "gamma_log2", "contrast_log2", "noise"), 0.0)
    numbers = {name: torch.full((num,), amount) for name, amount in (none | changes).items()}
    return Look(ramp_xy=torch.tensor([[right, 0.0]] * num), **numbers)


def test_no_look_leaves_an_image_as_it_is() -> None:
    images = blobs(20, seed=1)
    np.testing.assert_array_equal(look(20)(images, np.random.default_rng(0)), images)


def test_frechet_distance_agrees_with_scipys_matrix_root() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)), rng.normal(1, 2, (300, 5))
    a, b = np.cov(left.T), np.cov(right.T)
    root = np.trace(linalg.sqrtm(a @ b).real)
    expected = ((left.mean(0) - right.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * root
    assert value(frechet(left, right), 300) == pytest.approx(expected)
    assert value(frechet(left, left), 300) == pytest.approx(0, abs=1e-8)


def test_kernel_distance_agrees_with_a_slow_loop_and_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.normal(0.5, 1, (12, 3))
    pairs = [(i, j) for i in range(12) for j in range(12)]
    within = [(v[i] @ v[j] / 3 + 1) ** 3 for v in (x, y) for i, j in pairs if i != j]
    across = [(x[i] @ y[j] / 3 + 1) ** 3 for i, j in pairs]
    assert value(kernel(x, y), 12) == pytest.approx(2 * np.mean(within) - 2 * np.mean(across))
    nulls = [
        value(kernel(*rng.normal(size=(2, 30, 3))), 30)  # type: ignore[misc]
        for _ in range(300)
    ]
    assert abs(np.mean(nulls)) < 4 * np.std(nulls) / np.sqrt(300)


def test_a_collapse_shows_in_coverage_diversity_and_density() -> None:
    rng = np.random.default_rng(0)
    reference, typical = rng.normal(size=(200, 4)), rng.normal(0, 0.02, (200, 4))
    assert value(neighbours(typical, reference), 200, 0) < 0.4
    assert value(neighbours(typical, reference), 200, 1) > 1.2
    assert value(diversity(typical, reference), 200) < 0.1
    assert value(neighbours(typical + 50, reference), 200, 1) == 0
    alike = rng.normal(size=(200, 4))
    assert value(neighbours(alike, reference), 200, 0) > 0.9
    assert value(neighbours(alike, reference), 200, 1) == pytest.approx(1, abs=0.15)
    assert value(diversity(alike, reference), 200) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_a_collapse_of_images_shows() -> None:
    synthetic = blobs(100, seed=1)
    collapsed = np.repeat(synthetic[:1], 100, axis=0)
    looks = measure_looks(synthetic, collapsed, blobs(200, seed=2))
    assert looks.diversity.refined.value == pytest.approx(0, abs=1e-6)
    assert looks.coverage.refined.high < looks.coverage.floor.low


@pytest.mark.slow
def test_copies_are_found_whatever_their_brightness_and_grain() -> None:
    synthetic, real = blobs(100, seed=1), blobs(200, seed=2)
    refined = blobs(100, seed=3)
    grain = np.random.default_rng(4).normal(0, 2, (5, 20, 28))
    refined[10:15] = as_images(20 + 0.7 * real[[3, 50, 77, 120, 199]] + grain)
    looks = measure_looks(synthetic, refined, real)
    assert looks.memorised_share.refined.value == pytest.approx(0.05, abs=0.02)
    assert looks.memorised_share.refined.low > 0.01
    assert looks.memorised_share.synthetic.value <= 0.03
    assert {(p.refined, p.real) for p in looks.closest[:5]} == {
        (10, 3), (11, 50), (12, 77), (13, 120), (14, 199)
    }  # fmt: skip
    assert looks.closest[0].distance < looks.copy_distance


def test_nearest_is_that_of_a_slow_loop_and_an_exact_copy_is_at_0() -> None:
    real, images = thumbnails(blobs(30, seed=1)), thumbnails(blobs(9, seed=2))
    images[4] = real[7]
    slow = np.sqrt(((images[:, None] - real[None]).astype(np.float64) ** 2).mean(axis=2))
    nearest = nearest_in(real, images)
    np.testing.assert_array_equal(nearest.which, slow.argmin(axis=1))
    np.testing.assert_allclose(nearest.distance, slow.min(axis=1), rtol=1e-6)
    assert (nearest.which[4], nearest.distance[4]) == (7, 0)
    assert (nearest_others(real).which != np.arange(30)).all()
    assert (thumbnails(np.full((1, 20, 28), 9, np.uint8)) == 0).all()


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    noise = as_images(np.random.default_rng(0).normal(128, 10, (300, 36, 60)))
    curves = spectra(noise)
    level_db = curves.each.mean(axis=0)
    np.testing.assert_allclose(level_db[1:], 20, atol=0.4)
    assert 17 < level_db[0] < 20  # few numbers in the ring: their log mean lies above the mean log
    assert (curves.at[0], curves.at[-1]) == (1 / 36, 0.5)
    louder = SetCurves(curves.at, curves.each + 3)
    assert value(rms_difference(louder, curves), 300) == pytest.approx(3)


def test_a_wave_lies_in_its_own_ring() -> None:
    x = np.arange(64)
    wave = as_images(128 + 40 * np.sin(2 * np.pi * 8 / 32 * x)[None, None, :].repeat(32, axis=1))
    curves = spectra(wave)
    assert curves.at[curves.each[0].argmax()] == pytest.approx(0.25)


def test_histogram_distances_agree_with_scipy() -> None:
    left, right = blobs(30, seed=1), as_images(blobs(30, seed=2) * 0.8 + 9)
    expected = stats.wasserstein_distance(left.ravel(), right.ravel())
    distance = wasserstein(grey_histograms(left), grey_histograms(right))
    assert value(distance, 30) == pytest.approx(expected)

    def magnitudes(images: Images) -> NDArray[np.float64]:
        down, right = np.gradient(images.astype(np.float64), axis=(1, 2))
        return np.hypot(down, right)[:, 1:-1, 1:-1].ravel()

    expected = stats.wasserstein_distance(magnitudes(left), magnitudes(right))
    distance = wasserstein(gradient_histograms(left), gradient_histograms(right))
    assert value(distance, 30) == pytest.approx(expected, abs=GRADIENT_STEP / 2)


def test_patch_distances_tell_grain_from_shading() -> None:
    real, other = blobs(200, seed=1), blobs(200, seed=2)
    grain = np.random.default_rng(3).normal(0, 16, other.shape)
    shade = np.linspace(-40, 40, other.shape[2])
    reference = patches_of(real, 0)

    def both(images: Images) -> tuple[float, float]:
        distance = sliced_wasserstein(patches_of(images, 0), reference, seed=0)
        return value(distance, 200, 0), value(distance, 200, 1)

    same, grainy, shaded = (
        both(other),
        both(as_images(other + grain)),
        both(as_images(other + shade)),
    )
    assert grainy[0] > 5 * same[0] and grainy[1] < 1.2 * same[1]
    assert shaded[1] > 4 * same[1] and shaded[0] < 1.2 * same[0]


def test_sliced_wasserstein_of_kept_images_is_that_of_the_images_alone() -> None:
    left, right = patches_of(blobs(20, seed=1), 0), patches_of(blobs(20, seed=2), 0)
    kept = np.zeros((1, 20), bool)
    kept[0, [1, 4, 5, 17]] = True
    part = sliced_wasserstein(type(left)(*(p[kept[0]] for p in left)), right, seed=0)
    full = sliced_wasserstein(left, right, seed=0)
    like = kept[:, ::-1].copy()
    np.testing.assert_allclose(part(np.ones((1, 4), bool), like), full(kept, like), rtol=1e-5)


def mean_difference(other_N, reference_N) -> Statistic:
    def statistic(other_RN, reference_RN):
        left = other_RN @ other_N / other_RN.sum(axis=1)
        right = reference_RN @ reference_N / reference_RN.sum(axis=1)
        return (left - right)[:, None]

    return statistic


@pytest.mark.slow
@pytest.mark.parametrize("num_identities", [None, 8])
def test_intervals_hold_the_truth_as_often_as_they_say(num_identities) -> None:
    """Of a mean's difference, 1; with identities, most of the scatter is theirs."""
    rng = np.random.default_rng(0)
    groups = None if num_identities is None else np.arange(80) % num_identities
    held = 0
    for seed in range(400):
        other, reference = rng.normal(1, 1, 80), rng.normal(0, 1, 80)
        if groups is not None:
            other += rng.normal(0, 2, num_identities)[groups]
        rounds = Rounds.draw(60, 80, groups, seed)
        interval = rounds.distances(mean_difference(other, reference), [(-9, 9)])[0]
        held += interval.low <= 1 <= interval.high
    assert 0.91 * 400 <= held <= 0.99 * 400


def test_whole_identities_are_kept_and_as_many_reference_images() -> None:
    groups = groups_of([f"face{k % 5}" for k in range(52)])
    rounds = Rounds.draw(20, 52, groups, seed=3)
    for kept, like in zip(rounds.other, rounds.reference, strict=True):
        assert all(kept[groups == g].all() or not kept[groups == g].any() for g in range(5))
        assert len(set(groups[kept])) == 3 and kept.sum() == like.sum()


def test_identities_widen_the_intervals_of_renders_alone() -> None:
    """Each of six identities has a grey of its own."""
    real = blobs(120, seed=2)
    which = np.arange(60) % 6
    renders = as_images(blobs(60, seed=1) + 9.0 * which[:, None, None])

    def grey(groups):
        jackknife = Jackknife(40, 60, groups, seed=0)
        sets = Sets(renders, renders, real[:60], real[60:]).map(grey_histograms)
        return jackknife.compare(sets, wasserstein, (0, 255))[0]

    by_image, by_identity = grey(None), grey(which)
    assert by_identity.refined.value == by_image.refined.value
    assert width(by_identity.refined) > 1.5 * width(by_image.refined)
    assert by_identity.floor == by_image.floor


def width(distance) -> float:
    return distance.high - distance.low


def test_shares_of_0_and_1_have_intervals() -> None:
    rounds = Rounds.draw(20, 50, None, seed=0)
    none, every = rounds.share(np.zeros(50, bool)), rounds.share(np.ones(50, bool))
    assert (none.value, none.low) == (0, 0) and 0.05 < none.high < 0.1
    assert (every.value, every.high) == (1, 1) and 0.9 < every.low < 0.95


@pytest.mark.slow
def test_plots_draw_every_measure_and_say_where_there_is_no_gap() -> None:
    looks = same_and_blurred()
    gaps = looks.model_copy(update={"density": looks.frechet})
    drawn = look_figures.distances(look_figures.rows_of(gaps))
    assert all(label in drawn for label, _ in look_figures.ROWS.values())
    assert "floor already" not in drawn
    no_gap = looks.grey.model_copy(update={"synthetic": looks.grey.floor})
    drawn = look_figures.distances(look_figures.rows_of(gaps.model_copy(update={"grey": no_gap})))
    assert drawn.count("floor already") == 1
    for plot in (
        look_figures.spectra(looks.spectra),
        look_figures.grey_histograms(looks.grey_histogram),
        look_figures.gradient_histograms(looks.gradient_histogram),
    ):
        assert plot.count('stroke-width="2.2"') == 6 and "nan" not in plot


def test_refuses_what_it_cannot_compare() -> None:
    good = blobs(60, seed=1)
    with pytest.raises(ValueError, match="pairs"):
        look_parts(good, good[:30], good, QUICK)
    with pytest.raises(ValueError, match="uint8"):
        look_parts(good.astype(float), good.astype(float), good, QUICK)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(20, 27\)"):
        look_parts(good[:, :, 1:], good[:, :, 1:], good, QUICK)
    with pytest.raises(ValueError, match="30 real images, but two halves need 40"):
        look_parts(good, good, good[:30], QUICK)
    with pytest.raises(ValueError, match="14 px"):
        look_parts(good[:, :9], good[:, :9], good[:, :9], QUICK)
    with pytest.raises(ValueError, match="3 identities of 60"):
        look_parts(good, good, good, QUICK, identities=["a", "b", "c"])
    with pytest.raises(ValueError, match="2 identities, but intervals"):
        look_parts(good, good, good, QUICK, identities=["a", "b"] * 30)
    with pytest.raises(ValueError, match="a step takes 32"):
        train_features(FeatureTraining(), good[:9])
