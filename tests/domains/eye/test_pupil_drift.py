"""The drift table: exact where the truth is known."""

import numpy as np
import pyarrow as pa
import pytest

from factory.domains.eye.pupil.calibration import shifted
from factory.domains.eye.pupil.drift import DriftTable, measure_drift
from factory.domains.eye.pupil.finder import PupilFinder
from factory.measures.statistics import spread
from support.drawn_eyes import CENTERS, drawn_eyes

FINDER = PupilFinder()
KNOWN = DriftTable(
    keys=["a", "b", "c", "d"],
    parent_N2=np.array([[20.0, 10.0], [21.0, 11.0], [np.nan, np.nan], [22.0, 12.0]]),
    refined_N2=np.array([[23.0, 14.0], [21.0, 12.0], [20.0, 10.0], [np.nan, np.nan]]),
    reasons=["", "", "parent:arc", "refined:faint"],
    eye_width_px_N=np.array([40.0, 20.0, 40.0, 40.0]),
    gaze_yaw_rad_N=np.radians([0.0, 3.0, 12.0, 12.0]),
    gaze_pitch_rad_N=np.radians([-1.0, 2.0, -11.0, -11.0]),
)


@pytest.fixture(scope="module")
def pairs():
    images = np.concatenate([drawn_eyes(), np.full((1, 35, 55), 7, np.uint8)])
    num = len(images)
    rows = pa.table(
        {
            "pupil_px": [(27.0, 17.0)] * num,
            "eye_width_px": np.full(num, 40.0),
            "gaze_yaw_rad": np.linspace(-0.3, 0.3, num),
            "gaze_pitch_rad": np.linspace(0.1, -0.2, num),
            "key": [f"000000-{n:06d}" for n in range(num)],
        }
    )
    return images, rows


def test_equal_images_do_not_drift_at_all(pairs):
    images, rows = pairs
    table = measure_drift(rows, images, images.copy(), FINDER)
    summary = table.summary()
    assert (table.measured_px() == 0).all()
    assert summary.num_measured == len(CENTERS)
    assert summary.abstained == {"parent:flat": 1}
    assert summary.mean_shift_px == (0, 0)


def test_a_planted_drift_is_measured(pairs):
    images, rows = pairs
    moved = shifted(images, np.full((len(images), 2), (1.2, -1.6)))
    summary = measure_drift(rows, images, moved, FINDER).summary()
    assert summary.drift_px is not None
    assert summary.drift_px.median == pytest.approx(2.0, abs=0.15)
    assert summary.mean_shift_px == pytest.approx((1.2, -1.6), abs=0.15)


def test_summary_of_a_known_table():
    summary = KNOWN.summary()
    assert (summary.num_samples, summary.num_measured) == (4, 2)
    assert summary.abstained == {"parent:arc": 1, "refined:faint": 1}
    assert summary.drift_px == spread(np.array([5.0, 1.0]))
    assert summary.drift_px.mean == 3 and summary.drift_px.sd == 2
    assert summary.drift_percent_eye_width == spread(np.array([12.5, 5.0]))
    assert summary.mean_shift_px == (1.5, 2.5)
    ahead, aside = summary.bins
    assert (ahead.yaw_deg, ahead.pitch_deg) == ((-5, 5), (-5, 5))
    assert ahead.num_samples == 2 and ahead.drift_px == summary.drift_px
    assert (aside.yaw_deg, aside.pitch_deg) == ((5, 15), (-15, -5))
    assert aside.num_samples == 2 and aside.drift_px is None


def test_nothing_measured_is_none_not_zero():
    fields = {name: value[2:] for name, value in vars(KNOWN).items()}
    summary = DriftTable(**fields).summary()
    assert summary.num_measured == 0
    assert summary.drift_px is None and summary.mean_shift_px is None
    with pytest.raises(ValueError, match="nothing"):
        spread(np.array([np.nan]))


def test_what_the_measurements_lack_was_not_measured():
    columns = {
        "key": KNOWN.keys,
        "pupil_reason": KNOWN.reasons,
        "eye_width_px": KNOWN.eye_width_px_N,
        "gaze_yaw_rad": KNOWN.gaze_yaw_rad_N,
        "gaze_pitch_rad": KNOWN.gaze_pitch_rad_N,
    }
    for image, centre_N2 in (("parent", KNOWN.parent_N2), ("refined", KNOWN.refined_N2)):
        for axis, values in zip("xy", centre_N2.T, strict=True):
            columns[f"pupil_{image}_{axis}_px"] = pa.array(values, from_pandas=True)
    measures = pa.table(columns)
    assert measures["pupil_parent_x_px"].null_count == 1
    assert DriftTable.from_measures(measures).summary() == KNOWN.summary()


def test_arguments_of_different_lengths_are_refused(pairs):
    images, rows = pairs
    with pytest.raises(ValueError, match="6 windows for 2 images"):
        measure_drift(rows, images, images[:2], FINDER)
