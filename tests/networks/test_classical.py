"""The models that are no networks: what they compute of pictures, and what they learn."""

import numpy as np
import pytest
from pydantic import ValidationError

from factory.networks import classical
from factory.networks.classical import (
    AdaptiveLinear,
    Forest,
    Nearest,
    Ridge,
    SupportVectors,
    gradient_histograms,
    reduced,
)
from factory.networks.evaluation_kinds import Examples, Quantity
from factory.store.extras import MissingExtraError
from schemas.dataset import ImageSpec

PLACE = Quantity(
    name="place",
    unit="px",
    columns=(),
    read=lambda index: np.empty((len(index), 2)),
    errors=lambda estimates, truth: np.hypot(*(estimates - truth).T),
)
KINDS = {
    Nearest: {"neighbours": (3, 8)},
    Forest: {"trees": 20},
    SupportVectors: {"components": 20},
    Ridge: {},
    AdaptiveLinear: {"nearest": 30, "penalties": (0.03, 0.1)},
}


def blobs(num: int, seed: int) -> Examples:
    """Dark blobs on light ground of varying brightness; where each lies is what is learnt."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((8, 6), (22, 14), (num, 2))
    y, x = np.mgrid[:20, :30]
    distance = np.hypot(x - centres[:, 0, None, None], y - centres[:, 1, None, None])
    light = rng.uniform(120, 220, (num, 1, 1))
    images = light * (1 - 0.8 * np.exp(-((distance / 4) ** 2)))
    images += rng.normal(0, 2, images.shape)
    return Examples(
        np.rint(images).clip(0, 255).astype(np.uint8), centres, np.full(num, "one", np.str_)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_finds_what_it_has_not_seen_and_chooses_by_the_held_out(kind) -> None:
    train, held_out, other = blobs(200, 0), blobs(30, 1), blobs(60, 2)
    model = kind(**KINDS[kind])
    fitted = model.fit(train, held_out, PLACE, seed=3)
    estimates = fitted.estimate(other.images)
    assert estimates.shape == (60, 2)
    assert PLACE.errors(estimates, other.values_ND).mean() < 1.0
    assert fitted.facts["mean_answer_px"] > 3.0
    known = PLACE.errors(fitted.estimate(held_out.images), held_out.values_ND).mean()
    assert fitted.facts["held_out_error_px"] == pytest.approx(known)
    assert len(fitted.facts) == 3
    again = kind(**KINDS[kind]).fit(train, held_out, PLACE, seed=3)
    assert np.array_equal(again.estimate(other.images), estimates)


@pytest.mark.slow
def test_the_option_with_the_smallest_held_out_error_is_taken() -> None:
    """One neighbour is best where the held-out pictures are those that were trained on."""
    train = blobs(40, 0)
    fitted = Nearest(neighbours=(30, 1, 200)).fit(train, train, PLACE, seed=0)
    assert fitted.facts["neighbours"] == 1 and fitted.facts["held_out_error_px"] == 0
    assert Nearest(neighbours=(200,)).fit(train, train, PLACE, seed=0).facts["neighbours"] == 40


def turned_bars(num: int, seed: int, *, most_px: int) -> Examples:
    """Dark bars of different directions through the middle, or up to `most_px` beside it."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-1, 1, num)
    dx, dy = rng.integers(-most_px, most_px + 1, (2, num, 1, 1))
    y, x = np.mgrid[:20, :30]
    across = (y - 9.5 - dy) * np.cos(angle)[:, None, None]
    across = across - (x - 14.5 - dx) * np.sin(angle)[:, None, None]
    images = np.rint(200 - 150 * np.exp(-((across / 2) ** 2))).astype(np.uint8)
    return Examples(images, np.stack([10 * angle, 0 * angle], 1), np.full(num, "one", np.str_))


def test_models_that_learn_from_moved_pictures_bear_what_is_not_cut_out_exactly() -> None:
    train, test = turned_bars(60, 0, most_px=0), turned_bars(60, 1, most_px=3)
    errors = [
        PLACE.errors(
            Ridge(max_shift_px=px).fit(train, train, PLACE, seed=0).estimate(test.images),
            test.values_ND,
        ).mean()
        for px in (0, 3, 3)
    ]
    assert errors[1] == errors[2] < 0.7 * errors[0]
    assert "max_shift_px" not in Ridge().model_dump()


def test_a_reduced_picture_depends_on_neither_brightness_nor_contrast() -> None:
    images = blobs(3, 0).images // 2
    features = reduced(images)
    assert features.shape == (3, 135)
    assert features.mean(axis=1) == pytest.approx(0) and features.std(axis=1) == pytest.approx(1)
    assert reduced(images * 2 + 1) == pytest.approx(features, abs=1e-9)
    assert not reduced(np.full((1, 20, 30), 7, np.uint8)).any()


def slow_histograms(image: np.ndarray) -> np.ndarray:
    """Of a picture whose sides are multiples of 5: one pixel, one block at a time."""
    height, width = image.shape
    cells = np.zeros((height // 5, width // 5, 9))
    at = image.astype(float)
    for y in range(height):
        for x in range(width):
            down = at[min(y + 1, height - 1), x] - at[max(y - 1, 0), x]
            right = at[y, min(x + 1, width - 1)] - at[y, max(x - 1, 0)]
            angle_deg = np.degrees(np.arctan2(down, right)) % 180
            first = int(angle_deg // 20)
            share = angle_deg / 20 - first
            cells[y // 5, x // 5, first % 9] += (1 - share) * np.hypot(down, right)
            cells[y // 5, x // 5, (first + 1) % 9] += share * np.hypot(down, right)
    blocks = []
    for row in range(cells.shape[0] - 1):
        for column in range(cells.shape[1] - 1):
            block = np.moveaxis(cells[row : row + 2, column : column + 2], 2, 0).ravel()
            block = np.minimum(block / np.linalg.norm(block), 0.2)
            blocks.append(block / np.linalg.norm(block))
    return np.concatenate(blocks)


def test_histograms_of_gradients_are_those_of_a_slow_loop(monkeypatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 20, 30), np.uint8)
    monkeypatch.setattr(classical, "_AT_ONCE", 2)
    expected = np.stack([slow_histograms(image) for image in images])
    assert gradient_histograms(images) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("size", [(35, 55), (36, 60), (19, 19), (5, 7)])
def test_pictures_of_any_size_and_of_one_grey_value_have_histograms(size) -> None:
    flat = gradient_histograms(np.full((2, *size), 90, np.uint8))
    assert flat.shape == gradient_histograms(np.empty((2, *size), np.uint8)).shape
    assert not flat.any()


def test_a_training_picture_is_rebuilt_from_itself() -> None:
    train = blobs(30, 0)
    fitted = AdaptiveLinear(nearest=10, penalties=(0.01,)).fit(train, train, PLACE, seed=0)
    assert fitted.estimate(train.images) == pytest.approx(train.values_ND, abs=0.5)


def test_a_picture_unlike_all_others_is_given_the_mean_of_the_nearest() -> None:
    train = blobs(30, 0)
    fitted = AdaptiveLinear(nearest=30).fit(train, train, PLACE, seed=0)
    estimates = fitted.estimate(np.full((1, 20, 30), 128, np.uint8))
    assert estimates == pytest.approx(train.values_ND.mean(axis=0)[None])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_cannot_be_trained_is_refused_with_its_reason(kind, monkeypatch) -> None:
    with pytest.raises(ValueError, match="takes images of one channel, the dataset has 3"):
        kind().check(ImageSpec(height=35, width=55, channels=3))
    kind().check(ImageSpec(height=35, width=55))
    monkeypatch.setattr("factory.store.extras.find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=r"needs sklearn.*\[evaluate\]"):
        kind().fit(blobs(2, 0), blobs(2, 1), PLACE, seed=0)


@pytest.mark.parametrize("wrong", [{"neighbours": ()}, {"neighbours": (0,)}, {"kind": "knn"}])
def test_options_without_sense_are_refused(wrong) -> None:
    with pytest.raises(ValidationError):
        Nearest(**wrong)
