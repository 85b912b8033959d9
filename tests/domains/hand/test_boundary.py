"""Boundary statistics: each answers to its own noise, and sets are as far apart as they differ."""

import numpy as np
import pytest

from factory.domains.hand.depth.boundary import (
    NAMES,
    boundary_of,
    hole_rate,
    statistics,
    statistics_of,
)
from factory.domains.hand.looks import LOOKS, SENSOR_LOOK, in_look
from support.hand_pairs import disc, drawn_hands


@pytest.fixture(scope="module")
def hands() -> np.ndarray:
    return drawn_hands(12, seed=5)[1]


def medians(images: np.ndarray) -> dict[str, float]:
    return {name: float(np.median(values)) for name, values in statistics_of(images).items()}


def test_holes_are_counted_where_they_are() -> None:
    hand = disc(110, 110, 40)
    inside, edge = hand.copy(), hand.copy()
    inside[108:112, 108:112] = 0
    edge[109:112, 147:149] = 0  # 2 px inside of the outline at 150
    num = (hand > 0).sum()
    assert hole_rate(inside) == pytest.approx(16 / num)
    rates = statistics(inside)
    assert rates["hole_rate_inside"] > 0 and rates["hole_rate_edge"] == 0
    rates = statistics(edge)
    assert rates["hole_rate_edge"] > 0 and rates["hole_rate_inside"] == 0
    assert statistics(hand)["hole_rate_inside"] == statistics(hand)["hole_rate_edge"] == 0


def test_a_round_outline_is_not_ragged_and_teeth_are() -> None:
    smooth = statistics(disc(110, 110, 40))
    toothed = disc(110, 110, 40)
    rows, columns = np.mgrid[:224, :224]
    angle = np.arctan2(rows - 110, columns - 110)
    toothed[np.hypot(rows - 110, columns - 110) > 40 - 2.5 * (np.sin(50 * angle) > 0)] = 0
    ragged = statistics(toothed)
    assert smooth["raggedness_px"] < 0.4 < 0.8 < ragged["raggedness_px"]
    assert smooth["outline_ratio"] < 1.15 < ragged["outline_ratio"]
    small = statistics(disc(110, 110, 8))
    assert small["raggedness_px"] < 0.45, "a fingertip is round, not ragged"


def test_where_the_crop_cuts_the_hand_nothing_is_ragged() -> None:
    cut = disc(110, 215, 40)
    assert statistics(cut)["raggedness_px"] < 0.4


def test_a_pixel_between_two_surfaces_flies() -> None:
    hand = np.where(disc(110, 110, 20) > 0, 100, disc(110, 110, 60, 160)).astype(np.uint16)
    assert statistics(hand)["flying_share"] == 0
    mixed = hand.copy()
    mixed[110, 131:134] = 130
    assert statistics(mixed)["flying_share"] == pytest.approx(3 / (hand > 0).sum(), rel=0.01)


@pytest.mark.parametrize("sd_mm", [1.0, 3.0])
def test_noise_on_a_slanted_surface_is_measured_in_mm(sd_mm) -> None:
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:224, :224]
    slanted = 100 + 0.4 * columns + 0.2 * rows + rng.normal(0, sd_mm, (224, 224))
    hand = np.where(disc(110, 110, 60) > 0, np.rint(slanted), 0).astype(np.uint16)
    assert statistics(hand)["noise_mm"] == pytest.approx(np.hypot(sd_mm, 0.29), rel=0.1)


@pytest.mark.slow
def test_each_look_shows_in_its_own_statistic(hands) -> None:
    plain = medians(hands)
    by_look = {look: medians(in_look(hands, look, seed=3)) for look in LOOKS}
    assert by_look["ragged outline"]["raggedness_px"] > plain["raggedness_px"] + 0.15
    assert by_look["holes"]["hole_rate_inside"] > plain["hole_rate_inside"] + 0.01
    assert by_look["holes"]["raggedness_px"] < plain["raggedness_px"] + 0.15
    assert by_look["noise and steps of depth"]["noise_mm"] > plain["noise_mm"] + 0.7
    assert by_look["noise and steps of depth"]["raggedness_px"] == plain["raggedness_px"]


def test_a_picture_without_a_hand_has_no_statistics() -> None:
    assert np.isnan(list(statistics(np.zeros((224, 224), np.uint16)).values())).all()


@pytest.mark.slow
def test_refined_pictures_like_the_real_ones_are_near_and_renders_are_far(hands) -> None:
    real = in_look(drawn_hands(24, seed=8)[1], SENSOR_LOOK, seed=1)
    refined = in_look(hands, SENSOR_LOOK, seed=2)
    boundary = boundary_of(*map(statistics_of, (hands, refined, real)), seed=0)
    for name in ("raggedness_px", "hole_rate_inside", "noise_mm"):
        line = getattr(boundary, name)
        assert line.synthetic.low > line.refined.high, name
        assert line.refined.low <= line.refined.value <= line.refined.high
        assert line.floor.value < 1
    assert (boundary.num_images, boundary.num_real) == (12, 24)
    assert boundary.medians["noise_mm"].real == pytest.approx(
        boundary.medians["noise_mm"].refined, abs=0.2
    )
    for curves in boundary.histograms.values():
        for shares in (curves.synthetic, curves.refined, curves.real):
            assert sum(shares) == pytest.approx(1)


def test_a_statistic_that_a_set_lacks_is_left_out(hands) -> None:
    nothing = {name: np.full(12, np.nan) for name in NAMES}
    plain = statistics_of(hands)
    boundary = boundary_of(plain, nothing, plain, seed=0)
    assert all(getattr(boundary, name) is None for name in NAMES) and not boundary.medians
