"""What a report says of each witness: its floor, its own error, its agreement with others."""

import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.columns import values_of
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.pupil.calibration import (
    CAMERA_LOOK,
    DEGRADED_LOOK,
    calibrate,
    shifted,
)
from factory.domains.eye.pupil.camera_pairs import CameraPairs, camera_pairs
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.witnesses import (
    DRIFTS,
    measure_null,
    witnesses_of,
)
from factory.validation.witnesses import PLAIN, agreement_of
from support.networks import saved_landmarks

WITNESSES = EyeWitnesses(finder=PupilFinder())


@pytest.fixture(scope="module")
def eyes(synthetic) -> tuple[pa.Table, np.ndarray]:
    shards = synthetic.committed()
    rows = pa.concat_tables(synthetic.index(s).replace_schema_metadata() for s in shards)
    return rows, np.concatenate([synthetic.images(s) for s in shards])


@pytest.fixture(scope="module")
def pairs() -> CameraPairs:
    return camera_pairs(EyeCrop(), 12, seed=4)


@pytest.fixture(scope="module")
def pupil(eyes, pairs):
    rows, images = eyes
    truth = np.array(rows["iris_px"].to_pylist()).mean(axis=1)
    width = values_of(rows, "eye_width_px")
    return calibrate(images, truth, width, PupilFinder(), 0, pairs).summary


@pytest.mark.slow
def test_labels_of_camera_pairs_fit_their_images(pairs):
    iris = np.array(pairs.labels["iris_px"].to_pylist()).mean(axis=1)
    assert iris == pytest.approx(pairs.center_N2, abs=1e-3)
    assert len(pairs.labels) == len(pairs.render_NHW) == len(pairs.camera_NHW)


@pytest.mark.slow
def test_every_look_has_its_null_drift(eyes, pairs, pupil):
    rows, images = eyes
    null = measure_null(images, rows, pairs, WITNESSES, seed=1)
    assert {PLAIN, CAMERA_LOOK, DEGRADED_LOOK} <= null.keys()
    assert values_of(null[PLAIN], "registration_px") == pytest.approx(0, abs=0.05)
    moved = shifted(images, np.full((len(images), 2), (1.5, 2.0)))
    measures = EyeMeasurer(WITNESSES)(rows, images, moved)
    report = witnesses_of(measures, null, WITNESSES, pupil)
    assert report.iris is None and report.lids is None and report.gaze is None
    for witness in (report.pupil, report.registration, report.iris_registration):
        assert witness.drift.median == pytest.approx(2.5, abs=0.3)
        assert witness.floor.median < 1.0 < witness.drift.median_low
        assert {line.look for line in witness.null_drift} >= {"blur", "noise"}
        assert sum(line.num_samples for line in witness.bins) % len(images) == 0
    assert report.pupil.mean_shift == pytest.approx((1.5, 2.0), abs=0.2)
    assert report.pupil.floor == pupil.null_drift_px
    assert sum(report.pupil.unmeasured.values()) == len(images) - report.pupil.num_measured
    conditions = {line.by.split(",")[0] for line in report.pupil.bins}
    assert conditions == {
        "gaze yaw", "gaze pitch", "head yaw", "head pitch", "lid opening",
        "brightness of the render",
    }  # fmt: skip


@pytest.mark.slow
def test_networks_have_an_error_of_their_own(eyes, pairs, pupil, synthetic, tmp_path):
    rows, images = eyes
    network = saved_landmarks(synthetic, tmp_path / "landmarks")
    witnesses = EyeWitnesses.of(PupilFinder(), network, None, synthetic.card.image)
    null = measure_null(images[:6], rows.slice(0, 6), pairs, witnesses, seed=1)
    measures = EyeMeasurer(witnesses, with_pupil=False)(rows, images, images)
    report = witnesses_of(measures, null, witnesses, pupil)
    assert report.iris.network == report.lids.network == witnesses.landmarks_sha256
    assert report.iris.drift.mean == 0 and report.iris.mean_shift == (0, 0)
    assert report.iris.error.num == 6 and report.iris.error.mean > 0
    assert report.iris.label_error.num == len(images)
    assert report.pupil.drift is None and report.pupil.num_measured == 0


@pytest.mark.slow
def test_witnesses_of_the_same_movement_agree(eyes):
    rows, images = eyes
    rng = np.random.default_rng(0)
    size = np.linspace(0, 3, len(images))[:, None]
    angle = rng.uniform(0, 2 * np.pi, len(images))
    shift = size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    measures = EyeMeasurer(WITNESSES)(rows, images, shifted(images, shift))
    lines = {(line.first, line.second): line for line in agreement_of(measures, DRIFTS)}
    both = lines["registration", "iris_registration"]
    assert both.rank_correlation > 0.95 and both.median_difference_px < 0.1
    assert both.num == len(images)
    still = EyeMeasurer(WITNESSES)(rows, images, images)
    constant = {(line.first, line.second): line for line in agreement_of(still, DRIFTS)}
    assert constant["pupil", "registration"].rank_correlation is None
