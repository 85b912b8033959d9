"""Matched degradation: what was planted is found, and spectra and grey values agree afterwards."""

import numpy as np
import pytest
from pydantic import ValidationError

from factory.domains.eye.renderer.renderer import EyeRenderer
from factory.domains.eye.sources.framing import EyeCrop
from factory.evaluation import degradation
from factory.evaluation.degradation import IDENTITY, Degradation, fit, swap_amplitudes
from factory.measures.looks.curves import grey_histograms, spectra
from support.drawn_eyes import drawn_eye

PLANTED = Degradation(
    blur_px=1.1,
    blur_spread_px=0.0,
    noise_sd=6.0,
    noise_correlation_px=0.0,
    tone=tuple(round(30 + 180 * (v / 255) ** 1.5) for v in range(256)),
)


def eyes(num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            drawn_eye(
                rng.uniform((22, 15), (32, 19)),
                radius_px=rng.uniform(7, 10),
                lids_px=(rng.uniform(-10, -5), rng.uniform(5, 8)),
                seed=seed + row,
            )
            for row in range(num)
        ]
    )


def distance_db(one: np.ndarray, two: np.ndarray) -> float:
    difference = spectra(one).each.mean(axis=0) - spectra(two).each.mean(axis=0)
    return float(np.sqrt((difference**2).mean()))


@pytest.fixture
def few(monkeypatch) -> None:
    monkeypatch.setattr(degradation, "_FITTED_ON", 40)
    monkeypatch.setattr(degradation, "_EVALUATIONS", 80)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_what_was_planted_is_found() -> None:
    """On other eyes than those that it was planted in."""
    renders, real = eyes(60, 0), PLANTED.apply(eyes(60, 5000), seed=9)
    fitted = fit(renders, real)
    assert fitted.blur_px == pytest.approx(1.1, abs=0.15)
    assert fitted.blur_spread_px < 0.3
    assert fitted.noise_sd == pytest.approx(6.0, abs=1.0)
    assert fitted.noise_correlation_px < 0.35
    common = np.quantile(renders, (0.02, 0.98)).astype(int)
    counted = np.unique(PLANTED.model_copy(update={"tone": IDENTITY}).apply(renders, 1))
    levels = counted[(counted > common[0]) & (counted < common[1])]
    off = np.abs(np.array(fitted.tone)[levels] - np.array(PLANTED.tone)[levels])
    assert np.median(off) < 5
    assert Degradation.from_json(fitted.to_json(), where="test") == fitted


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_strong_blur_and_smooth_noise_are_told_from_a_weaker_blur() -> None:
    """A dim webcam's images are like that; a blur of 1.6 px with little noise is a minimum too."""
    planted = Degradation(
        blur_px=2.5, blur_spread_px=0.6, noise_sd=5.0, noise_correlation_px=0.9, equalise=True
    )
    images = drawn("render", equalise=True)
    fitted = fit(images[:40], planted.apply(images[40:], seed=9), equalise=True)
    assert fitted.blur_px == pytest.approx(2.5, abs=0.4)
    assert fitted.noise_correlation_px == pytest.approx(0.9, abs=0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("equalise", [False, True])
def test_spectra_and_grey_values_of_two_styles_agree_after_fitting(equalise) -> None:
    """Drawn by the renderer as renders, and as a camera sees other people in other light."""
    renders, real = drawn("render", equalise), drawn("camera", equalise)
    learnt = fit(renders[:40], real[:40], equalise=equalise)
    degraded = learnt.apply(renders[40:], seed=3)
    assert distance_db(degraded, real[40:]) < 0.5 * distance_db(renders[40:], real[40:])
    assert distance_db(degraded, real[40:]) < 3.0
    fitted = learnt.apply(renders[:40], seed=3), real[:40]
    below = [np.cumsum(grey_histograms(each).each.mean(axis=0)) for each in fitted]
    assert np.abs(below[0] - below[1]).max() < 0.05
    assert (learnt.tone == IDENTITY) == equalise


def drawn(style: str, equalise: bool) -> np.ndarray:
    renderer = EyeRenderer(style=style, seed=1, height=120, width=160)
    crop = EyeCrop(equalise=equalise)
    images = []
    for render in renderer.render(range(80)):
        image = render.image
        if style == "render":
            image = np.rint(image.mean(axis=2)).astype(np.uint8)[42:78, 50:110]
        images.append(crop.finished(image[:35, :55]))
    return np.stack(images)


def test_an_image_is_degraded_alike_whatever_comes_after_it() -> None:
    images = eyes(4, 0)
    assert np.array_equal(PLANTED.apply(images, 2)[:3], PLANTED.apply(images[:3], 2))
    assert not np.array_equal(PLANTED.apply(images, 2), PLANTED.apply(images, 3))
    nothing = Degradation(blur_px=0, blur_spread_px=0, noise_sd=0, noise_correlation_px=0)
    assert np.array_equal(nothing.apply(images, 0), images)


def test_smoothed_noise_keeps_its_strength() -> None:
    flat = np.full((40, 35, 55), 128, np.uint8)
    options = {"blur_px": 0, "blur_spread_px": 0, "noise_sd": 8}
    for correlation_px, expected in ((0.0, 0.0), (1.0, np.exp(-1 / 4))):
        noisy = Degradation(**options, noise_correlation_px=correlation_px).apply(flat, 0) - 128.0
        assert noisy.std() == pytest.approx(8, rel=0.05)
        neighbours = (noisy[:, :, 1:] * noisy[:, :, :-1]).mean() / noisy.var()
        assert neighbours == pytest.approx(expected, abs=0.05)


def test_low_amplitudes_are_those_of_a_real_image_and_phases_stay() -> None:
    images = eyes(3, 0) // 4 + 90
    real = eyes(1, 50) // 4 + 60
    swapped = swap_amplitudes(images, real, seed=0, share=0.1)
    before, after, wanted = (np.fft.fft2(each) for each in (images, swapped, real))
    assert np.abs(after)[:, :4, :4] == pytest.approx(
        np.broadcast_to(np.abs(wanted)[:, :4, :4], (3, 4, 4)), rel=0.05, abs=60
    )
    assert np.abs(after)[:, 4:8, 4:8] == pytest.approx(np.abs(before)[:, 4:8, 4:8], abs=60)
    turned = np.angle(after / before)[:, :3, :3][np.abs(before)[:, :3, :3] > 2000]
    assert np.abs(turned).max() < 0.2
    assert np.array_equal(swap_amplitudes(images, images[:1], seed=0)[0], images[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit(np.empty((0, 9, 9), np.uint8), eyes(1, 0)), "there are no renders"),
        (lambda: fit(eyes(1, 0)[:, :30], eyes(1, 0)), r"\(30, 55\) pixels cannot be fitted"),
        (lambda: swap_amplitudes(eyes(1, 0), eyes(1, 0)[:0], seed=0), "at least one"),
        (lambda: swap_amplitudes(eyes(1, 0), eyes(1, 0), seed=0, share=0), r"in \(0, 0.5\]"),
    ],
)
def test_sets_that_do_not_fit_are_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tone_names_every_grey_value() -> None:
    with pytest.raises(ValidationError, match="tone"):
        PLANTED.model_validate({**PLANTED.model_dump(), "tone": (1, 2)})
