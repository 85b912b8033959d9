"""Planted damage: what it changes by how much, and what it leaves alone."""

import cv2
import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.loading import load_images, load_index
from factory.domains.eye.damage.iris import IRIS_DEPTH, gazes_turned
from factory.domains.eye.damage.kinds import DAMAGES, LEAST_SWAP_DEG
from factory.domains.eye.damage.measuring import EYE_DAMAGES
from factory.domains.eye.damage.opening import Opening
from factory.domains.eye.damage.pairs import Pairs
from factory.domains.eye.pupil.calibration import random_directions
from factory.domains.eye.pupil.drift import find_centers, same_circle
from factory.domains.eye.pupil.finder import PupilFinder
from factory.validation.power.damages import Damage

MUST_CATCH = {
    "shift 3 px",
    "vertical_shift 1 px",
    "turn 5 deg",
    "stretch 6 percent",
    "iris_shift 3 px",
    "jpeg 8 quality",
    "gaze 10 deg",
    "mirrored",
    "lids_closed",
    "copied_parent",
    "constant",
    "inverted",
    "checkerboard 8 grey",
    "checkerboard 16 grey",
}
SKIN, WHITE, IRIS = 120.0, 250.0, 20.0
CENTER, RADIUS_PX = np.array([27.3, 17.2]), 7.0
LIDS = np.array([27.0, 17.0]) + np.stack(
    [
        -22 * np.cos(np.arange(16) * np.pi / 8),
        -np.array([14] * 9 + [13] * 7) * np.sin(np.arange(16) * np.pi / 8),
    ],
    axis=1,
)
"""(16, 2) a wide open eye: 0 at the inner corner, 8 at the outer one, the upper lid between"""


@pytest.fixture(scope="module")
def pairs(synthetic):
    """Built-in eyes, and as refined images the same a little darker."""
    parent = load_images(synthetic)
    return Pairs(parent, (parent * 0.9).astype(np.uint8), load_index(synthetic))


def a(kind, size=None):
    return Damage(kind, size, "", must_catch=False, why="")


def plant(kind, size, pairs):
    return damaged(a(kind, size), pairs, 0)


def damaged(damage, pairs, seed):
    rng = np.random.default_rng(seed)
    return EYE_DAMAGES.damaged(damage, pairs.labels, pairs.parent_NHW, pairs.refined_NHW, rng)


def moves(kind, size, pairs):
    """(N, 2) px by which `plant` moves irises, as equal generators draw equally."""
    rng = np.random.default_rng(0)
    if kind == "gaze":
        return gazes_turned(pairs, np.radians(size), rng)[1]
    return size * random_directions(len(pairs), rng)


def drawn(images, gaze=(0.0, 0.0, -1.0), lids=LIDS):
    """Pairs of given images with labels of an iris at `CENTER` that looks along a gaze."""
    x, y, _ = gaze
    level = np.hypot(x, y)
    across = np.array([-y, x]) / level if level else np.array([1.0, 0.0])
    along = np.array([across[1], -across[0]]) * abs(gaze[2])
    turn = 2 * np.pi * np.arange(32)[:, None] / 32
    iris = CENTER + RADIUS_PX * (np.cos(turn) * across + np.sin(turn) * along)
    caruncle = np.tile(lids[0] - (1, 0), (7, 1))
    columns = {"iris_px": iris, "lid_px": lids, "caruncle_px": caruncle, "gaze": np.array(gaze)}
    return Pairs(images, images.copy(), table(columns, len(images)))


def table(columns, num):
    """One row `num` times, in columns typed like an index's."""
    arrays = {}
    for name, row in columns.items():
        kind = pa.float32()
        for length in row.shape[::-1]:
            kind = pa.list_(kind, length)
        arrays[name] = pa.array([row.tolist()] * num, kind)
    return pa.table(arrays)


def drawn_disc(gaze=(0.0, 0.0, -1.0)):
    """(35, 55) uint8: a dark iris, foreshortened by its gaze, on white."""
    fine = 8
    y, x = (np.mgrid[: 35 * fine, : 55 * fine] + 0.5) / fine - 0.5
    x, y = x - CENTER[0], y - CENTER[1]
    level = np.hypot(gaze[0], gaze[1])
    along = (x * gaze[0] + y * gaze[1]) / level if level else x * 0
    distance = np.sqrt(x * x + y * y + along**2 * (1 / gaze[2] ** 2 - 1))
    disc = np.where(distance < RADIUS_PX, IRIS, WHITE)
    return np.rint(cv2.resize(disc, (55, 35), interpolation=cv2.INTER_AREA)).astype(np.uint8)


def dark_mass(image):
    """The middle (x, y) of what is darker than white, and its amount in pixels of full iris."""
    dark = WHITE - image.astype(float)
    y, x = np.indices(image.shape)
    return np.array([(dark * x).sum(), (dark * y).sum()]) / dark.sum(), dark.sum() / (WHITE - IRIS)


def outside_lids(pairs, row, by_px):
    """(H, W) whether a pixel is further than `by_px` from the eye, lids and caruncle."""
    points = np.concatenate([pairs.numbers("lid_px")[row], pairs.numbers("caruncle_px")[row]])
    hull = cv2.convexHull(points.astype(np.float32))
    height, width = pairs.refined_NHW.shape[1:]
    far = [
        cv2.pointPolygonTest(hull, (float(x), float(y)), True) < -by_px
        for y in range(height)
        for x in range(width)
    ]
    return np.array(far).reshape(height, width)


# --- all kinds ----------------------------------------------------------------------------------


def test_names_are_unique_and_what_must_be_caught_is_marked():
    names = [damage.name for damage in DAMAGES]
    assert len(set(names)) == len(names)
    assert {damage.name for damage in DAMAGES if damage.must_catch} == MUST_CATCH


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_done_to_copies_and_is_the_same_for_a_seed(damage, pairs):
    before = pairs.parent_NHW.copy(), pairs.refined_NHW.copy()
    first, again, other = (damaged(damage, pairs, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.refined_NHW, again.refined_NHW)
    np.testing.assert_array_equal(first.label_rows_N, again.label_rows_N)
    assert first.refined_NHW.shape == pairs.refined_NHW.shape
    assert first.refined_NHW.dtype == np.uint8
    np.testing.assert_array_equal(pairs.parent_NHW, before[0])
    np.testing.assert_array_equal(pairs.refined_NHW, before[1])
    swapped = damage.kind == "labels_swapped"
    assert (first.refined_NHW == pairs.refined_NHW).all() == swapped
    assert (first.label_rows_N == np.arange(len(pairs))).all() != swapped
    drawn_at_random = {"shift", "iris_shift", "gaze", "lids_closed", "labels_swapped", "collapse"}
    drawn_at_random |= {"vertical_shift", "turn", "stretch"}
    same = (first.refined_NHW == other.refined_NHW).all()
    same &= bool((first.label_rows_N == other.label_rows_N).all())
    assert same == (damage.kind not in drawn_at_random)


# --- grey values --------------------------------------------------------------------------------


def test_simple_damage_is_exact(pairs):
    refined = pairs.refined_NHW
    assert (plant("inverted", None, pairs).refined_NHW + refined == 255).all()
    mirrored = plant("mirrored", None, pairs).refined_NHW
    assert all((mirrored[:, :, x] == refined[:, :, 54 - x]).all() for x in range(55))
    assert (plant("copied_parent", None, pairs).refined_NHW == pairs.parent_NHW).all()
    for image, flat in zip(refined, plant("constant", None, pairs).refined_NHW, strict=True):
        assert np.ptp(flat) == 0
        assert abs(flat[0, 0] - image.mean()) <= 0.5


def test_collapse_leaves_one_image(pairs):
    collapsed = plant("collapse", 1, pairs).refined_NHW.astype(int)
    differences = np.abs(collapsed[:, None] - pairs.refined_NHW.astype(int)).max(axis=(2, 3))
    assert (differences <= 1).all(axis=0).sum() == 1
    assert np.ptp(collapsed, axis=0).max() == 2


@pytest.mark.parametrize(("kind", "period_px"), [("checkerboard", 2), ("checkerboard_wide", 4)])
def test_a_checkerboard_has_its_amplitude_and_period(kind, period_px):
    flat = drawn(np.full((1, 35, 55), 100, np.uint8))
    board = plant(kind, 8, flat).refined_NHW[0].astype(int)
    assert set(np.unique(board)) == {92, 108}
    for axis in (0, 1):
        shifted = np.roll(board, period_px // 2, axis)
        inner = slice(period_px, -period_px)
        assert (shifted + board == 200)[inner, inner].all()


def test_blur_is_gaussian(pairs):
    point = np.zeros((1, 35, 55), np.uint8)
    point[0, 17, 27] = 255
    spread = plant("blur", 1.5, drawn(point)).refined_NHW[0].astype(float)
    x = np.arange(55) - 27
    assert np.sqrt((spread.sum(axis=0) * x**2).sum() / spread.sum()) == pytest.approx(1.5, abs=0.1)


# --- geometry -----------------------------------------------------------------------------------


def test_a_shift_moves_everything(pairs):
    result, moved = plant("shift", 2, pairs), moves("shift", 2, pairs)
    assert np.hypot(*moved.T) == pytest.approx(2)
    straight = 0
    for image, after, step in zip(pairs.refined_NHW, result.refined_NHW, moved, strict=True):
        x, y = np.rint(step).astype(int)
        if np.abs(step - (x, y)).max() < 1e-9:
            straight += 1
            expected = np.roll(image, (y, x), (0, 1))
            assert (after[3:-3, 3:-3] == expected[3:-3, 3:-3]).all()
    assert straight >= 3


def test_a_vertical_shift_moves_rows_up_or_down(pairs):
    result = plant("vertical_shift", 1, pairs)
    steps = set()
    for image, after in zip(pairs.refined_NHW, result.refined_NHW, strict=True):
        (step,) = (s for s in (-1, 1) if (after[2:-2] == np.roll(image, s, axis=0)[2:-2]).all())
        steps.add(step)
    assert steps == {-1, 1}


def middle_of(image):
    """(x, y) of the mean of a bright spot's grey values."""
    y, x = np.indices(image.shape)
    return np.array([(image * x).sum(), (image * y).sum()]) / image.sum()


@pytest.mark.parametrize(("kind", "size"), [("turn", 5), ("stretch", 6)])
def test_what_is_turned_or_stretched_is_so_about_the_middle(kind, size):
    spots = np.zeros((16, 35, 55))
    spots[:, 17, 47] = 255.0
    images = np.stack([cv2.GaussianBlur(spot, (0, 0), 1.5) * 14 for spot in spots]).astype(np.uint8)
    seen = set()
    for image in plant(kind, size, drawn(images)).refined_NHW:
        x, y = middle_of(image.astype(float)) - (27, 17)
        if kind == "turn":
            assert np.hypot(x, y) == pytest.approx(20, abs=0.1)
            assert abs(np.degrees(np.arctan2(y, x))) == pytest.approx(size, abs=0.1)
            seen.add(np.sign(y))
        else:
            assert abs(y) < 0.05 and abs(x - 20) == pytest.approx(1.2, abs=0.1)
            seen.add(np.sign(x - 20))
    assert seen == {-1, 1}


def test_jpeg_of_lower_quality_differs_more(pairs):
    change = [
        np.abs(plant("jpeg", quality, pairs).refined_NHW.astype(int) - pairs.refined_NHW).mean()
        for quality in (95, 20, 8)
    ]
    assert 0 < change[0] < 3 < change[1] < change[2]


@pytest.mark.parametrize("size_px", [1, 2, 3])
def test_the_iris_is_moved_by_as_much_as_is_said(size_px):
    eyes = drawn(np.stack([drawn_disc()] * 16))
    result, moved_N2 = plant("iris_shift", size_px, eyes), moves("iris_shift", size_px, eyes)
    assert np.hypot(*moved_N2.T) == pytest.approx(size_px)
    assert len(np.unique(np.rint(moved_N2 * 10), axis=0)) >= 5
    for image, moved in zip(result.refined_NHW, moved_N2, strict=True):
        center, amount = dark_mass(image)
        assert center - CENTER == pytest.approx(moved, abs=0.1)
        assert amount == pytest.approx(dark_mass(drawn_disc())[1], rel=0.02)


@pytest.mark.parametrize("yaw_deg", [0, 25])
def test_a_turned_eyeball_moves_and_foreshortens_the_iris(yaw_deg):
    yaw, angle = np.radians([yaw_deg, 10])
    gaze = np.array([-np.sin(yaw), 0.0, -np.cos(yaw)])
    eyes = drawn(np.stack([drawn_disc(gaze)] * 16), gaze)
    area_px2 = np.pi * RADIUS_PX**2
    moved_N2 = moves("gaze", 10, eyes)
    for image, moved in zip(plant("gaze", 10, eyes).refined_NHW, moved_N2, strict=True):
        center, amount = dark_mass(image)
        assert center - CENTER == pytest.approx(moved, abs=0.15)
        xy = gaze[:2] + moved / (IRIS_DEPTH * RADIUS_PX)
        turned = np.array([*xy, -np.sqrt(1 - xy @ xy)])
        assert turned @ gaze == pytest.approx(np.cos(angle))
        assert amount == pytest.approx(-turned[2] * area_px2, rel=0.02)


def test_an_eye_at_the_side_turns_back():
    gaze = np.array([-np.sin(np.radians(58)), 0.0, -np.cos(np.radians(58))])
    moved_N2 = moves("gaze", 10, drawn(np.stack([drawn_disc(gaze)] * 32), gaze))
    turned_x = gaze[0] + moved_N2[:, 0] / (IRIS_DEPTH * RADIUS_PX)
    assert turned_x.min() >= -np.sin(np.radians(60)) - 1e-6


def test_the_iris_lies_as_deep_in_built_in_eyes_as_is_assumed(pairs):
    """Independent of the warp: the labels' iris centres against their gaze, sideways."""
    iris, lid, gaze = (pairs.numbers(name) for name in ("iris_px", "lid_px", "gaze"))
    center = iris.mean(axis=1)
    radius = np.linalg.norm(iris - center[:, None], axis=2).max(axis=1)
    offset = (center - lid.mean(axis=1))[:, 0] / radius
    head = np.sin(pairs.numbers("head_yaw_rad"))
    columns = np.stack([gaze[:, 0], head, np.ones(len(gaze))], axis=1)
    depth = np.linalg.lstsq(columns, offset, rcond=None)[0][0]
    assert depth == pytest.approx(IRIS_DEPTH, rel=0.1)


@pytest.mark.parametrize(("kind", "size"), [("iris_shift", 3), ("gaze", 10)])
def test_lids_and_skin_stay(kind, size, pairs):
    result = plant(kind, size, pairs)
    for row in range(len(pairs)):
        away = outside_lids(pairs, row, 0.0)
        assert away.mean() > 0.5
        assert (result.refined_NHW[row] == pairs.refined_NHW[row])[away].all()


def test_nothing_folds_or_tears():
    ramp = np.broadcast_to((np.arange(55) * 4).astype(np.uint8), (16, 35, 55)).copy()
    result = plant("iris_shift", 3, drawn(ramp))
    steps = np.diff(result.refined_NHW.astype(int), axis=2)[:, 8:27]
    assert (result.refined_NHW != ramp).any()
    assert steps.min() >= 0
    assert steps.max() <= 10


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "size"), [("iris_shift", 2), ("gaze", 10)])
def test_the_iris_finder_sees_irises_elsewhere(kind, size, pairs):
    result = plant(kind, size, pairs)
    windows, finder = pairs.numbers("iris_px").mean(axis=1), PupilFinder()
    before, after = (
        find_centers(images, windows, finder) for images in (pairs.refined_NHW, result.refined_NHW)
    )
    moved_x_N = moves(kind, size, pairs)[:, 0]
    sideways = np.abs(moved_x_N) > 1.2
    measured = same_circle(before, after) & sideways
    assert measured.sum() >= 4
    found_x_N = (after.center_N2 - before.center_N2)[measured, 0]
    share = found_x_N / moved_x_N[measured]
    assert np.median(share) == pytest.approx(1, abs=0.15)


def test_closed_lids_leave_nothing_of_the_eye():
    lids = 0.7 * LIDS + 0.3 * np.array([27.0, 17.0])
    inside = np.zeros((35, 55), np.uint8)
    cv2.fillPoly(inside, [np.rint(lids).astype(int)], 1)
    picture = np.where(inside, WHITE, SKIN)
    picture[drawn_disc() < 100] = IRIS
    eyes = drawn(picture.astype(np.uint8)[None], lids=lids)
    closed = plant("lids_closed", None, eyes).refined_NHW[0].astype(float)
    assert closed.max() < SKIN + 40
    assert closed.min() > IRIS + 10
    meet = closed[:, 20:34].mean(axis=1)
    assert meet.argmin() >= 24
    far = outside_lids(eyes, 0, 6.0)
    assert (closed[far] == SKIN).all()


@pytest.mark.slow
def test_no_iris_is_found_behind_closed_lids(pairs):
    closed = plant("lids_closed", None, pairs).refined_NHW
    windows = pairs.numbers("iris_px").mean(axis=1)
    assert find_centers(pairs.refined_NHW, windows, PupilFinder()).abstained_share < 0.7
    assert find_centers(closed, windows, PupilFinder()).abstained_share > 0.9


def test_an_opening_is_bounded_by_its_outline():
    square = np.array([[[10.0, 5.25], [20.0, 5.25], [20.0, 9.5], [10.0, 9.5]]])
    opening = Opening.of(square, 30)
    assert opening.upper_NW[0] == pytest.approx(5.25)
    assert opening.lower_NW[0] == pytest.approx(9.5)
    inside = opening.inside(0.5, 15)[0]
    assert inside[:, 12] == pytest.approx([0] * 6 + [0.25, 1, 1, 0] + [0] * 5)
    assert not inside[:, [9, 21]].any()


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("num", [24, 23])
def test_swapped_labels_change_places_in_pairs(num, pairs):
    some = pairs.take(np.arange(num))
    result = plant("labels_swapped", None, some)
    rows = result.label_rows_N
    assert (rows[rows] == np.arange(num)).all()
    assert (rows == np.arange(num)).sum() == num % 2
    gaze = some.numbers("gaze")
    for row, other in enumerate(rows):
        chord = np.linalg.norm(gaze[row] - gaze[other])
        expected = np.degrees(2 * np.arcsin(chord / 2))
        assert abs(expected - LEAST_SWAP_DEG) > 0.01
        assert result.is_harmed_N[row] == (expected >= LEAST_SWAP_DEG)


# --- errors, and the page -----------------------------------------------------------------------


def test_pairs_must_fit_together(pairs):
    images, labels = pairs.refined_NHW, pairs.labels
    with pytest.raises(ValueError, match=r"refined images: expected .* float32"):
        Pairs(images, images.astype(np.float32), labels)
    with pytest.raises(ValueError, match=r"parent images: expected .*\(35, 55\)"):
        Pairs(images[0], images, labels)
    with pytest.raises(ValueError, match=r"parents are \(24, 35, 54\)"):
        Pairs(images[:, :, 1:], images, labels)
    with pytest.raises(ValueError, match="23 images, 24 labels"):
        Pairs(images[1:], images[1:], labels)
    with pytest.raises(ValueError, match="no images"):
        pairs.take(np.arange(0))


def test_labels_that_are_not_there_are_named(pairs):
    images = pairs.refined_NHW
    without = Pairs(images, images, pairs.labels.drop_columns(["lid_px"]))
    with pytest.raises(ValueError, match="lid_px"):
        plant("iris_shift", 1, without)
    field = pairs.labels.schema.get_field_index("gaze")
    kind = pairs.labels.schema.field("gaze").type
    values = [None, *pairs.labels["gaze"].to_pylist()[1:]]
    lacking = Pairs(images, images, pairs.labels.set_column(field, "gaze", pa.array(values, kind)))
    with pytest.raises(ValueError, match="gaze, which 1 of 24 rows lack"):
        plant("gaze", 5, lacking)
    with pytest.raises(ValueError, match=r"lids from x .* outside a picture 55 px wide"):
        plant("iris_shift", 1, drawn(images[:2], lids=LIDS + 100))
    with pytest.raises(ValueError, match="no damage of kind 'rust', only shift"):
        plant("rust", 1, pairs)
    with pytest.raises(ValueError, match="blur needs a size"):
        plant("blur", None, pairs)
