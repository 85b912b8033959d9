"""MediaPipe's iris model as a witness: what it is shown, and what its answers become."""

import hashlib
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from factory.dataset.columns import values_of
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.networks import mediapipe, mediapipe_wheel
from factory.domains.eye.networks.mediapipe import (
    INPUT_PX,
    MODEL_NAME,
    MODEL_SHA256,
    check_model,
    found_iris_px,
    load_model,
)
from factory.domains.eye.networks.mediapipe_wheel import download_wheel, main
from factory.domains.eye.pupil.calibration import FLOOR_LOOKS, shifted
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.witnesses import witnesses_of
from factory.store.extras import MissingExtraError
from factory.validation.witnesses import PLAIN
from schemas.base import FormatError
from schemas.eye.estimators import MediapipeSource
from schemas.eye.report import EyeReport
from support.report_example import example_calibration, example_report

PLACE = os.environ.get("SIMGAN_MEDIAPIPE")
"""a folder that `mediapipe_wheel` wrote"""
needs_model = pytest.mark.skipif(
    PLACE is None, reason="SIMGAN_MEDIAPIPE does not name a folder with MediaPipe's iris model"
)
WITNESSES = EyeWitnesses(finder=PupilFinder(), mediapipe="place", mediapipe_sha256=MODEL_SHA256)


def disc_finder(given_HW3: np.ndarray) -> np.ndarray:
    """A model that takes the centroid of what is dark for the iris, in MediaPipe's pixels."""
    assert given_HW3.shape == (INPUT_PX, INPUT_PX, 3) and given_HW3.dtype == np.float32
    dark = 1 - given_HW3[:, :, 1]
    y, x = np.mgrid[:INPUT_PX, :INPUT_PX] + 0.5
    center = (dark * x).sum() / dark.sum(), (dark * y).sum() / dark.sum()
    return np.tile(center, (5, 1))


def discs(centers_N2: np.ndarray, size=(35, 55), radius_px: float = 6.0) -> np.ndarray:
    """(N, H, W) uint8: soft dark discs on white."""
    y, x = np.mgrid[: size[0], : size[1]]
    away = np.hypot(x - centers_N2[:, 0, None, None], y - centers_N2[:, 1, None, None])
    return np.round(255 * np.clip(away - radius_px + 0.5, 0, 1)).astype(np.uint8)


@pytest.mark.parametrize(("size", "eye_width_px"), [((35, 55), 40.0), ((60, 80), 55.0)])
def test_a_centre_is_found_in_the_pixels_of_the_crop(size, eye_width_px):
    centers = np.array([[27.0, 17.0], [22.3, 15.6], [33.1, 20.2]])
    found_px = found_iris_px(disc_finder, discs(centers, size), eye_width_px)
    assert found_px == pytest.approx(centers, abs=0.08)


@pytest.mark.parametrize("shift", [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.7, -1.4)])
def test_a_planted_shift_comes_back_in_its_direction_and_size(shift):
    centers = np.array([[25.2, 16.4], [29.0, 18.0]])
    before = found_iris_px(disc_finder, discs(centers), 40.0)
    after = found_iris_px(disc_finder, discs(centers + shift), 40.0)
    assert after - before == pytest.approx(np.tile(shift, (2, 1)), abs=0.05)


def test_the_model_sees_its_region_of_the_eye_as_it_is_and_mirrored():
    seen = []

    def watched(given_HW3: np.ndarray) -> np.ndarray:
        seen.append(given_HW3)
        return disc_finder(given_HW3)

    image = discs(np.array([[24.0, 15.0]]))
    image[:, -1] = 0  # a dark last row, which is repeated below the picture
    found_iris_px(watched, image, eye_width_px=40.0)
    plain, mirrored = seen
    assert mirrored == pytest.approx(plain[:, ::-1], abs=1 / 255)
    upper = plain[:40, :, 0]
    assert (upper < 0.5).sum() == pytest.approx(np.pi * (6 * 64 / 92) ** 2, rel=0.1)
    assert (plain[-15:] == 0).all() and (plain[0] == 1).all()


@pytest.fixture
def moved_by(synthetic, monkeypatch) -> Callable[..., pa.Table]:
    """Measures discs 0.4 px to the right of the labels of three eyes, and moved."""
    monkeypatch.setattr("factory.domains.eye.measures.load_model", lambda location: disc_finder)
    rows = synthetic.index(0).slice(0, 3)
    discs_px = np.array(rows["iris_px"].to_pylist())[:, ::4].mean(axis=1) + np.array([0.4, 0.0])

    def measured(*shift: float) -> pa.Table:
        measurer = EyeMeasurer(WITNESSES, with_pupil=False)
        return measurer(rows, discs(discs_px), discs(discs_px + np.array(shift)))

    return measured


@pytest.mark.slow
def test_drift_and_error_are_measured_against_parent_and_label(moved_by):
    table = moved_by(1.2, -1.9)
    assert values_of(table, "mediapipe_drift_px") == pytest.approx(np.hypot(1.2, 1.9), abs=0.1)
    assert values_of(table, "mediapipe_error_px") == pytest.approx(np.hypot(1.6, 1.9), abs=0.1)
    assert values_of(table, "mediapipe_shift_x_px") == pytest.approx(1.2, abs=0.1)
    assert values_of(table, "mediapipe_shift_y_px") == pytest.approx(-1.9, abs=0.1)


@pytest.mark.slow
def test_the_report_has_its_drift_beside_its_own_floor(moved_by):
    look = moved_by(0.3, 0.0)
    null = {PLAIN: moved_by(0.0, 0.0), **dict.fromkeys(FLOOR_LOOKS, look)}
    measures = moved_by(2.0, 0.0)
    witness = witnesses_of(measures, null, WITNESSES, example_calibration()).mediapipe
    assert witness.network == MODEL_SHA256 and witness.unit == "px"
    assert witness.drift.median == pytest.approx(2.0, abs=0.1)
    assert witness.floor.median == pytest.approx(0.3, abs=0.1)
    assert witness.error.median == pytest.approx(0.4, abs=0.1)
    assert witness.mean_shift == pytest.approx((2.0, 0.0), abs=0.1)


def test_reports_from_before_this_witness_are_read():
    content = example_report().model_dump(mode="json")
    del content["witnesses"]["mediapipe"]
    assert EyeReport.model_validate(content).witnesses.mediapipe is None


def test_another_file_and_no_file_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mediapipe_wheel FOLDER` gets it"):
        EyeWitnesses.of(PupilFinder(), None, None, None, mediapipe=str(tmp_path))
    (tmp_path / MODEL_NAME).write_bytes(b"another model")
    with pytest.raises(FormatError, match=rf"{MODEL_NAME}: not the iris model.*SHA-256"):
        EyeWitnesses.of(PupilFinder(), None, None, None, mediapipe=str(tmp_path))


def test_without_openvino_its_extra_is_named_before_any_work(tmp_path, monkeypatch):
    pretend(monkeypatch, b"a model")
    (tmp_path / MODEL_NAME).write_bytes(b"a model")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"mediapipe.*simgan-factory\[openvino\]"):
        check_model(tmp_path)


def pretend(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Some bytes pass for the model."""
    digest = hashlib.sha256(content).hexdigest()
    for module in (mediapipe, mediapipe_wheel):
        monkeypatch.setattr(module, "MODEL_SHA256", digest)


def wheel_with(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(getattr(mediapipe_wheel, name), content)
    return path


def test_the_model_is_taken_out_of_its_wheel_with_its_licence(tmp_path, monkeypatch):
    pretend(monkeypatch, b"a model")
    wheel = wheel_with(tmp_path / "m.whl", MEMBER=b"a model", LICENCE_MEMBER=b"Apache")
    main([str(tmp_path / "out"), "--wheel", str(wheel)])
    out = tmp_path / "out"
    assert (out / MODEL_NAME).read_bytes() == b"a model"
    assert (out / "LICENSE").read_bytes() == b"Apache"
    source = MediapipeSource.from_json((out / "mediapipe.json").read_bytes(), where="here")
    assert (source.wheel, source.licence) == ("m.whl", "Apache-2.0")
    assert source.sha256 == hashlib.sha256(b"a model").hexdigest()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"MEMBER": b"other", "LICENCE_MEMBER": b""}, "not the iris model"),
        ({}, "not the wheel of mediapipe"),
        (None, "not the wheel of mediapipe"),
    ],
)
def test_other_wheels_are_refused_and_nothing_is_written(tmp_path, members, message):
    wheel = tmp_path / "m.whl"
    if members is None:
        wheel.write_bytes(b"no zip")
    else:
        wheel_with(wheel, **members)
    with pytest.raises(SystemExit, match=rf"m\.whl.*{message}"):
        main([str(tmp_path / "out"), "--wheel", str(wheel)])
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.slow
def test_a_download_that_fails_says_what_pip_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match=r"pip did not download mediapipe.*--wheel"):
        download_wheel(tmp_path)


@pytest.mark.slow
@needs_model
def test_the_model_itself_finds_irises_and_their_shifts(synthetic):
    model = load_model(PLACE)
    rows, images = synthetic.index(0), synthetic.images(0)
    label = np.array(rows["iris_px"].to_pylist()).mean(axis=1)
    before = found_iris_px(model, images, 40.0)
    assert np.median(np.hypot(*(before - label).T)) < 3
    for shift in ((2.0, 0.0), (0.0, 2.0)):
        moved = shifted(images, np.tile(shift, (len(images), 1)))
        after = found_iris_px(model, moved, 40.0)
        assert np.median(after - before, axis=0) == pytest.approx(shift, abs=0.5)


@pytest.mark.slow
@needs_model
def test_the_model_itself_is_a_witness(synthetic):
    witnesses = EyeWitnesses.of(PupilFinder(), None, None, None, mediapipe=PLACE)
    images = synthetic.images(0)
    table = EyeMeasurer(witnesses, with_pupil=False)(synthetic.index(0), images, images)
    assert witnesses.mediapipe_sha256 == MODEL_SHA256
    assert values_of(table, "mediapipe_drift_px") == pytest.approx(0)
    assert np.isfinite(values_of(table, "mediapipe_error_px")).all()
