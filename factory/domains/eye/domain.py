"""Eyes: grey 35x55 crops with iris, lids, pupil centre, gaze and head pose."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from factory.domains.base import Domain
from schemas.eye.kind import EYE
from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from factory.networks.estimator_kinds import EstimatorKind
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.protocols import Validator


class EyeDomain(Domain):
    """What the factory asks of eyes."""

    sample_kind: ClassVar[SampleKind] = EYE

    def sources(self) -> "tuple[type[Source], ...]":
        from factory.domains.eye.sources.mpiigaze import MpiiGazeSource
        from factory.domains.eye.sources.pictures import PicturesSource
        from factory.domains.eye.sources.unityeyes import UnityEyesSource

        return UnityEyesSource, MpiiGazeSource, PicturesSource

    def renderer(self, **options: Any) -> "Renderer":
        from factory.domains.eye.renderer.renderer import EyeRenderer

        return EyeRenderer(**options)

    def validator(self) -> "Validator":
        from factory.domains.eye.validator import EyeValidator

        return EyeValidator()

    def estimators(self) -> "Mapping[str, EstimatorKind[Any, Any, Any]]":
        from factory.domains.eye.estimators import GazeEstimator, LandmarkEstimator

        return {"landmarks": LandmarkEstimator(), "gaze": GazeEstimator()}


EYE_DOMAIN = EyeDomain()
