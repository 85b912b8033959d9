"""Measures refined eyes against their parents and labels, with every witness there is.

Witnesses answer by different means, so that what fools one does not fool all: an ellipse fitted
to the iris border (`factory.domains.eye.pupil.finder`), a network that finds landmarks, a network
that sees the gaze, and registrations of the two pictures. All their answers are stored
for every sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from factory.dataset.columns import points_of, table_of, values_of
from factory.domains.eye.derived_measures import with_derived
from factory.domains.eye.networks.gaze import (
    GazeNetwork,
    angle_deg,
    found_gaze_N3,
    gaze_of,
    load_gaze,
    yaw_pitch_deg,
)
from factory.domains.eye.networks.landmarks import (
    LandmarkNetwork,
    LandmarksFound,
    found_landmarks_px,
    landmarks_px,
    load_landmarks,
    mean_distance_px,
)
from factory.domains.eye.networks.mediapipe import (
    IrisModel,
    check_model,
    found_iris_px,
    load_model,
)
from factory.domains.eye.pair_measures import geometry_of, looks_of
from factory.domains.eye.pupil.drift import Centers, find_centers, measure_drift
from factory.domains.eye.pupil.finder import PupilFinder
from factory.images.png import Pixels, grey
from factory.networks.estimators import load_unchanged
from schemas.base import Model, Sha256, digest_of
from schemas.dataset import ImageSpec
from schemas.eye.measures import EYE_MEASURES_SCHEMA

VERSION = 3
"""of what is measured and how; measurements of other versions are made again"""
Images = NDArray[np.uint8]
Columns = dict[str, np.ndarray | list[str]]


class EyeWitnesses(Model):
    """What eyes are measured with."""

    finder: PupilFinder
    landmarks: str | None = None
    """place of a landmark network, the output of jobs/estimator.py landmarks"""
    landmarks_sha256: Sha256 | None = None
    gaze: str | None = None
    """place of a gaze network, the output of jobs/estimator.py gaze"""
    gaze_sha256: Sha256 | None = None
    mediapipe: str | None = None
    """place of MediaPipe's iris model"""
    mediapipe_sha256: Sha256 | None = None

    schema: ClassVar[pa.Schema] = EYE_MEASURES_SCHEMA
    repeated: ClassVar[Sequence[str]] = ("identity", "pupil_reason")

    @classmethod
    def of(
        cls,
        finder: PupilFinder,
        landmarks: str | None,
        gaze: str | None,
        image: ImageSpec | None,
        mediapipe: str | None = None,
    ) -> "EyeWitnesses":
        """Look at the networks once, before any work.

        Args:
            image: what they are for; None where that does not matter.

        Raises:
            FileNotFoundError: a network is not there.
            FormatError: it is damaged.
            ValueError: it is for other images.
            MissingExtraError: what runs it is not installed.
        """
        digests: dict[str, str] = {}
        if landmarks is not None:
            _, described = load_landmarks(landmarks)
            if image is not None:
                described.require(image)
            digests["landmarks_sha256"] = described.sha256
        if gaze is not None:
            _, seen = load_gaze(gaze)
            if image is not None:
                seen.require(image)
            digests["gaze_sha256"] = seen.sha256
        if mediapipe is not None:
            digests["mediapipe_sha256"] = check_model(mediapipe)
        places = {"landmarks": landmarks, "gaze": gaze, "mediapipe": mediapipe}
        return cls(finder=finder, **places, **digests)

    def digest(self) -> str:
        """Of all that decides a measurement: not the places of the networks."""
        content = self.model_dump(mode="json", exclude={"landmarks", "gaze", "mediapipe"})
        return digest_of({"version": VERSION, **content})

    def measurer(self) -> "EyeMeasurer":
        """For a worker of one core: verdicts must not depend on how many threads summed them up."""
        torch.set_num_threads(1)
        return EyeMeasurer(self)

    def with_derived(self, measures: pa.Table) -> pa.Table:
        """Stored measurements with those that follow from them."""
        return with_derived(measures)


class Seen(NamedTuple):
    """What the witnesses that look at one image at a time see in the parents."""

    pupils: Centers | None
    landmarks_NK2: NDArray[np.floating] | None  # noqa: N815
    gaze_N3: NDArray[np.floating] | None  # noqa: N815
    mediapipe_N2: NDArray[np.floating] | None  # noqa: N815


@dataclass
class EyeMeasurer:
    """Measures pairs. Lives in a worker; its networks run on one thread."""

    witnesses: EyeWitnesses
    with_pupil: bool = True
    """False: no ellipses are fitted, which takes longer than all else"""

    def __call__(
        self,
        rows: pa.Table,
        parent: Pixels,
        refined: Pixels,
        seen: Seen | None = None,
    ) -> pa.Table:
        """Every measurement of every pair.

        Args:
            rows: index rows of the refined images, in the same order.
            parent: (N, H, W) uint8; refined likewise.
            seen: of the same rows and parents; looked at anew when None.

        Returns:
            Rows of `schemas.measures.EYE_MEASURES_SCHEMA`, in the same order.

        Raises:
            ValueError: not as many of each, or not grey images of 8 bits.
        """
        parent_NHW, refined_NHW = grey(parent), grey(refined)
        if not len(rows) == len(parent_NHW) == len(refined_NHW):
            raise ValueError(
                f"{len(rows)} rows, {len(parent_NHW)} parent and {len(refined_NHW)} refined images"
            )
        if not len(rows):
            return EYE_MEASURES_SCHEMA.empty_table()
        if seen is None:
            seen = self.seen(rows, parent_NHW)
        columns = {
            **_conditions(rows, parent_NHW),
            **self._pupil(rows, parent_NHW, refined_NHW, seen.pupils),
            **self._landmarks(rows, refined_NHW, seen.landmarks_NK2),
            **self._gaze(rows, refined_NHW, seen.gaze_N3),
            **self._mediapipe(rows, refined_NHW, seen.mediapipe_N2),
            **geometry_of(rows, parent_NHW, refined_NHW),
            **looks_of(parent_NHW, refined_NHW),
        }
        return table_of(columns, EYE_MEASURES_SCHEMA)

    def seen(self, rows: pa.Table, parent_NHW: Images) -> Seen:
        """What is seen in the parents alone."""
        landmarks, gaze = self._landmark_network, self._gaze_network
        return Seen(
            find_centers(parent_NHW, points_of(rows, "pupil_px"), self.witnesses.finder)
            if self.with_pupil
            else None,
            None if landmarks is None else found_landmarks_px(landmarks, parent_NHW),
            None if gaze is None else found_gaze_N3(gaze, parent_NHW),
            self._mediapipe_iris(parent_NHW),
        )

    def _pupil(
        self, rows: pa.Table, parent: Images, refined: Images, pupils: Centers | None
    ) -> Columns:
        if pupils is None:
            return {}
        table = measure_drift(rows, parent, refined, self.witnesses.finder, pupils)
        return {
            "pupil_parent_x_px": table.parent_N2[:, 0],
            "pupil_parent_y_px": table.parent_N2[:, 1],
            "pupil_refined_x_px": table.refined_N2[:, 0],
            "pupil_refined_y_px": table.refined_N2[:, 1],
            "pupil_reason": table.reasons,
            "pupil_drift_px": table.drift_px,
        }

    def _landmarks(
        self, rows: pa.Table, refined: Images, parent_NK2: NDArray[np.floating] | None
    ) -> Columns:
        if self._landmark_network is None or parent_NK2 is None:
            return {}
        before = LandmarksFound(parent_NK2)
        after = LandmarksFound(found_landmarks_px(self._landmark_network, refined))
        label = LandmarksFound(landmarks_px(rows))
        seen_NK = label.inside(refined.shape[1:])
        shift_N2 = after.iris_N2 - before.iris_N2
        return {
            "iris_refined_x_px": after.iris_N2[:, 0],
            "iris_refined_y_px": after.iris_N2[:, 1],
            "iris_shift_x_px": shift_N2[:, 0],
            "iris_shift_y_px": shift_N2[:, 1],
            "iris_drift_px": np.hypot(*shift_N2.T),
            "iris_error_px": np.hypot(*(after.iris_N2 - label.iris_N2).T),
            "lid_drift_px": mean_distance_px(after.lids_NK2, before.lids_NK2, seen_NK),
            "lid_error_px": mean_distance_px(after.lids_NK2, label.lids_NK2, seen_NK),
            "opening_ratio": after.opening_px2 / np.maximum(before.opening_px2, 1.0),
        }

    def landmarks_of(self, image_HW: Images) -> NDArray[np.floating] | None:
        """(25, 2) x and y px that the landmark network finds in one image; None without one."""
        if self._landmark_network is None:
            return None
        return np.asarray(found_landmarks_px(self._landmark_network, image_HW[None])[0])

    def _gaze(
        self, rows: pa.Table, refined: Images, before: NDArray[np.floating] | None
    ) -> Columns:
        if self._gaze_network is None or before is None:
            return {}
        after = found_gaze_N3(self._gaze_network, refined)
        (yaw_0, pitch_0), (yaw_1, pitch_1) = yaw_pitch_deg(before).T, yaw_pitch_deg(after).T
        return {
            "gaze_drift_deg": angle_deg(before, after),
            "gaze_error_deg": angle_deg(after, gaze_of(rows)),
            "gaze_yaw_shift_deg": (yaw_1 - yaw_0 + 180) % 360 - 180,
            "gaze_pitch_shift_deg": pitch_1 - pitch_0,
        }

    def _mediapipe(
        self, rows: pa.Table, refined: Images, before_N2: NDArray[np.floating] | None
    ) -> Columns:
        after_N2 = self._mediapipe_iris(refined)
        if before_N2 is None or after_N2 is None:
            return {}
        label_N2 = LandmarksFound(landmarks_px(rows)).iris_N2
        shift_N2 = after_N2 - before_N2
        return {
            "mediapipe_shift_x_px": shift_N2[:, 0],
            "mediapipe_shift_y_px": shift_N2[:, 1],
            "mediapipe_drift_px": np.hypot(*shift_N2.T),
            "mediapipe_error_px": np.hypot(*(after_N2 - label_N2).T),
        }

    def _mediapipe_iris(self, images: Images) -> NDArray[np.floating] | None:
        model = self._iris_model
        width = self.witnesses.finder.eye_width_px
        return None if model is None else found_iris_px(model, images, width)

    @cached_property
    def _iris_model(self) -> IrisModel | None:
        model = self.witnesses.mediapipe
        return None if model is None else load_model(model)

    @cached_property
    def _landmark_network(self) -> LandmarkNetwork | None:
        of = self.witnesses
        return load_unchanged(load_landmarks, of.landmarks, of.landmarks_sha256)

    @cached_property
    def _gaze_network(self) -> GazeNetwork | None:
        return load_unchanged(load_gaze, self.witnesses.gaze, self.witnesses.gaze_sha256)


def _conditions(rows: pa.Table, parent_NHW: Images) -> Columns:
    """What a drift may depend on."""
    lids = LandmarksFound(landmarks_px(rows)).lids_NK2
    width = values_of(rows, "eye_width_px")
    return {
        "key": rows["key"].to_pylist(),
        "identity": rows["identity"].to_pylist(),
        "eye_width_px": width,
        **{
            name: values_of(rows, name)
            for name in ("gaze_yaw_rad", "gaze_pitch_rad", "head_yaw_rad", "head_pitch_rad")
        },
        "opening": np.ptp(lids[:, :, 1], axis=1) / width,
        "brightness": parent_NHW.mean(axis=(1, 2)),
    }
