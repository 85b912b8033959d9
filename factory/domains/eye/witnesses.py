"""The witnesses of eyes: what each says of a refined dataset, and of images whose look was changed
and whose geometry was not.

`factory.validation.witnesses` defines a witness and has what is common to those of all domains.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import values_of
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.pupil.calibration import CAMERA_LOOK, FLOOR_LOOKS, looks
from factory.domains.eye.pupil.camera_pairs import CameraPairs
from factory.measures.statistics import Condition, quantile_edges
from factory.validation.witnesses import (
    NUM_QUANTILE_BINS,
    PLAIN,
    Means,
    NullMeasures,
    OwnError,
    mean_shift_of,
    own_by_looks,
    shift_of,
    witness_of,
)
from schemas.eye.report import PupilCalibration, Witnesses
from schemas.report import LookDrift, Witness

Images = NDArray[np.uint8]
ANGLE_EDGES_DEG = (-np.inf, -25.0, -15.0, -5.0, 5.0, 15.0, 25.0, np.inf)


DRIFTS = {
    "pupil": Means(
        "px",
        "an ellipse fitted to the border of iris and sclera, in each image by itself",
        "pupil_drift_px",
    ),
    "iris": Means(
        "px",
        "the mean of eight iris landmarks that a network finds in each image by itself",
        "iris_drift_px",
        "iris_error_px",
        ("iris_shift_x_px", "iris_shift_y_px"),
    ),
    "lids": Means(
        "px",
        "the mean distance of sixteen lid landmarks that a network finds in each image by itself",
        "lid_drift_px",
        "lid_error_px",
    ),
    "gaze": Means(
        "deg",
        "the angle between the gazes that the paper's estimator sees in each image by itself",
        "gaze_drift_deg",
        "gaze_error_deg",
        ("gaze_yaw_shift_deg", "gaze_pitch_shift_deg"),
    ),
    "registration": Means(
        "px", "the picture's edges, slid over those of its parent", "registration_px"
    ),
    "iris_registration": Means(
        "px", "the edges around the iris, slid over those of its parent", "iris_registration_px"
    ),
    "mediapipe": Means(
        "px",
        "the centre of the iris that MediaPipe's model, trained on photographs, finds in each "
        "image by itself",
        "mediapipe_drift_px",
        "mediapipe_error_px",
        ("mediapipe_shift_x_px", "mediapipe_shift_y_px"),
    ),
}
"""the witnesses by name"""


def measure_null(
    images_NHW: Images,
    rows: pa.Table,
    pairs: CameraPairs,
    witnesses: EyeWitnesses,
    seed: int,
) -> NullMeasures:
    """What the witnesses but the pupil finder, which has a calibration of its own, say of looks.

    Args:
        images_NHW: (N, H, W) uint8 renders; rows: their labels.
        pairs: other eyes, each in two looks.
    """
    measurer = EyeMeasurer(witnesses, with_pupil=False)
    changed = looks(images_NHW, np.random.default_rng(seed))
    by_look = {PLAIN: measurer(rows, images_NHW, images_NHW)}
    by_look |= {name: measurer(rows, images_NHW, images) for name, images in changed.items()}
    by_look[CAMERA_LOOK] = measurer(pairs.labels, pairs.render_NHW, pairs.camera_NHW)
    return by_look


def witnesses_of(
    measures: pa.Table,
    null: NullMeasures,
    witnesses: EyeWitnesses,
    pupil: PupilCalibration,
) -> Witnesses:
    """Every witness' distribution, bins and floor.

    Args:
        pupil: the pupil finder's own calibration, whose windows are jittered.
    """
    conditions = _conditions(measures)
    networks = {
        "iris": witnesses.landmarks_sha256,
        "lids": witnesses.landmarks_sha256,
        "gaze": witnesses.gaze_sha256,
        "mediapipe": witnesses.mediapipe_sha256,
    }
    by_name: dict[str, Witness | None] = {}
    for name, means in DRIFTS.items():
        if name in networks and networks[name] is None:
            by_name[name] = None
            continue
        own = _of_pupil(pupil) if name == "pupil" else own_by_looks(null, means, FLOOR_LOOKS)
        by_name[name] = witness_of(
            measures,
            means,
            own,
            conditions,
            network=networks.get(name),
            unmeasured=_unmeasured(measures, name),
            mean_shift=_mean_shift(measures, means),
        )
    return Witnesses.model_validate(by_name)


def _of_pupil(pupil: PupilCalibration) -> OwnError:
    null = tuple(LookDrift(look=line.look, drift=line.drift_px) for line in pupil.null_drift)
    return OwnError(pupil.error_px, null, pupil.null_drift_px)


def _unmeasured(measures: pa.Table, name: str) -> dict[str, int]:
    if name == "pupil":
        return dict(sorted(Counter(filter(None, measures["pupil_reason"].to_pylist())).items()))
    missing = measures[DRIFTS[name].drift].null_count
    return {"too little of the picture to match": missing} if missing else {}


def _mean_shift(measures: pa.Table, means: Means) -> tuple[float, float] | None:
    if means.drift != "pupil_drift_px":
        return shift_of(measures, means)
    return mean_shift_of(
        [
            values_of(measures, f"pupil_refined_{axis}_px")
            - values_of(measures, f"pupil_parent_{axis}_px")
            for axis in "xy"
        ]
    )


def _conditions(measures: pa.Table) -> tuple[Condition, ...]:
    """What drifts are binned by."""
    angles = [
        Condition(f"{words}, deg", np.degrees(values_of(measures, column)), ANGLE_EDGES_DEG)
        for words, column in (
            ("gaze yaw", "gaze_yaw_rad"),
            ("gaze pitch", "gaze_pitch_rad"),
            ("head yaw", "head_yaw_rad"),
            ("head pitch", "head_pitch_rad"),
        )
    ]
    others = []
    for words, column in (
        ("lid opening, share of the eye's width", "opening"),
        ("brightness of the render, grey levels", "brightness"),
    ):
        values = values_of(measures, column)
        others.append(Condition(words, values, quantile_edges(values, NUM_QUANTILE_BINS)))
    return (*angles, *others)
