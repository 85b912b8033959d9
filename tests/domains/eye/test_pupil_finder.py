"""The iris finder on eyes drawn around a centre of our choice, and on research data."""

import functools
import sys

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from factory.domains.eye.pupil.calibration import (
    CAMERA_LOOK,
    calibrate,
    looks,
    shifted,
)
from factory.domains.eye.pupil.camera_pairs import CameraPairs
from factory.domains.eye.pupil.drift import find_centers
from factory.domains.eye.pupil.finder import (
    CIRCLE,
    Abstained,
    PupilFinder,
    PupilFit,
)
from support.drawn_eyes import CENTERS, drawn_eye, drawn_eyes
from support.places import ROOT, SHARED

needs_research_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}")
FINDER = PupilFinder()


def found(image, window, finder=FINDER):
    fit = finder.find(image, window)
    assert isinstance(fit, PupilFit), fit
    return np.array(fit.center_px)


@pytest.mark.parametrize("center", CENTERS)
def test_a_drawn_iris_is_found_to_a_fraction_of_a_pixel(center):
    assert np.abs(found(drawn_eye(center), (27.0, 17.0)) - center).max() < 0.25


@pytest.mark.parametrize("radius_px", [8.5, 9.0, 10.5, 12.0])
def test_the_circle_measured_is_the_iris(radius_px):
    assert CIRCLE == "iris"
    fit = FINDER.find(drawn_eye((27.3, 17.2), radius_px, lids_px=(-9.0, 9.0)), (27.0, 17.0))
    assert isinstance(fit, PupilFit)
    assert np.mean(fit.axes_px) == pytest.approx(radius_px, abs=0.3)


def test_an_ellipse_is_measured():
    fit = FINDER.find(drawn_eye((27.0, 17.0), 10.0, aspect=0.85, lids_px=(-12, 12)), (27.0, 17.0))
    assert isinstance(fit, PupilFit)
    assert fit.axes_px[0] - fit.axes_px[1] > 0.1, "elongation is shrunk, but not to nothing"
    assert abs(abs(fit.angle_rad) - np.pi / 2) < 0.2
    assert np.abs(np.array(fit.center_px) - (27.0, 17.0)).max() < 0.2


@pytest.mark.parametrize("lids_px", [(-5.0, 7.0), (-7.0, 5.0), (-6.0, 6.0)])
def test_lids_do_not_push_the_centre(lids_px):
    offset = found(drawn_eye((27.3, 17.2), lids_px=lids_px), (27.0, 17.0)) - (27.3, 17.2)
    assert abs(offset[0]) < 0.2
    assert abs(offset[1]) < 0.6


@pytest.mark.slow
def test_the_place_of_the_window_does_not_matter():
    image = drawn_eye((27.3, 17.2))
    rng = np.random.default_rng(0)
    centers = [found(image, tuple(np.add((27.3, 17.2), rng.uniform(-5, 5, 2)))) for _ in range(20)]
    assert np.ptp(centers, axis=0).max() < 0.1


def test_an_iris_outside_the_window_is_not_reported():
    image = drawn_eye((27.3, 17.2))
    for window in [(37.0, 17.0), (17.0, 17.0)]:
        assert isinstance(FINDER.find(image, window), Abstained)


@pytest.mark.parametrize("shift_px", [0.5, 1.0, 2.0])
def test_planted_shifts_are_recovered(shift_px):
    error = []
    for number, center in enumerate(CENTERS):
        image = drawn_eye(center, seed=number)
        angle = number * 2 * np.pi / len(CENTERS)
        direction = np.array([np.cos(angle), np.sin(angle)])
        moved = shifted(image[None], shift_px * direction[None])[0]
        step = found(moved, (27.0, 17.0)) - found(image, (27.0, 17.0))
        error.append(step @ direction - shift_px)
    assert abs(np.mean(error)) < 0.1
    assert np.abs(error).max() < 0.25


@pytest.mark.slow
def test_looks_move_nothing():
    images = drawn_eyes()
    windows = np.full((len(images), 2), (27.0, 17.0))
    plain = find_centers(images, windows, FINDER).center_N2
    for name, changed in looks(images, np.random.default_rng(0)).items():
        drift = np.hypot(*(find_centers(changed, windows, FINDER).center_N2 - plain).T)
        assert np.nanmedian(drift) < 0.3, name


@pytest.mark.slow
def test_it_abstains_where_there_is_no_iris():
    rng = np.random.default_rng(0)
    assert FINDER.find(np.full((35, 55), 90, np.uint8), (27.0, 17.0)) == Abstained("flat")
    noise = rng.integers(0, 256, (40, 35, 55), dtype=np.uint8)
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 2.0) for image in noise])
    windows = np.full((len(noise), 2), (27.0, 17.0))
    assert find_centers(noise, windows, FINDER).abstained_share == 1
    assert find_centers(smooth, windows, FINDER).abstained_share > 0.9
    closed = drawn_eye((27.0, 17.0), lids_px=(0.5, 0.5))
    assert isinstance(FINDER.find(closed, (27.0, 17.0)), Abstained)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValidationError, match="window_radius_px"):
        PupilFinder(window_radius_px=5.9)
    with pytest.raises(ValueError, match="uint8"):
        FINDER.find(np.zeros((35, 55), np.float32), (27.0, 17.0))
    with pytest.raises(ValueError, match="finite"):
        FINDER.find(np.zeros((35, 55), np.uint8), (np.nan, 17.0))
    with pytest.raises(ValidationError, match="radius"):
        PupilFinder(min_radius=0.3, max_radius=0.2)


@pytest.mark.slow
def test_calibration_of_drawn_eyes():
    rng = np.random.default_rng(0)
    truth = rng.uniform((24, 16), (30, 18), (14, 2))
    images = drawn_eyes(truth)
    cameras = np.stack([cv2.GaussianBlur(image, (0, 0), 0.7) for image in images])
    widths = np.full(len(images), 40.0)
    pairs = CameraPairs(images, cameras, truth, pa.table({}))
    calibration = calibrate(images, truth, widths, FINDER, 0, pairs, "drawn")
    summary = calibration.summary
    assert summary.circle == "iris"
    assert summary.error_px.median < 0.2
    assert summary.error_percent_eye_width.median == pytest.approx(
        100 * summary.error_px.median / 40
    )
    assert [shift.shift_px for shift in summary.shifts] == [0.5, 1.0, 2.0]
    assert all(abs(shift.mean_signed_error_px) < 0.1 for shift in summary.shifts)
    assert CAMERA_LOOK in [null.look for null in summary.null_drift]
    assert len(calibration.null_drift_px) == summary.null_drift_px.num
    assert calibrate(images, truth, widths, FINDER, 0, pairs, "drawn").summary == summary
    with pytest.raises(ValueError, match="one iris centre"):
        calibrate(images, truth[:3], widths, FINDER, 0)


# --- research data ------------------------------------------------------------------------------


@functools.cache
def bench():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import bench_pupil

    return bench_pupil


@needs_research_data
@pytest.mark.slow
def test_bounds_on_unityeyes_renders():
    truth = bench().unityeyes(SHARED / "unityeyes" / "imgs-0001-4000.tar", 200, skip=2000)
    rows = (np.abs(truth.gaze_deg_N2) < bench().IN_RANGE_DEG).all(axis=1)
    summary = calibrate(
        truth.images_NHW[rows], truth.center_N2[rows], np.full(rows.sum(), 40.0), FINDER, 0
    ).summary
    # measured on these 78 eyes: 0.89, 3.00, 0.53, 0.22
    _within(summary, median_px=1.3, p95_px=4.5, abstained=0.65, null_px=0.5)


@needs_research_data
@pytest.mark.long
def test_bounds_on_hand_made_masks():
    truth = bench().read_masks(SHARED / "eye-masks" / "eyes-with-masks.tar", 150, skip=200)
    widths = np.full(len(truth.images_NHW), 40.0)
    summary = calibrate(truth.images_NHW, truth.center_N2, widths, FINDER, 0).summary
    _within(summary, median_px=1.5, p95_px=5.0, abstained=0.65, null_px=0.4)


def _within(summary, median_px, p95_px, abstained, null_px):
    assert summary.error_px.median < median_px
    assert summary.error_px.p95 < p95_px
    assert summary.abstained_share < abstained
    assert all(abs(shift.mean_signed_error_px) < 0.1 for shift in summary.shifts)
    assert summary.null_drift_px.median <= null_px
    assert all(null.drift_px.median < 0.6 for null in summary.null_drift)
