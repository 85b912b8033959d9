"""Damage of hands: what it changes by how much, and what it leaves alone."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.ndimage import distance_transform_edt

from factory.dataset.columns import values_of
from factory.domains.hand.damage.kinds import DAMAGES, LEAST_SWAP_PX, Pairs
from factory.domains.hand.damage.measuring import HAND_DAMAGES
from factory.domains.hand.damage.pictures import grown, rotated, without_finger
from factory.domains.hand.damage.tails import TAILS
from factory.domains.hand.measures import HandMeasurer, HandWitnesses, joints_of, skin_mm
from factory.validation.power.damages import Damage, Damaged
from schemas.hand.measures import HAND_MEASURE_MEANINGS
from support.hand_pairs import CUBE_MM, drawn_hands

NUM = 4


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Hands that a refiner left as they were."""
    rows, images = drawn_hands(NUM, seed=3)
    return Pairs(images, images, rows)


def damage(name: str, pairs: Pairs, seed: int = 0) -> Damaged:
    return damaged({known.name: known for known in DAMAGES}[name], pairs, seed)


def damaged(chosen: Damage, pairs: Pairs, seed: int = 0) -> Damaged:
    rng = np.random.default_rng(seed)
    return HAND_DAMAGES.damaged(chosen, pairs.labels, pairs.parent_NHW, pairs.refined_NHW, rng)


def measured(pairs: Pairs, result: Damaged) -> pa.Table:
    rows = pairs.labels.take(pa.array(result.label_rows_N))
    return HandMeasurer(HandWitnesses())(rows, pairs.parent_NHW, result.refined_NHW)


@pytest.mark.slow
def test_equal_generators_damage_equally_and_the_inputs_stay(pairs):
    before = pairs.refined_NHW.copy()
    for known in DAMAGES:
        first, again = damage(known.name, pairs, 5), damage(known.name, pairs, 5)
        assert np.array_equal(first.refined_NHW, again.refined_NHW), known.name
        assert np.array_equal(first.label_rows_N, again.label_rows_N)
        assert first.refined_NHW.dtype == np.uint16
        assert first.refined_NHW.shape == pairs.refined_NHW.shape
        assert np.array_equal(pairs.refined_NHW, before), known.name


def test_a_shift_moves_outlines_by_its_size_in_different_directions(pairs):
    measures = measured(pairs, damage("shift 4 px", pairs))
    shifts_N2 = np.stack(
        [values_of(measures, f"silhouette_shift_{axis}_px") for axis in "xy"], axis=1
    )
    assert np.hypot(*shifts_N2.T) == pytest.approx(np.full(NUM, 4.0), abs=0.3)
    assert len(np.unique(np.round(shifts_N2), axis=0)) > 1


def test_a_quarter_turn_is_that_of_the_array(pairs):
    centre_N2 = np.full((NUM, 2), 111.5)
    left = rotated(pairs.refined_NHW, centre_N2, np.full(NUM, 90.0))
    assert np.array_equal(left, np.rot90(pairs.refined_NHW, axes=(1, 2)))
    assert np.array_equal(rotated(left, centre_N2, np.full(NUM, -90.0)), pairs.refined_NHW)


def test_a_rotation_turns_the_skin_about_the_middle_of_the_joints(pairs):
    result = damage("rotate 15 deg", pairs)
    joints_NJ3 = joints_of(pairs.labels, "joints14_uvd")
    middle_N12 = joints_NJ3[..., :2].mean(axis=1, keepdims=True)
    best = []
    for image, joints_J3, middle in zip(result.refined_NHW, joints_NJ3, middle_N12, strict=True):
        errors = []
        for angle in np.radians((15.0, -15.0)):
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            turned_J3 = np.concatenate(
                [middle + (joints_J3[:, :2] - middle) @ turn.T, joints_J3[:, 2:]], axis=1
            )
            skin_J = skin_mm(image[None], turned_J3[None])[0]
            errors.append(np.nanmedian(np.abs(joints_J3[:, 2] - skin_J)))
        best.append(min(errors))
    before_NJ = skin_mm(pairs.refined_NHW, joints_NJ3)
    expected_N = np.nanmedian(np.abs(joints_NJ3[..., 2] - before_NJ), axis=1)
    assert best == pytest.approx(expected_N, abs=1.5)


@pytest.mark.parametrize("by_px", [1, 2, 4])
def test_a_grown_hand_has_every_pixel_that_is_near_enough_and_no_other(pairs, by_px):
    for before, after in zip(
        pairs.refined_NHW, grown(pairs.refined_NHW, float(by_px)), strict=True
    ):
        distance, nearest = distance_transform_edt(before == 0, return_indices=True)
        assert np.array_equal(after > 0, distance <= by_px)
        assert np.array_equal(after[before > 0], before[before > 0])
        ring = (before == 0) & (after > 0)
        assert set(np.unique(after[ring])) <= set(np.unique(before[tuple(nearest)][ring]))


def test_growth_is_measured_as_growth(pairs):
    growth = values_of(measured(pairs, damage("grow 4 px", pairs)), "edge_growth_px")
    assert growth == pytest.approx(np.full(NUM, 4.0), abs=0.4)
    empty = np.zeros((1, 224, 224), np.uint16)
    assert not grown(empty, 2.0).any()


def test_a_depth_offset_moves_the_skin_and_not_the_background(pairs):
    result = damage("depth_offset 10 mm", pairs)
    hand = pairs.refined_NHW > 0
    assert np.array_equal(result.refined_NHW[hand], pairs.refined_NHW[hand] + 10)
    assert not result.refined_NHW[~hand].any()
    shift = values_of(measured(pairs, result), "joint_depth_shift_mm")
    assert shift == pytest.approx(np.full(NUM, 10.0), abs=1e-3)


def line_of_joints(x: float, depth: float) -> np.ndarray:
    """(6, 3) joints of an upright finger from y 100 up to 50."""
    return np.stack([np.full(6, x), np.linspace(100, 50, 6), np.full(6, depth)], axis=1)


def test_a_removed_finger_is_background_and_the_others_stay():
    joints_J3 = np.concatenate(
        [*(line_of_joints(40 + 36 * k, 150) for k in range(5)), np.full((6, 3), (112, 190, 160))]
    )
    image = np.zeros((224, 224), np.uint16)
    image[150:, 20:204] = 155  # the palm
    for k in range(5):
        image[46:150, 40 + 36 * k - 6 : 40 + 36 * k + 7] = 145
    image[70:80, 140:150] = 60  # another thing, far before the fourth finger
    for finger in range(4):
        after = without_finger(image, joints_J3, finger, CUBE_MM)
        x = 40 + 36 * finger
        removed = (image > 0) & (after == 0)
        rows, columns = np.nonzero(removed)
        assert (columns.min(), columns.max()) == (x - 6, x + 6)
        assert rows.min() == 46 and 100 <= rows.max() <= 111  # a radius of 14 mm below the joint
        kept = ~removed
        assert np.array_equal(after[kept], image[kept])
        if finger == 3:
            assert (after[70:80, 142:150] == 60).all()
        else:
            assert not after[50:100, x - 6 : x + 7].any()


@pytest.mark.slow
def test_a_removed_finger_is_lost_in_the_measurements(pairs):
    result = damage("finger_removed", pairs)
    measures = measured(pairs, result)
    before = pairs.refined_NHW > 0
    lost = (before & (result.refined_NHW == 0)).sum(axis=(1, 2)) / before.sum(axis=(1, 2))
    assert values_of(measures, "lost_share") == pytest.approx(lost)
    assert result.is_harmed_N.all() and (lost > 0.02).all()
    assert (values_of(measures, "grown_share") == 0).all()


def test_a_finger_that_cannot_be_seen_harms_nothing(pairs):
    empty = np.zeros_like(pairs.refined_NHW)
    assert not damage("finger_removed", pairs._replace(refined_NHW=empty)).is_harmed_N.any()


def test_swapped_labels_are_those_of_another_hand(pairs):
    result = damage("labels_swapped", pairs)
    assert np.array_equal(result.refined_NHW, pairs.refined_NHW)
    rows_N = result.label_rows_N
    assert (rows_N != np.arange(NUM)).all() and (rows_N[rows_N] == np.arange(NUM)).all()
    joints_NJ2 = joints_of(pairs.labels, "joints14_uvd")[..., :2]
    far_N = [
        np.hypot(*(joints_NJ2[k] - joints_NJ2[row]).T).mean() >= LEAST_SWAP_PX
        for k, row in enumerate(rows_N)
    ]
    assert result.is_harmed_N.tolist() == far_N


def test_a_copied_parent_is_the_parent(pairs):
    other = pairs._replace(refined_NHW=np.roll(pairs.refined_NHW, 3, axis=2))
    assert np.array_equal(damage("copied_parent", other).refined_NHW, pairs.parent_NHW)


def test_unknown_damage_is_refused(pairs):
    with pytest.raises(ValueError, match="no damage of kind 'rust', only shift"):
        damaged(Damage("rust", 1, "px", False, "in tests"), pairs)
    with pytest.raises(ValueError, match="grow needs a size"):
        damaged(Damage("grow", None, "", False, "in tests"), pairs)


def test_every_tail_is_a_measure_and_every_measure_has_one():
    assert {tail.measure for tail in TAILS} == set(HAND_MEASURE_MEANINGS)


def test_every_kind_of_damage_has_sizes_that_grow_and_the_largest_must_be_caught_first():
    by_kind: dict[str, list[Damage]] = {}
    for known in DAMAGES:
        by_kind.setdefault(known.kind, []).append(known)
    assert set(by_kind) >= {
        "shift", "rotate", "grow", "labels_swapped", "depth_offset", "finger_removed",
    }  # fmt: skip
    for sizes in by_kind.values():
        assert [known.size for known in sizes] == sorted(known.size for known in sizes)
        caught = [known.must_catch for known in sizes]
        assert caught == sorted(caught)
