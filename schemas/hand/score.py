"""What a refiner does to held-out hands: `score.json` of a refiner of hands."""

from schemas.base import Float
from schemas.report import Spread
from schemas.score import Score


class HandScore(Score):
    """`drift_px` is the displacement of the outline."""

    depth_error_mm: Spread | None
    """mean |refined - synthetic| depth of the skin before the visible joints of each hand; None
    where no joint was visible"""
    lost_joint_share: Float | None
    """of the visible joints, those before which the refined image has no depth; None where no joint
    was visible"""
    label_fit: Float
    """share of the labelled joints with skin close before them, in the mean over the hands"""
    mean_shift_px: Float | None = None
    """length of the mean displacement of the outline: a drift that all hands share; None where no
    outline could be measured, and in scores from before it was"""
    boundary_gain: Float | None = None
    """as `derived.boundary_gain` of a report: how much nearer to real images refining brought
    holes, outlines, flying pixels and noise, in standard deviations; None where they could not be
    compared, and in scores from before they were"""

    def metrics(self) -> dict[str, float]:
        """As `Score.metrics`, with depth, joints and boundaries."""
        values = super().metrics() | {"label_fit": self.label_fit}
        if self.depth_error_mm is not None:
            values["depth_error_median_mm"] = self.depth_error_mm.median
        for name in ("lost_joint_share", "mean_shift_px", "boundary_gain"):
            if (value := getattr(self, name)) is not None:
                values[name] = value
        return values
