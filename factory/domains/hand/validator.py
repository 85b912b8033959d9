"""The validation of hands: every witness beside its floor, what became of boundaries and surfaces,
and how real the pictures look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import SideBySide
from factory.domains.hand.depth.boundary import boundary_of, statistics_of
from factory.domains.hand.depth.edges import Depth
from factory.domains.hand.depth.windows import (
    FULL_SCALE,
    JUDGED,
    places_of,
    windows,
)
from factory.domains.hand.looks import FLOOR_LOOKS
from factory.domains.hand.measures import (
    HandMeasurer,
    HandWitnesses,
    depth_of,
    joints_of,
)
from factory.domains.hand.page import HandPictures, WorstHand, render_hand_page
from factory.domains.hand.witnesses import (
    DRIFTS,
    change_of,
    displacement_trials,
    null_trials,
    witnesses_of,
)
from factory.measures.two_sample import comparisons, realism_of
from factory.validation.protocols import Trio, require_known
from factory.validation.report.parts import MAX_TILES, MAX_WORST
from factory.validation.sampling import (
    Sampled,
    calibration_part,
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
from schemas.base import Model
from schemas.hand.report import Boundary, HandReport, Planted
from schemas.report import Realism

MOST_IMAGES = 1000
"""of each kind that are looked at together: as many take 100 MB"""
MOST_CALIBRATED = 100
"""that looks and displacements are tried on: each takes about a second"""


@dataclass(frozen=True)
class HandsExamined:
    """Everything that a report on hands is made from."""

    trio: Trio
    measures: pa.Table
    """rows of `schemas.hand.measures.HAND_MEASURES_SCHEMA`"""
    null: NullMeasures
    planted: tuple[Planted, ...]
    boundary: Boundary
    realism: Realism
    witnesses: HandWitnesses
    sampled: Sampled
    real_NHW: Depth  # noqa: N815

    def findings(self) -> dict[str, Any]:
        """The fields that `HandReport` has beyond `Report`."""
        return {
            "witnesses": witnesses_of(self.measures, self.null, self.witnesses),
            "agreement": agreement_of(self.measures, DRIFTS),
            "planted": self.planted,
            "change": change_of(self.measures, self.null),
            "boundary": self.boundary,
            "judged": JUDGED,
        }

    def page(self, report: HandReport, notes: Sequence[str], earlier: HandReport | None) -> str:
        """One self-contained HTML file."""
        index = self.sampled.index
        pictures = HandPictures(
            keys=index["key"].to_pylist()[:MAX_TILES],
            synthetic_NHW=self.sampled.synthetic[:MAX_TILES],
            refined_NHW=self.sampled.refined[:MAX_TILES],
            real_NHW=self.real_NHW[:MAX_TILES],
            cube_mm=int(values_of(index, "cube_mm").max()),
            worst=self._worst_pairs(),
            drift_px=_known(self.measures, "silhouette_drift_px"),
            null_drift_px=self._floor("silhouette_drift_px"),
            depth_error_mm=_known(self.measures, "joint_depth_error_mm"),
            null_depth_error_mm=self._floor("joint_depth_error_mm"),
            mean_abs_change=values_of(self.measures, "mean_abs_change"),
            notes=notes,
        )
        return render_hand_page(report, pictures, earlier)

    def _floor(self, column: str) -> NDArray[np.float64]:
        return _known(self.null[FLOOR_LOOKS[0]], column)

    def _worst_pairs(self) -> list[WorstHand]:
        """The pairs with the largest drift by each witness, the worst of every witness first."""
        measurer = HandMeasurer(self.witnesses)
        return [
            self._pair(row, drift, measurer)
            for row, drift in worst_rows(self.measures, DRIFTS, MAX_WORST)
        ]

    def _pair(self, row: int, drift: str, measurer: HandMeasurer) -> WorstHand:
        """With the labelled joints, and those that the network finds again."""
        key = self.measures["key"][row].as_py()
        labels = self.trio.refined.index(int(key.split("-")[0]), ["key", "joints14_uvd"])
        row_of_shard = labels.slice(labels["key"].to_pylist().index(key), 1)
        before, after = (depth_of(d.image(key)[None])[0]
                         for d in (self.trio.parent, self.trio.refined))  # fmt: skip
        return WorstHand(
            key=key,
            synthetic=before,
            refined=after,
            drift=drift,
            labels_px=joints_of(row_of_shard, "joints14_uvd")[0, :, :2],
            found_px=measurer.joints_of(after),
        )


def _known(rows: pa.Table, name: str) -> NDArray[np.float64]:
    values = values_of(rows, name)
    return values[np.isfinite(values)]


class HandValidator:
    """`factory.validation.protocols.Validator` of hands."""

    @property
    def report(self) -> type[HandReport]:
        """As `Validator.report`."""
        return HandReport

    @property
    def networks(self) -> Mapping[str, str]:
        """As `Validator.networks`."""
        return {"joints": "by jobs/estimator.py joints"}

    def witnesses(
        self, refined: Dataset, parent: Dataset, networks: Mapping[str, str], options: Model
    ) -> HandWitnesses:
        """As `Validator.witnesses`; hands have no options of their own."""
        require_known(networks, self.networks)
        return HandWitnesses.of(networks.get("joints"), refined.card.image)

    def examine(
        self,
        trio: Trio,
        shards: Sequence[int],
        split: str | None,
        witnesses: HandWitnesses,
        settings: ValidationSettings,
        options: Model,
        side_by_side: SideBySide,
    ) -> HandsExamined:
        """As `Validator.examine`; hands have no options of their own."""
        seed, num = settings.seed, min(settings.num_realism, MOST_IMAGES)
        sampled = sample_pairs(trio, shards, num, seed)
        before, after = depth_of(sampled.synthetic), depth_of(sampled.refined)
        real = depth_of(sample_images(trio.real, split, num, seed))
        known = calibration_part(sampled, min(settings.num_calibration, MOST_CALIBRATED))
        trial = depth_of(known.synthetic), known.index, witnesses, seed
        null, displaced = null_trials(*trial), displacement_trials(*trial)
        places = places_of(before, seed)
        cut = windows(real, places_of(real, seed + 1))
        tests = comparisons(
            windows(before, places), windows(after, places), cut, settings.test, FULL_SCALE
        )
        sets = [partial(statistics_of, images) for images in (before, after, real)]
        results = iter(side_by_side([*tests, *null.values(), *displaced, *sets], "compare"))
        two_samples = list(islice(results, len(tests)))
        by_look = dict(zip(null, islice(results, len(null)), strict=True))
        recoveries = list(islice(results, len(displaced)))
        return HandsExamined(
            trio,
            read_measures(trio.refined, shards, witnesses),
            by_look,
            tuple(chain.from_iterable(recoveries)),
            boundary_of(*results, seed=seed),
            realism_of(two_samples),
            witnesses,
            sampled,
            real,
        )

    def summary(self, report: HandReport) -> list[str]:
        """Every drift beside its floor, and what became of boundaries."""
        lines = drift_lines(report.witnesses)
        for name, medians in report.boundary.medians.items():
            lines.append(
                f"{name}, medians: synthetic {medians.synthetic:.3g}, refined "
                f"{medians.refined:.3g}, real {medians.real:.3g}"
            )
        return lines
