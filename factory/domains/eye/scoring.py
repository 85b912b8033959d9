"""How refiners of eyes are scored on held-out images: by the drift of their pupils, and by how much
of the distance to real images they closed."""

from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import JsonValue

from factory.dataset.dataset import Dataset
from factory.domains.eye.pupil.drift import measure_drift
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.validator import crop_of
from factory.images.png import Pixels, grey
from factory.measures.looks.measure import measure_closed_share
from factory.measures.looks.pairs import mean_abs_change
from factory.measures.looks.settings import FeatureTraining, LookSettings
from factory.measures.statistics import spread_or_none
from factory.measures.two_sample import TwoSampleTest
from factory.validation.held_out import HeldOut, Shown
from factory.validation.sampling import identities_of
from schemas.score import Score, ScoreRecord

MAX_DRIFT_SHARE = 0.02
"""of the eye's width, in the median: the paper's refined pupils lie 2 % off (section 3.1)"""


@dataclass(frozen=True)
class EyeScoring:
    """`factory.validation.held_out.Scoring` of eyes."""

    finder: PupilFinder
    test: TwoSampleTest
    looks: LookSettings = field(default_factory=LookSettings)
    """how the closed share is measured"""

    @classmethod
    def of(cls, synthetic: Dataset, test: TwoSampleTest) -> Self:
        """With a pupil finder for eyes as wide as the card of the renders says. The network of
        features is trained for no more steps than those of the test.

        Raises:
            NotComparableError: the dataset was not made from renders.
        """
        features = FeatureTraining()
        num_steps = min(features.num_steps, test.num_steps)
        return cls(
            PupilFinder(eye_width_px=crop_of(synthetic).eye_width_px),
            test,
            LookSettings(features=features.model_copy(update={"num_steps": num_steps})),
        )

    @property
    def record(self) -> type[ScoreRecord[Any]]:
        """As `Scoring.record`."""
        return ScoreRecord[Score]

    @property
    def limits(self) -> dict[str, float]:
        """As `Scoring.limits`."""
        return {"drift_median_px": MAX_DRIFT_SHARE * self.finder.eye_width_px}

    @property
    def shown(self) -> tuple[Shown, ...]:
        """As `Scoring.shown`."""
        return (
            Shown("num_measured", "eyes measured", "{:.0f}"),
            Shown("drift_median_px", "drift, median, px", "{:.2f}", "lower"),
            Shown("drift_p95_px", "drift, 95th percentile, px", "{:.2f}", "lower"),
            Shown("closed_share", "distance closed", "{:.0%}", "higher"),
        )

    @property
    def meaning(self) -> str:
        """As `Scoring.meaning`."""
        return (
            "Drift: displacement of the pupil's centre, measured in both pictures of the eyes that "
            "are clear in both. Distance closed: share of the distance to real images, by a kernel "
            "in features, that refining closed; 100 % is as near as these are to each other."
        )

    def settings(self) -> dict[str, JsonValue]:
        """As `Scoring.settings`."""
        return {
            "finder": self.finder.model_dump(mode="json"),
            "test": self.test.model_dump(mode="json"),
            "looks": self.looks.model_dump(mode="json"),
        }

    def score(self, held_out: HeldOut, refined: Pixels) -> Score:
        """As `Scoring.score`."""
        before, after, real = (
            grey(images) for images in (held_out.synthetic, refined, held_out.real)
        )
        drift = measure_drift(held_out.index, before, after, self.finder)
        return Score(
            num_samples=len(after),
            drift_px=spread_or_none(drift.drift_px),
            mean_abs_delta=float(mean_abs_change(before, after).mean()),
            two_sample=self.test(real, after),
            closed_share=measure_closed_share(
                before, after, real, self.looks, identities=identities_of(held_out.index)
            ),
        )
