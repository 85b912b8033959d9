"""Random hands: measured on their joints, not on the numbers they were made from."""

import numpy as np
import pytest

from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX
from factory.domains.hand.renderer.depth import Array
from factory.domains.hand.renderer.pose import (
    APART_MM,
    centre_of,
    gaps_of,
    sample_hand,
    views_of,
)
from factory.domains.hand.renderer.shape import (
    INDEX,
    LITTLE,
    MIDDLE,
    PALM,
    RING,
    THUMB,
    palm_frame,
    size_of,
)

FINGERS = (LITTLE, RING, MIDDLE, INDEX)
NUM_HANDS = 300


@pytest.fixture(scope="module")
def hands() -> Array:
    """(300, 36, 3) mm, camera frame."""
    return np.stack([sample_hand(k, 5, "render").joints_mm for k in range(NUM_HANDS)])


def bend_deg(joints: Array, first: int, hinge: int, last: int) -> Array:
    """(n,) how far a chain is from straight at a joint."""
    before = joints[:, hinge] - joints[:, first]
    after = joints[:, last] - joints[:, hinge]
    cosine = (before * after).sum(-1)
    cosine /= np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_no_joint_bends_beyond_its_limit(hands: Array) -> None:
    for finger in FINGERS:
        assert bend_deg(hands, finger + 5, finger + 3, finger + 1).max() <= 110 + 1e-6
        assert bend_deg(hands, finger + 3, finger + 1, finger).max() <= 90 + 1e-6
    assert bend_deg(hands, THUMB + 5, THUMB + 3, THUMB + 1).max() <= 60 + 1e-6
    assert bend_deg(hands, THUMB + 3, THUMB + 1, THUMB).max() <= 80 + 1e-6


def test_knuckles_stay_within_flexion_and_spread(hands: Array) -> None:
    frame = palm_frame(hands)
    for finger, fan_deg in zip(FINGERS, (-9, -4, 0, 4), strict=True):
        bone = hands[:, finger + 3] - hands[:, finger + 5]
        across, ahead, out = np.einsum("nij,nj->in", frame, bone)
        flexion = np.degrees(np.arctan2(out, np.hypot(across, ahead)))
        assert flexion.max() <= 90 + 1e-6
        assert flexion.min() >= -15 - 1e-6
        pointing = flexion < 80  # a finger that points out of the palm has no side
        side = np.degrees(np.arctan2(across, ahead))[pointing] - fan_deg
        assert np.abs(side).max() <= 15 + 1e-6


def test_the_last_joint_bends_with_the_middle_one(hands: Array) -> None:
    for finger in FINGERS:
        middle = bend_deg(hands, finger + 5, finger + 3, finger + 1)
        last = bend_deg(hands, finger + 3, finger + 1, finger)
        assert np.abs(last - middle * 2 / 3).mean() < 5
        assert np.corrcoef(middle, last)[0, 1] > 0.95


def test_there_are_open_hands_fists_and_pointing_ones(hands: Array) -> None:
    straight = np.stack(
        [bend_deg(hands, finger + 5, finger + 3, finger + 1) < 30 for finger in FINGERS], -1
    )
    assert 0.1 < straight.all(-1).mean() < 0.6
    assert 0.05 < (~straight).all(-1).mean() < 0.7
    assert 0.02 < (straight[:, 3] & ~straight[:, :3].any(-1)).mean() < 0.4


def test_bones_are_as_long_as_people_have_them(hands: Array) -> None:
    size = size_of(hands)
    assert size.min() > 0.8
    assert size.max() < 1.2
    assert size.std() > 0.03
    for finger, mean_mm in zip(FINGERS, (63.7, 81.0, 84.7, 74.6), strict=True):
        chain = hands[:, [finger + 5, finger + 3, finger + 1, finger]]
        length = np.linalg.norm(np.diff(chain, axis=1), axis=-1).sum(1) / size
        assert length.mean() == pytest.approx(mean_mm, rel=0.03)
        assert 0.02 < length.std() / length.mean() < 0.08
    for a, b in ((0, 1), (2, 4), (3, 5)):  # the palm is stiff
        span = np.linalg.norm(hands[:, PALM + a] - hands[:, PALM + b], axis=-1) / size
        assert span.std() < 1e-9


def test_fingers_keep_apart(hands: Array) -> None:
    gaps = gaps_of(hands) / size_of(hands)
    assert (gaps >= APART_MM).mean() > 0.97
    assert gaps.min() > 5


def test_palms_face_the_camera_within_the_stated_range(hands: Array) -> None:
    out = palm_frame(hands)[:, 2]
    away_deg = np.degrees(np.arccos(np.clip(-out[:, 2], -1, 1)))
    assert away_deg.max() <= np.degrees(np.arccos(np.cos(np.radians(60)) * np.cos(np.radians(45))))
    assert np.median(away_deg) < 40
    up = -palm_frame(hands)[:, 1, 1]
    assert (up > 0).mean() > 0.97


def test_the_thumb_is_on_the_right_as_in_the_nyu_pictures(hands: Array) -> None:
    across = palm_frame(hands)[:, 0, 0]
    assert (across > 0).mean() > 0.97


def test_every_view_lies_within_the_picture() -> None:
    for k in range(60):
        hand = sample_hand(k, 1, "camera")
        centre = centre_of(hand.joints_mm)
        assert 500 <= centre[2] <= 1100
        for view in views_of(hand, 3):
            uvd = NYU_CAMERA.project(view.joints_mm)
            assert uvd[:, :2].min() > 5
            assert (uvd[:, :2] < [NYU_WIDTH_PX - 6, NYU_HEIGHT_PX - 6]).all()


def test_views_are_the_hand_turned_about_its_centre() -> None:
    hand = sample_hand(3, 1, "render")
    first, left, right = views_of(hand, 3)
    assert first is hand
    centre = centre_of(hand.joints_mm)
    for view in (left, right):
        inner, outer = hand.joints_mm - centre, view.joints_mm - centre
        assert np.allclose(np.linalg.norm(inner, axis=-1), np.linalg.norm(outer, axis=-1))
        assert np.allclose(inner[:, 1], outer[:, 1]), "about the vertical"
        forearms = hand.forearm @ inner.T, view.forearm @ outer.T
        assert np.allclose(*forearms), "the forearm turns along"
    assert not np.allclose(left.joints_mm, right.joints_mm)


def test_a_hand_depends_on_seed_number_and_population_alone() -> None:
    one = sample_hand(7, 0, "render").joints_mm
    assert np.array_equal(one, sample_hand(7, 0, "render").joints_mm)
    for index, seed, population in ((8, 0, "render"), (7, 1, "render"), (7, 0, "camera")):
        other = sample_hand(index, seed, population)  # type: ignore[arg-type]
        assert not np.allclose(one, other.joints_mm)


@pytest.mark.slow
def test_the_camera_sees_other_proportions() -> None:
    sizes = [
        np.mean([size_of(sample_hand(k, 0, who).joints_mm) for k in range(80)])
        for who in ("render", "camera")
    ]
    assert sizes[1] > sizes[0] * 1.05
