"""Hands: 224x224 depth in a cube around the hand, with 36 joints in pixels and in space."""

from typing import TYPE_CHECKING, Any, ClassVar

from factory.domains.base import Domain
from schemas.hand.kind import HAND
from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from factory.dataset.dataset import Dataset
    from factory.domains.hand.scoring import HandScoring
    from factory.measures.two_sample import TwoSampleTest
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.protocols import Validator


class HandDomain(Domain):
    """What the factory asks of hands."""

    sample_kind: ClassVar[SampleKind] = HAND

    def sources(self) -> "tuple[type[Source], ...]":
        from factory.domains.hand.sources.nyu import NyuSource

        return (NyuSource,)

    def renderer(self, **options: Any) -> "Renderer":
        from factory.domains.hand.renderer.renderer import HandRenderer

        return HandRenderer(**options)

    def validator(self) -> "Validator":
        from factory.domains.hand.validator import HandValidator

        return HandValidator()

    def scoring(self, synthetic: "Dataset", test: "TwoSampleTest") -> "HandScoring":
        from factory.domains.hand.scoring import HandScoring

        return HandScoring.of(synthetic, test)


HAND_DOMAIN = HandDomain()
