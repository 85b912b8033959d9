"""The validation of eyes: every witness beside its floor, and how real the pictures look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import SideBySide
from factory.domains.eye.gaze_arrows import Shifts
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.networks.mediapipe import PROGRAM
from factory.domains.eye.page import ReportPictures, WorstDrift, render_page
from factory.domains.eye.pupil.calibration import Calibration, calibrate
from factory.domains.eye.pupil.camera_pairs import CameraPairs, camera_pairs
from factory.domains.eye.pupil.drift import DriftTable
from factory.domains.eye.pupil.finder import Abstained, PupilFinder, PupilFit
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.eye.validation_options import EyeMeasuringOptions, EyeValidationOptions
from factory.domains.eye.witnesses import (
    DRIFTS,
    measure_null,
    witnesses_of,
)
from factory.images.png import Pixels, grey
from factory.measures.looks.measure import look_parts, looks_of
from factory.measures.two_sample import comparisons, realism_of
from factory.validation.pairs import NotComparableError
from factory.validation.protocols import Trio, require_known
from factory.validation.report.figures import Outline
from factory.validation.report.parts import MAX_TILES, MAX_WORST
from factory.validation.sampling import (
    Sampled,
    calibration_part,
    identities_of,
    sample_images,
    sample_pairs,
)
from factory.validation.settings import ValidationSettings
from factory.validation.shard_measures import read_measures
from factory.validation.witnesses import (
    NullMeasures,
    agreement_of,
    drift_lines,
    worst_rows,
)
from schemas.eye.report import EyeReport
from schemas.realism import LookDistances
from schemas.report import Realism


def crop_of(dataset: Dataset) -> EyeCrop:
    """How the renders of a dataset were cut.

    Raises:
        NotComparableError: it was not made from renders.
    """
    try:
        return UnityEyesOptions.model_validate(dataset.card.config["options"]).crop
    except (KeyError, ValueError) as error:
        raise NotComparableError(f"{dataset.location} was not made from renders") from error


def calibrate_on(
    sampled: Sampled, pairs: CameraPairs, finder: PupilFinder, seed: int
) -> Calibration:
    """How far the pupil finder can be trusted on the parent's own images."""
    index = sampled.index
    return calibrate(
        grey(sampled.synthetic),
        truth_px_N2=np.array(index["iris_px"].to_pylist(), np.float64).mean(axis=1),
        eye_width_px_N=values_of(index, "eye_width_px"),
        finder=finder,
        seed=seed,
        pairs=pairs,
        truth="iris circles in the labels of the parent's own renders",
    )


@dataclass(frozen=True)
class EyesExamined:
    """Everything that a report on eyes is made from."""

    trio: Trio
    measures: pa.Table
    """rows of `schemas.measures.EYE_MEASURES_SCHEMA` and what follows from them"""
    calibration: Calibration
    null: NullMeasures
    realism: Realism
    looks: LookDistances
    witnesses: EyeWitnesses
    sampled: Sampled
    real_NHW: Pixels  # noqa: N815
    """camera images, with 3 channels behind where they are in colour"""

    @cached_property
    def table(self) -> DriftTable:
        """The pupil finder's part."""
        return DriftTable.from_measures(self.measures)

    def findings(self) -> dict[str, Any]:
        """The fields that `EyeReport` has beyond `Report`."""
        calibration = self.calibration.summary
        return {
            "drift": self.table.summary(),
            "calibration": calibration,
            "witnesses": witnesses_of(self.measures, self.null, self.witnesses, calibration),
            "agreement": agreement_of(self.measures, DRIFTS),
            "looks": self.looks,
        }

    def page(self, report: EyeReport, notes: Sequence[str], earlier: EyeReport | None) -> str:
        """One self-contained HTML file."""
        pictures = ReportPictures(
            keys=self.sampled.index["key"].to_pylist()[:MAX_TILES],
            synthetic_NHW=self.sampled.synthetic[:MAX_TILES],
            refined_NHW=self.sampled.refined[:MAX_TILES],
            real_NHW=self.real_NHW[:MAX_TILES],
            worst=self._worst_pairs(),
            drift_px=self.table.measured_px(),
            null_drift_px=self.calibration.null_drift_px,
            mean_abs_change=values_of(self.measures, "mean_abs_change"),
            eye_width_px=self.witnesses.finder.eye_width_px,
            shifts=shifts_of(self.measures),
            notes=notes,
        )
        return render_page(report, pictures, earlier)

    def _worst_pairs(self) -> list[WorstDrift]:
        """The pairs with the largest drift by each witness, the worst of every witness first."""
        measurer = EyeMeasurer(self.witnesses)
        return [
            self._pair(row, distance, measurer)
            for row, distance in worst_rows(self.measures, DRIFTS, MAX_WORST)
        ]

    def _pair(self, row: int, drift: str, measurer: EyeMeasurer) -> WorstDrift:
        """Centres as measured; ellipses fitted and landmarks found again."""
        table, finder = self.table, self.witnesses.finder
        key = table.keys[row]
        labels = self.trio.refined.index(int(key.split("-")[0]), ["key", "pupil_px"])
        x, y = labels["pupil_px"][labels["key"].to_pylist().index(key)].as_py()
        before, after = (grey(d.image(key)) for d in (self.trio.parent, self.trio.refined))
        return WorstDrift(
            key=key,
            synthetic=before,
            refined=after,
            synthetic_outline=_outline(table.parent_N2[row], finder.find(before, (x, y))),
            refined_outline=_outline(table.refined_N2[row], finder.find(after, (x, y))),
            drift=drift,
            synthetic_points=measurer.landmarks_of(before),
            refined_points=measurer.landmarks_of(after),
            gaze_deg=(
                math.degrees(table.gaze_yaw_rad_N[row]),
                math.degrees(table.gaze_pitch_rad_N[row]),
            ),
        )


def shifts_of(measures: pa.Table) -> Shifts | None:
    """What the plot of arrows draws; None without a landmark network."""
    shift = [values_of(measures, f"iris_shift_{axis}_px") for axis in "xy"]
    if not np.isfinite(shift[0]).any():
        return None
    return Shifts(
        np.degrees(values_of(measures, "gaze_yaw_rad")),
        np.degrees(values_of(measures, "gaze_pitch_rad")),
        np.stack(shift, axis=1),
    )


def _outline(center: NDArray[np.float64], fit: PupilFit | Abstained) -> Outline:
    center_px = (float(center[0]), float(center[1]))
    if isinstance(fit, Abstained):
        return Outline(center_px)
    return Outline(center_px, fit.axes_px, fit.angle_rad)


class EyeValidator:
    """`factory.validation.protocols.Validator` of eyes."""

    @property
    def report(self) -> type[EyeReport]:
        """As `Validator.report`."""
        return EyeReport

    @property
    def networks(self) -> Mapping[str, str]:
        """As `Validator.networks`."""
        return {
            "landmarks": "by jobs/estimator.py landmarks",
            "gaze": "by jobs/estimator.py gaze",
            "mediapipe": f"by {PROGRAM}",
        }

    def witnesses(
        self,
        refined: Dataset,
        parent: Dataset,
        networks: Mapping[str, str],
        options: EyeMeasuringOptions,
    ) -> EyeWitnesses:
        """As `Validator.witnesses`."""
        require_known(networks, self.networks)
        finder = options.finder.model_copy(update={"eye_width_px": crop_of(parent).eye_width_px})
        return EyeWitnesses.of(
            finder,
            networks.get("landmarks"),
            networks.get("gaze"),
            image=refined.card.image,
            mediapipe=networks.get("mediapipe"),
        )

    def examine(
        self,
        trio: Trio,
        shards: Sequence[int],
        split: str | None,
        witnesses: EyeWitnesses,
        settings: ValidationSettings,
        options: EyeValidationOptions,
        side_by_side: SideBySide,
    ) -> EyesExamined:
        """As `Validator.examine`."""
        seed, crop = settings.seed, crop_of(trio.parent)
        sampled = sample_pairs(trio, shards, settings.num_realism, seed)
        camera = sample_images(trio.real, split, settings.num_realism, seed)
        known = calibration_part(sampled, settings.num_calibration)
        pairs = camera_pairs(crop, settings.num_calibration, seed)
        before, after, real = grey(sampled.synthetic), grey(sampled.refined), grey(camera)
        parts = look_parts(
            before, after, real, options.looks, identities=identities_of(sampled.index)
        )
        tests = comparisons(before, after, real, settings.test)
        calibration, null, *others = side_by_side(
            [
                partial(calibrate_on, known, pairs, witnesses.finder, seed),
                partial(measure_null, grey(known.synthetic), known.index, pairs, witnesses, seed),
                *tests,
                *parts,
            ],
            "compare",
        )
        return EyesExamined(
            trio,
            read_measures(trio.refined, shards, witnesses),
            calibration,
            null,
            realism_of(others[: len(tests)]),
            looks_of(others[len(tests) :]),
            witnesses,
            sampled,
            camera,
        )

    def summary(self, report: EyeReport) -> list[str]:
        """Every drift beside its floor, and the distances of looks."""
        lines = drift_lines(report.witnesses)
        looks = report.looks
        return [
            *lines,
            f"from real, features: synthetic {looks.frechet.synthetic.value:.1f}, refined "
            f"{looks.frechet.refined.value:.1f}, real from real "
            f"{looks.frechet.floor.value:.1f} (Fréchet); diversity "
            f"{looks.diversity.refined.value:.2f}, copies of real images "
            f"{looks.memorised_share.refined.value:.1%}",
        ]
