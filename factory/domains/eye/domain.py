"""Eyes: grey 35x55 crops with iris, lids, pupil centre, gaze and head pose."""

from typing import TYPE_CHECKING, Any, ClassVar

from factory.domains.base import Domain
from schemas.base import Model
from schemas.eye.kind import EYE
from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.power.damages import Damages
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

    def measuring_options(self) -> type[Model]:
        from factory.domains.eye.validation_options import EyeMeasuringOptions

        return EyeMeasuringOptions

    def validation_options(self) -> type[Model]:
        from factory.domains.eye.validation_options import EyeValidationOptions

        return EyeValidationOptions

    def damage(self) -> "Damages":
        from factory.domains.eye.damage.measuring import EyeDamages

        return EyeDamages()


EYE_DOMAIN = EyeDomain()
