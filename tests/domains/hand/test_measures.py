"""Measurements of hands: planted displacements come back, every kind of damage shows somewhere,
and a sensor's look alone reads as little."""

import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.columns import values_of
from factory.domains.hand.looks import (
    SENSOR_LOOK,
    deepened,
    in_look,
    moved,
)
from factory.domains.hand.measures import (
    VISIBLE_MM,
    HandMeasurer,
    HandWitnesses,
    skin_mm,
)
from schemas.base import FormatError
from schemas.dataset import ImageSpec
from schemas.hand.measures import HAND_MEASURE_MEANINGS, HAND_MEASURES_SCHEMA
from support.hand_pairs import SKIN_MM, drawn_hands
from support.networks import saved_joints

NUM = 8
IMAGE = ImageSpec(height=224, width=224, bits=16)


@pytest.fixture(scope="module")
def hands() -> tuple[pa.Table, np.ndarray]:
    return drawn_hands(NUM, seed=3)


def measured(hands, refined: np.ndarray) -> pa.Table:
    rows, parent = hands
    return HandMeasurer(HandWitnesses())(rows, parent, refined)


def column(table: pa.Table, name: str) -> np.ndarray:
    return values_of(table, name)


# --- what was planted comes back ------------------------------------------------------------------


def test_an_untouched_copy_has_not_moved_nor_changed(hands) -> None:
    measures = measured(hands, hands[1])
    for name in ("silhouette_drift_px", "edge_drift_px", "joint_depth_error_mm", "lost_share",
                 "grown_share", "lost_joint_share", "mean_abs_change"):  # fmt: skip
        assert column(measures, name) == pytest.approx(0, abs=1e-6), name
    assert column(measures, "likeness") == pytest.approx(1) and measures["reason"].null_count == NUM
    assert measures.schema == HAND_MEASURES_SCHEMA


@pytest.mark.slow
@pytest.mark.parametrize("shift_px", [0.5, 1.0, 2.0, 3.0])
def test_a_planted_shift_comes_back_through_a_sensors_look(hands, shift_px) -> None:
    angle = np.linspace(0, 2 * np.pi, NUM, endpoint=False)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    measures = measured(hands, in_look(moved(hands[1], shift_px * direction), SENSOR_LOOK, seed=1))
    shift = np.stack([column(measures, f"silhouette_shift_{axis}_px") for axis in "xy"], axis=1)
    along = (shift * direction).sum(axis=1)
    assert along.mean() == pytest.approx(shift_px, abs=0.12)
    assert along.std() < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("by_mm", [1, 2, 5])
def test_a_planted_change_of_depth_comes_back(hands, by_mm) -> None:
    measures = measured(hands, in_look(deepened(hands[1], by_mm), SENSOR_LOOK, seed=1))
    assert column(measures, "joint_depth_shift_mm").mean() == pytest.approx(by_mm, abs=0.4)
    plain = measured(hands, deepened(hands[1], by_mm))
    assert column(plain, "joint_depth_shift_mm") == pytest.approx(by_mm)
    assert column(plain, "joint_depth_error_mm") == pytest.approx(by_mm)
    assert column(plain, "silhouette_drift_px") == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_a_look_alone_is_little_drift_and_shows_as_a_look(hands) -> None:
    plain, sensed = measured(hands, hands[1]), measured(hands, in_look(hands[1], SENSOR_LOOK, 1))
    assert np.median(column(sensed, "silhouette_drift_px")) < 0.35
    assert np.median(column(sensed, "edge_drift_px")) < 0.5
    assert np.median(column(sensed, "joint_depth_error_mm")) < 2
    assert column(sensed, "label_fit").min() > 0.95
    for name in ("hole_rate", "raggedness_px", "noise_mm"):
        assert column(sensed, name).min() > column(plain, name).max(), name
    assert 0.005 < np.median(column(sensed, "mean_abs_change")) < 0.05


# --- damage shows ---------------------------------------------------------------------------------


def test_an_emptied_picture_is_no_measurement_but_a_loss(hands) -> None:
    measures = measured(hands, np.zeros_like(hands[1]))
    assert set(measures["reason"].to_pylist()) == {"no hand in the refined picture"}
    assert measures["silhouette_drift_px"].null_count == measures["edge_drift_px"].null_count == NUM
    assert measures["joint_depth_error_mm"].null_count == NUM
    assert column(measures, "lost_share") == pytest.approx(1)
    assert column(measures, "lost_joint_share") == pytest.approx(1)
    assert column(measures, "label_fit") == pytest.approx(0)


def test_a_constant_picture_has_no_outline_and_no_contrast(hands) -> None:
    measures = measured(hands, np.full_like(hands[1], 140))
    assert set(measures["reason"].to_pylist()) == {"no outline in the picture"}
    assert column(measures, "contrast") == pytest.approx(0, abs=1e-5)
    assert column(measures, "grown_share").min() > 0.5


@pytest.mark.slow
def test_inverted_depth_is_unlike_and_far_off(hands) -> None:
    inverted = np.where(hands[1] > 0, 302 - hands[1].astype(int), 0).astype(np.uint16)
    measures = measured(hands, inverted)
    assert column(measures, "depth_likeness").max() < -0.9
    assert np.median(column(measures, "joint_depth_error_mm")) > 20
    assert column(measures, "silhouette_drift_px") == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_a_mirrored_hand_gains_by_being_mirrored(hands) -> None:
    measures = measured(hands, np.ascontiguousarray(hands[1][:, :, ::-1]))
    assert column(measures, "mirror_gain").min() > 0.02
    assert column(measured(hands, hands[1]), "mirror_gain").max() < 0
    assert np.median(column(measures, "edge_drift_px")) > 1.5


@pytest.mark.slow
def test_another_hands_labels_do_not_fit(hands) -> None:
    rows, images = hands
    swapped = measured((rows, images), np.roll(images, 1, axis=0))
    assert np.median(column(swapped, "label_fit")) < 0.8
    assert np.median(column(measured(hands, images), "label_fit")) > 0.97
    assert np.median(column(swapped, "likeness")) < 0.9


@pytest.mark.slow
def test_one_picture_for_all_is_alike(hands) -> None:
    one = measured(hands, np.repeat(hands[1][:1], NUM, axis=0))
    assert (
        column(one, "alike_ratio")[1:].max()
        < 0.01
        < 0.9
        < column(measured(hands, hands[1]), "alike_ratio").min()
    )


def test_a_finger_that_is_gone_is_lost_pixels_and_joints(hands) -> None:
    rows, images = hands
    cut = images.copy()
    for image, joints in zip(cut, rows["joints_uvd"].to_pylist(), strict=True):
        for u, v, _ in joints[33:36]:
            image[round(v) - 8 : round(v) + 9, round(u) - 8 : round(u) + 9] = 0
    measures = measured(hands, cut)
    assert column(measures, "lost_share").min() > 0.01
    assert column(measures, "edge_growth_px").max() < 0


# --- joints ---------------------------------------------------------------------------------------


def test_hidden_joints_are_not_asked(hands) -> None:
    rows, images = hands
    uvd = np.array(rows["joints14_uvd"].to_pylist())
    before = uvd[..., 2] - skin_mm(images, uvd)
    measures = measured(hands, images)
    assert column(measures, "visible_share") == pytest.approx((before <= VISIBLE_MM).mean(axis=1))
    assert np.nanmedian(before) == pytest.approx(SKIN_MM, abs=2)
    assert column(measures, "visible_share").min() > 0.5


def test_skin_beyond_the_border_or_of_a_thin_shred_is_not_known() -> None:
    image = np.zeros((1, 224, 224), np.uint16)
    image[0, 100, :] = 90
    places = np.array([[[-5.0, 10, 90], [100, 100, 90], [230, 100, 90], [100, 50, 90]]])
    assert np.isnan(skin_mm(image, places)).all()
    image[0, 98:102] = 90
    assert (
        skin_mm(image, places)[0, 1] == 90 and np.isnan(skin_mm(image, places)[0, [0, 2, 3]]).all()
    )


@pytest.mark.slow
def test_the_joint_networks_answers_are_compared(hands, tmp_path) -> None:
    rows, images = hands
    witnesses = HandWitnesses.of(saved_joints(tmp_path / "net"), IMAGE)
    measures = HandMeasurer(witnesses)(rows, images, images)
    assert column(measures, "joint_drift_px") == pytest.approx(0, abs=1e-4)
    assert column(measures, "joint_error_px").min() > 0
    other = HandMeasurer(witnesses)(rows, images, moved(images, np.full((NUM, 2), (8, 0))))
    shift = np.hypot(column(other, "joint_shift_x_px"), column(other, "joint_shift_y_px"))
    assert (column(other, "joint_drift_px") >= shift - 1e-3).all() and shift.max() > 0
    empty = HandMeasurer(witnesses)(rows, images, np.zeros_like(images))
    assert empty["joint_drift_px"].null_count == NUM
    assert measured(hands, images)["joint_drift_px"].null_count == NUM


def test_a_network_for_other_images_is_refused(tmp_path) -> None:
    network = saved_joints(tmp_path / "net")
    with pytest.raises(ValueError, match="images are"):
        HandWitnesses.of(network, ImageSpec(height=35, width=55))
    (tmp_path / "net" / "joints.safetensors").write_bytes(b"damaged")
    with pytest.raises(FormatError, match="copy both again"):
        HandWitnesses.of(network, IMAGE)
    with pytest.raises(FileNotFoundError, match=r"jobs/estimator\.py joints"):
        HandWitnesses.of(str(tmp_path / "nowhere"), IMAGE)


def test_what_decides_a_measurement_decides_the_digest(tmp_path) -> None:
    witnesses = HandWitnesses.of(saved_joints(tmp_path / "net"), IMAGE)
    elsewhere = witnesses.model_copy(update={"joints": "s3://moved"})
    assert witnesses.digest() == elsewhere.digest() != HandWitnesses().digest()


# --- the table ------------------------------------------------------------------------------------


def test_rows_keep_their_order_and_every_measure_has_a_meaning(hands) -> None:
    measures = measured(hands, hands[1])
    assert measures["key"].to_pylist() == hands[0]["key"].to_pylist()
    assert set(HAND_MEASURE_MEANINGS) < set(HAND_MEASURES_SCHEMA.names)
    assert all(HAND_MEASURE_MEANINGS.values())


def test_wrong_pictures_are_refused_and_none_are_no_rows(hands) -> None:
    rows, images = hands
    measurer = HandMeasurer(HandWitnesses())
    with pytest.raises(ValueError, match="16-bit depth, found"):
        measurer(rows, images.astype(np.uint8), images)
    with pytest.raises(ValueError, match="8 rows, 8 parent and 3 refined"):
        measurer(rows, images, images[:3])
    assert len(measurer(rows.slice(0, 0), images[:0], images[:0])) == 0
