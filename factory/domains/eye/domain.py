"""Eyes: grey 35x55 crops with iris, lids, pupil centre, gaze and head pose."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue

from factory.domains.base import Domain, Style
from schemas.base import Model
from schemas.eye.kind import EYE
from schemas.kinds import SampleKind
from schemas.labels import LabelGuide
from schemas.measures import MeasureGuide

if TYPE_CHECKING:
    from pathlib import Path

    from factory.dataset.dataset import Dataset
    from factory.domains.eye.gaze_matching import GazeTarget
    from factory.domains.eye.landmark_consistency import LandmarkConsistency
    from factory.domains.eye.scoring import EyeScoring
    from factory.measures.two_sample import TwoSampleTest
    from factory.networks.estimator_kinds import EstimatorKind
    from factory.networks.evaluation_kinds import Evaluation
    from factory.sources.base import Loaded, Source, SourceOptions
    from factory.sources.renderer import Renderer
    from factory.validation.power.damages import Damages
    from factory.validation.protocols import Validator
    from schemas.dataset import ImageSpec


class EyeDomain(Domain):
    """What the factory asks of eyes."""

    sample_kind: ClassVar[SampleKind] = EYE

    def sources(self) -> "tuple[type[Source], ...]":
        from factory.domains.eye.sources.iris_masks import IrisMasksSource
        from factory.domains.eye.sources.mpiigaze import MpiiGazeSource
        from factory.domains.eye.sources.pictures import PicturesSource
        from factory.domains.eye.sources.screen_targets import ScreenTargetsSource
        from factory.domains.eye.sources.unityeyes import UnityEyesSource

        return (
            UnityEyesSource,
            MpiiGazeSource,
            PicturesSource,
            ScreenTargetsSource,
            IrisMasksSource,
        )

    def ingest_options(self) -> type[Model]:
        from factory.domains.eye.options import EyeIngestOptions

        return EyeIngestOptions

    def source_options(
        self,
        source: str,
        given: Any,
        *,
        location: str,
        recorded: Mapping[str, JsonValue] | None,
    ) -> "SourceOptions":
        from factory.domains.eye.options import eye_source_options

        return eye_source_options(source, given, location=location, recorded=recorded)

    def options_by_source(self) -> Mapping[str, Sequence[str]]:
        from factory.domains.eye.options import OPTIONS_BY_SOURCE

        return OPTIONS_BY_SOURCE

    def misplaced_labels(self, samples: "Sequence[Loaded]") -> str | None:
        from factory.domains.eye.label_fit import misplaced_labels

        return misplaced_labels(samples)

    def simulate_options(self) -> type[Model]:
        from factory.domains.eye.options import EyeSimulateOptions

        return EyeSimulateOptions

    def renderer(self, *, style: Style, seed: int, given: Any) -> "Renderer":
        from factory.domains.eye.renderer.renderer import EyeRenderer

        return EyeRenderer(style=style, seed=seed, **given.given())

    def label_guide(self) -> LabelGuide:
        from factory.domains.eye.guide import eye_guide

        return eye_guide()

    def validator(self) -> "Validator":
        from factory.domains.eye.validator import EyeValidator

        return EyeValidator()

    def measuring_options(self) -> type[Model]:
        from factory.domains.eye.validation_options import EyeMeasuringOptions

        return EyeMeasuringOptions

    def validation_options(self) -> type[Model]:
        from factory.domains.eye.validation_options import EyeValidationOptions

        return EyeValidationOptions

    def measure_guide(self) -> MeasureGuide:
        from factory.domains.eye.derived_measures import eye_measure_guide

        return eye_measure_guide()

    def damage(self) -> "Damages":
        from factory.domains.eye.damage.measuring import EYE_DAMAGES

        return EYE_DAMAGES

    def estimators(self) -> "Mapping[str, EstimatorKind[Any, Any, Any]]":
        from factory.domains.eye.estimators import GazeEstimator, LandmarkEstimator

        return {"landmarks": LandmarkEstimator(), "gaze": GazeEstimator()}

    def scoring(self, synthetic: "Dataset", test: "TwoSampleTest") -> "EyeScoring":
        from factory.domains.eye.scoring import EyeScoring

        return EyeScoring.of(synthetic, test)

    def evaluation(self) -> "Evaluation":
        from factory.domains.eye.evaluation import EVALUATION

        return EVALUATION

    def label_consistency(self, location: str, image: "ImageSpec") -> "LandmarkConsistency":
        from factory.domains.eye.landmark_consistency import LandmarkConsistency

        return LandmarkConsistency.load(location, image)

    def label_target(self, path: "Path", *, head: bool) -> "GazeTarget":
        from factory.domains.eye.gaze_matching import GazeTarget

        return GazeTarget.load(path, head=head)


EYE_DOMAIN = EyeDomain()
