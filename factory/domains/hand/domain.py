"""Hands: 224x224 depth in a cube around the hand, with 36 joints in pixels and in space."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue

from factory.domains.base import Domain, Style
from schemas.base import Model
from schemas.hand.kind import HAND
from schemas.kinds import SampleKind
from schemas.labels import LabelGuide
from schemas.measures import MeasureGuide
from schemas.options import value_of

if TYPE_CHECKING:
    from factory.dataset.dataset import Dataset
    from factory.domains.hand.scoring import HandScoring
    from factory.measures.two_sample import TwoSampleTest
    from factory.networks.estimator_kinds import EstimatorKind
    from factory.networks.evaluation_kinds import Evaluation
    from factory.sources.base import Source, SourceOptions
    from factory.sources.renderer import Renderer
    from factory.validation.power.damages import Damages
    from factory.validation.protocols import Validator


class HandDomain(Domain):
    """What the factory asks of hands."""

    sample_kind: ClassVar[SampleKind] = HAND

    def sources(self) -> "tuple[type[Source], ...]":
        from factory.domains.hand.sources.nyu import NyuSource

        return (NyuSource,)

    def ingest_options(self) -> type[Model]:
        from factory.domains.hand.options import HandIngestOptions

        return HandIngestOptions

    def source_options(
        self,
        source: str,
        given: Any,
        *,
        location: str,
        recorded: Mapping[str, JsonValue] | None,
    ) -> "SourceOptions":
        options: SourceOptions = given.nyu
        return options

    def simulate_options(self) -> type[Model]:
        from factory.domains.hand.options import HandSimulateOptions

        return HandSimulateOptions

    def renderer(self, *, style: Style, seed: int, given: Any) -> "Renderer":
        from factory.domains.hand.renderer.renderer import HandRenderer

        hand = given.hand
        with value_of(f"--hand.poses {hand.poses}"):  # the only one that is a file
            return HandRenderer(style=style, seed=seed, cameras=hand.cameras, poses=hand.poses)

    def label_guide(self) -> LabelGuide:
        from factory.domains.hand.guide import hand_guide

        return hand_guide()

    def validator(self) -> "Validator":
        from factory.domains.hand.validator import HandValidator

        return HandValidator()

    def measure_guide(self) -> MeasureGuide:
        from schemas.hand.measures import HAND_MEASURE_MEANINGS

        return MeasureGuide(HAND_MEASURE_MEANINGS)

    def damage(self) -> "Damages":
        from factory.domains.hand.damage.measuring import HAND_DAMAGES

        return HAND_DAMAGES

    def estimators(self) -> "Mapping[str, EstimatorKind[Any, Any, Any]]":
        from factory.domains.hand.estimators import JointEstimator

        return {"joints": JointEstimator()}

    def scoring(self, synthetic: "Dataset", test: "TwoSampleTest") -> "HandScoring":
        from factory.domains.hand.scoring import HandScoring

        return HandScoring.of(synthetic, test)

    def evaluation(self) -> "Evaluation":
        from factory.domains.hand.evaluation import EVALUATION

        return EVALUATION


HAND_DOMAIN = HandDomain()
