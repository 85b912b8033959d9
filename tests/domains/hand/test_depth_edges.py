"""Outlines and edges: planted movements come back, raggedness and holes are no movement."""

import cv2
import numpy as np
import pytest

from factory.domains.hand.depth.edges import (
    MAX_HOLE_PX,
    PROFILE_PX,
    Edges,
    edge_change,
    edges_of,
    registered_silhouette,
    signed_distance,
    solid,
    without_holes,
)
from factory.domains.hand.looks import in_look, moved
from support.hand_pairs import disc, drawn_hands


@pytest.fixture(scope="module")
def hands() -> np.ndarray:
    return drawn_hands(6, seed=2)[1]


def shift_of(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    registered = registered_silhouette(solid(before > 0), solid(after > 0))
    assert registered is not None
    return registered.shift_px


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.0), (1.3, -0.7), (-3.0, 2.0), (7.0, -9.0)])
def test_a_discs_displacement_is_found_to_a_tenth_of_a_pixel(shift) -> None:
    before, after = disc(110.2, 111.7, 40), disc(110.2 + shift[0], 111.7 + shift[1], 40)
    assert shift_of(before, after) == pytest.approx(shift, abs=0.1)


def test_hands_that_were_moved_are_found_there(hands) -> None:
    for shift in ((0.5, 0.5), (2.0, -1.0)):
        for before, after in zip(hands, moved(hands, np.full((6, 2), shift)), strict=True):
            assert shift_of(before, after) == pytest.approx(shift, abs=0.15)


def test_holes_and_specks_are_no_displacement(hands) -> None:
    spoiled = hands[0].copy()
    spoiled[100:104, 100:106] = 0
    spoiled[5:9, 5:9] = 80
    assert shift_of(hands[0], spoiled) == pytest.approx((0, 0), abs=0.02)
    assert not solid(spoiled > 0)[5:9, 5:9].any() and solid(spoiled > 0)[100:104, 100:106].all()


def test_what_is_seen_between_fingers_is_no_hole() -> None:
    ring = np.where(disc(110, 110, 8) > 0, 0, disc(110, 110, 40)).astype(np.uint16)
    assert (ring[100:120, 100:120] == 0).sum() > MAX_HOLE_PX
    assert not solid(ring > 0)[110, 110]


def test_the_signed_distance_is_that_to_the_outline() -> None:
    distance = signed_distance(disc(110, 110, 30) > 0)
    assert distance[110, 110] == pytest.approx(-30, abs=0.8)
    assert distance[110, 160] == pytest.approx(20, abs=0.8)
    assert (distance != 0).all()


@pytest.mark.parametrize("outwards_px", [-2, 0, 1, 3])
def test_edges_that_all_move_outwards_by_the_same_say_so(outwards_px) -> None:
    change = edge_change(edges_of(disc(110, 110, 40)), disc(110, 110, 40 + outwards_px))
    assert change.growth_px == pytest.approx(outwards_px, abs=0.25)
    assert change.drift_px == pytest.approx(abs(outwards_px), abs=0.3)


def test_an_edge_inside_a_hand_is_followed_too() -> None:
    """A finger before a palm moves, the silhouette stays."""
    palm = disc(110, 110, 80, depth=150)
    before, after = (
        np.where(disc(84 + move, 84 + move, 20) > 0, 100, palm).astype(np.uint16) for move in (0, 2)
    )
    edges = edges_of(before)
    inner = np.hypot(*(edges.pixel_P2 - 84).T) < 25  # in one square of stretches
    parts = (getattr(edges, name)[inner] for name in edges.__dataclass_fields__)
    assert inner.sum() > 60
    assert edge_change(Edges(*parts), after).drift_px == pytest.approx(2 * 0.9, abs=0.3)
    assert shift_of(before, after) == pytest.approx((0, 0), abs=0.02)


def test_a_grown_outline_has_not_moved(hands) -> None:
    kernel = np.ones((3, 3), np.uint8)
    for hand in hands:
        grown = np.where(cv2.dilate((hand > 0).astype(np.uint8), kernel) > 0, 100, 0)
        assert shift_of(hand, grown.astype(np.uint16)) == pytest.approx((0, 0), abs=0.12)


def test_a_moved_hand_moves_its_edges(hands) -> None:
    for shift_px in (1.0, 2.0, 3.0):
        after = moved(hands, np.full((6, 2), (shift_px, 0)))
        drifts_px = [
            edge_change(edges_of(a), b).drift_px for a, b in zip(hands, after, strict=True)
        ]
        assert 0.5 * shift_px <= np.median(drifts_px) <= shift_px + 0.1


@pytest.mark.parametrize("look", ["ragged outline", "holes", "noise and steps of depth"])
def test_a_look_is_little_drift_by_any_edge(hands, look) -> None:
    for before, after in zip(hands, in_look(hands, look, seed=4), strict=True):
        change = edge_change(edges_of(before), after)
        assert change.drift_px < 0.6 and abs(change.growth_px) < 0.35
        assert np.hypot(*shift_of(before, after)) < 0.6


def test_what_is_unchanged_has_not_moved_at_all(hands) -> None:
    for hand in hands:
        assert edge_change(edges_of(hand), hand) == (0.0, 0.0)


def test_an_edge_answers_with_no_more_than_its_profile() -> None:
    change = edge_change(edges_of(disc(110, 110, 40)), disc(110, 110, 70))
    assert change.drift_px <= PROFILE_PX + 0.5


def test_pictures_without_an_outline_have_no_displacement() -> None:
    nothing, everything = np.zeros((224, 224), bool), np.ones((224, 224), bool)
    some = disc(110, 110, 30) > 0
    for pair in ((nothing, some), (some, nothing), (everything, some), (nothing, nothing)):
        assert registered_silhouette(*pair) is None
    empty = np.zeros((224, 224), np.uint16)
    assert edge_change(edges_of(empty), disc(110, 110, 30)) is None


def test_holes_are_filled_with_the_depth_beside_them() -> None:
    hand = disc(80, 110, 30, depth=100) + disc(141, 110, 30, depth=200)
    holed = hand.copy()
    holed[108:112, 70:74] = 0
    holed[108:112, 140:144] = 0
    assert np.array_equal(without_holes(holed), hand)
