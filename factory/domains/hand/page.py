"""From a report on hands and its pictures to one self-contained HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from factory.domains.hand.depth.boundary import NAMES
from factory.domains.hand.depth.edges import Depth, solid
from factory.images.png import Pixels, depth_as_grey
from factory.validation.report import figures, look_figures
from factory.validation.report.figures import REFINED, Mark
from factory.validation.report.parts import (
    MAX_WORST,
    Pictures,
    View,
    change_and_realism,
    rendered,
    tiles_of,
    within_budget,
)
from schemas.hand.report import BoundaryMedians, HandReport
from schemas.realism import Compared
from schemas.report import Estimate, Witness

BEFORE, AFTER = "#56b4e9", "#e69f00"
JOINT_PX = 2.2

Values = NDArray[np.floating]


@dataclass(frozen=True)
class WorstHand:
    """A pair that a witness says lies far apart."""

    key: str
    synthetic: Depth
    refined: Depth
    drift: str
    """how far, by which witness, e.g. `2.3 px by silhouette`"""
    labels_px: Values
    """(14, 2) labelled joints"""
    found_px: Values | None = None
    """(14, 2) joints that the network finds in the refined picture; None without one"""


@dataclass(frozen=True, kw_only=True)
class HandPictures(Pictures):
    """What a page on hands shows beside the numbers of its report; drifts are of silhouettes.

    Pictures are uint16, stored depth.
    """

    cube_mm: int
    """what the shades of grey span"""
    worst: Sequence[WorstHand]
    """largest drift first; the first of every witness before the second ones"""
    depth_error_mm: Values
    null_depth_error_mm: Values


def render_hand_page(
    report: HandReport, pictures: HandPictures, earlier: HandReport | None = None
) -> str:
    """The whole page as one string of HTML.

    Args:
        earlier: a report to compare with.
    """
    cube_mm = pictures.cube_mm
    return rendered(
        Path(__file__).with_name("page.html"),
        report,
        notes=pictures.notes,
        tiles=tiles_of(
            pictures.keys,
            _shown(pictures.synthetic_NHW, cube_mm),
            _shown(pictures.refined_NHW, cube_mm),
            _shown(pictures.real_NHW, cube_mm),
        ),
        plots=_plots(report, pictures),
        earlier=earlier,
        worst=within_budget(_view(pair, cube_mm) for pair in pictures.worst[:MAX_WORST]),
        boundary_rows=_boundary_rows(report),
        boundary_plots=[
            look_figures.shares(curves, NAMES[name])
            for name, curves in report.boundary.histograms.items()
        ],
        change_rows=_change_rows(report),
        judged=report.judged,
    )


def _shown(depth: Pixels, cube_mm: int) -> NDArray[np.uint8]:
    return depth_as_grey(depth, 1, cube_mm + 1)


def _view(pair: WorstHand, cube_mm: int) -> View:
    before, after = outline_of(pair.synthetic), outline_of(pair.refined)
    return View(
        pair.drift,
        pair.key,
        figures.overlay(
            _shown(pair.synthetic, cube_mm),
            contours=[(before, BEFORE)],
            points=pair.labels_px,
            point_px=JOINT_PX,
        ),
        figures.overlay(
            _shown(pair.refined, cube_mm),
            contours=[(before, BEFORE), (after, AFTER)],
            points=pair.labels_px if pair.found_px is None else pair.found_px,
            point_px=JOINT_PX,
        ),
    )


def outline_of(depth_HW: Depth) -> list[NDArray[np.float64]]:
    """Closed lines of (K, 2) pixels (x, y) around a hand and the gaps in it, holes and specks left
    out."""
    contours, _ = cv2.findContours(
        solid(depth_HW > 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    return [contour[:, 0].astype(np.float64) for contour in contours if len(contour) > 2]


def _plots(report: HandReport, pictures: HandPictures) -> dict[str, Markup | None]:
    witnesses = report.witnesses
    return {
        "drift": figures.histogram(
            pictures.drift_px,
            axis="displacement of the outline, px of the crop",
            colour=REFINED,
            floor=pictures.null_drift_px,
            marks=_marks(witnesses.silhouette),
        ),
        "depth": figures.histogram(
            pictures.depth_error_mm,
            axis="depth error at the visible joints, mm",
            colour=REFINED,
            floor=pictures.null_depth_error_mm,
            marks=_marks(witnesses.depth),
        ),
        "boundary": look_figures.distances(
            [(row.label, row.compared) for row in _boundary_rows(report)]
        ),
        "arrows": None,
        **change_and_realism(report, pictures.mean_abs_change),
    }


def _marks(witness: Witness) -> list[Mark]:
    marks = []
    if witness.floor is not None:
        median = witness.floor.median
        marks.append(Mark(median, f"floor's median {median:.2f} {witness.unit}", "#111"))
    if witness.drift is not None:
        drift = witness.drift
        marks.append(Mark(drift.median, f"median {drift.median:.2f} {witness.unit}", REFINED))
        marks.append(Mark(drift.p95, f"95 % below {drift.p95:.2f} {witness.unit}", REFINED))
    return marks


class _BoundaryRow(NamedTuple):
    """A statistic in the table: medians of the sets, and distances from real."""

    label: str
    medians: BoundaryMedians
    compared: Compared


def _boundary_rows(report: HandReport) -> list[_BoundaryRow]:
    boundary = report.boundary
    return [
        _BoundaryRow(label, boundary.medians[name], compared)
        for name, label in NAMES.items()
        if (compared := getattr(boundary, name)) is not None
    ]


class _ChangeRow(NamedTuple):
    """What refining did to hands."""

    label: str
    estimate: Estimate | None
    unit: str
    factor: float = 1.0
    """from the number in the report to the number that is shown"""


def _change_rows(report: HandReport) -> list[_ChangeRow]:
    change = report.change
    return [
        _ChangeRow("depth of the skin at joints, away from the camera", change.depth_shift_mm,
                   "mm"),
        _ChangeRow("growth of outlines and edges", change.growth_px, "px"),
        _ChangeRow("pixels of the hand lost", change.lost_share, "%", 100),
        _ChangeRow("pixels won from the background", change.grown_share, "%", 100),
        _ChangeRow("visible joints without depth", change.lost_joint_share, "%", 100),
        _ChangeRow("labelled joints with skin before them", change.label_fit, "%", 100),
        _ChangeRow("the same in the renders", change.parent_label_fit, "%", 100),
    ]  # fmt: skip
