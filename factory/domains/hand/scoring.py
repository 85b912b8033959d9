"""How refiners of hands are scored on held-out images: by outline, depth and joints, and by how
near to real their boundaries are."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import JsonValue

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.domains.hand.depth.boundary import boundary_of, statistics_of
from factory.domains.hand.depth.windows import FULL_SCALE, places_of, windows
from factory.domains.hand.measures import VERSION, HandMeasurer, HandWitnesses, depth_of
from factory.domains.hand.witnesses import DRIFTS
from factory.images.png import Pixels
from factory.measures.statistics import spread_or_none
from factory.measures.two_sample import TwoSampleTest
from factory.validation.held_out import HeldOut, Shown
from factory.validation.witnesses import shift_of
from schemas.hand.score import HandScore
from schemas.score import ScoreRecord

MAX_OUTLINE_SHARE = 0.5 / 224
"""of the image's height, for the outline's drift in the median: half a pixel of 224, as
gates/hand.toml has it. The look of a sensor alone reads 0.2 px"""
MAX_SHIFT_SHARE = 0.2 / 224
"""of the image's height, for the displacement that all outlines share: gates/hand.toml allows 0.3
px of 224, on other hands"""
MAX_DEPTH_MM = 3.0
"""for the change of depth before the joints, in the median. The look of a sensor alone reads 1 mm,
and a useful refiner 1.5 mm (docs/training.md)"""
MAX_LOST_JOINTS = 0.05
"""for the share of visible joints that lost their depth: it catches hands that are gone, which have
no outline to measure"""
SEED = 0
"""of the halves of the real images that boundaries are compared with"""
MOST_MEASURED = 200
"""hands whose labels are measured, at some 50 ms each; the two-sample test takes all"""


@dataclass(frozen=True)
class HandScoring:
    """`factory.validation.held_out.Scoring` of hands."""

    height_px: int
    """of the images"""
    test: TwoSampleTest

    @classmethod
    def of(cls, synthetic: Dataset, test: TwoSampleTest) -> Self:
        """For images of the renders' size."""
        return cls(synthetic.card.image.height, test)

    @property
    def record(self) -> type[ScoreRecord[Any]]:
        """As `Scoring.record`."""
        return ScoreRecord[HandScore]

    @property
    def limits(self) -> dict[str, float]:
        """As `Scoring.limits`."""
        return {
            "drift_median_px": MAX_OUTLINE_SHARE * self.height_px,
            "mean_shift_px": MAX_SHIFT_SHARE * self.height_px,
            "depth_error_median_mm": MAX_DEPTH_MM,
            "lost_joint_share": MAX_LOST_JOINTS,
        }

    @property
    def shown(self) -> tuple[Shown, ...]:
        """As `Scoring.shown`."""
        return (
            Shown("num_measured", "outlines measured", "{:.0f}"),
            Shown("drift_median_px", "outline drift, median, px", "{:.2f}", "lower"),
            Shown("drift_p95_px", "outline drift, 95th percentile, px", "{:.2f}", "lower"),
            Shown("mean_shift_px", "shift of all outlines, px", "{:.2f}", "lower"),
            Shown("depth_error_median_mm", "depth at joints, median, mm", "{:.2f}", "lower"),
            Shown("lost_joint_share", "joints lost", "{:.1%}", "lower"),
            Shown("label_fit", "labels that fit", "{:.1%}", "higher"),
            Shown("boundary_gain", "boundary gain, standard deviations", "{:.2f}", "higher"),
        )

    @property
    def meaning(self) -> str:
        """As `Scoring.meaning`."""
        return (
            "Outline drift: displacement of the whole outline. Shift of all outlines: length of "
            "the mean of these displacements. Depth at joints: change of the skin's depth before "
            "the visible joints. Joints lost: visible joints before which the refined image has "
            "no depth. Labels that fit: labelled joints with skin close before them. They are "
            f"measured on at most {MOST_MEASURED} hands. Boundary gain: how much nearer to real "
            "images holes, outlines, flying pixels and noise came."
        )

    def settings(self) -> dict[str, JsonValue]:
        """As `Scoring.settings`."""
        return {
            "measures": {"domain": "hand", "version": VERSION, "most": MOST_MEASURED},
            "boundary": {"seed": SEED},
            "test": self.test.model_dump(mode="json"),
        }

    def score(self, held_out: HeldOut, refined: Pixels) -> HandScore:
        """As `Scoring.score`; held-out images are in random order, so the first ones are a
        sample."""
        before, after = depth_of(held_out.synthetic), depth_of(refined)
        real = depth_of(held_out.real)
        measures = HandMeasurer(HandWitnesses())(
            held_out.index.slice(0, MOST_MEASURED), before[:MOST_MEASURED], after[:MOST_MEASURED]
        )
        lost = values_of(measures, "lost_joint_share")
        shift_px = shift_of(measures, DRIFTS["silhouette"])
        boundary = boundary_of(*map(statistics_of, (before, after, real)), seed=SEED)
        return HandScore(
            num_samples=len(after),
            drift_px=spread_or_none(values_of(measures, "silhouette_drift_px")),
            mean_abs_delta=float(values_of(measures, "mean_abs_change").mean()),
            two_sample=self.test(
                windows(real, places_of(real, seed=1)),
                windows(after, places_of(before, seed=0)),
                FULL_SCALE,
            ),
            depth_error_mm=spread_or_none(values_of(measures, "joint_depth_error_mm")),
            lost_joint_share=float(np.nanmean(lost)) if np.isfinite(lost).any() else None,
            label_fit=float(values_of(measures, "label_fit").mean()),
            mean_shift_px=None if shift_px is None else math.hypot(*shift_px),
            boundary_gain=boundary.gain(),
        )
