"""Eyes: grey 35x55 crops with iris, lids, pupil centre, gaze and head pose."""

from typing import TYPE_CHECKING, Any, ClassVar

from factory.domains.base import Domain
from schemas.eye.kind import EYE
from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from pathlib import Path

    from factory.dataset.dataset import Dataset
    from factory.domains.eye.gaze_matching import GazeTarget
    from factory.domains.eye.landmark_consistency import LandmarkConsistency
    from factory.domains.eye.scoring import EyeScoring
    from factory.measures.two_sample import TwoSampleTest
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.protocols import Validator
    from schemas.dataset import ImageSpec


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

    def scoring(self, synthetic: "Dataset", test: "TwoSampleTest") -> "EyeScoring":
        from factory.domains.eye.scoring import EyeScoring

        return EyeScoring.of(synthetic, test)

    def label_consistency(self, location: str, image: "ImageSpec") -> "LandmarkConsistency":
        from factory.domains.eye.landmark_consistency import LandmarkConsistency

        return LandmarkConsistency.load(location, image)

    def label_target(self, path: "Path", *, head: bool) -> "GazeTarget":
        from factory.domains.eye.gaze_matching import GazeTarget

        return GazeTarget.load(path, head=head)


EYE_DOMAIN = EyeDomain()
