"""What the factory asks of a domain: its kind of sample, its sources, and hooks for what only
somebody who knows the pictures can say.

A domain is one folder in `factory/domains` and one in `schemas`, or a package of its own
(docs/new-domain.md). Its face, the module with its `Domain`, imports neither torch nor OpenCV: each
hook imports what it needs when it is called.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from pydantic import JsonValue

from schemas.base import Model
from schemas.kinds import SampleKind
from schemas.labels import LabelGuide
from schemas.measures import MeasureGuide

if TYPE_CHECKING:
    from pathlib import Path

    from factory.dataset.dataset import Dataset
    from factory.measures.density_ratio import LabelTarget
    from factory.measures.two_sample import TwoSampleTest
    from factory.networks.estimator_kinds import EstimatorKind
    from factory.networks.evaluation_kinds import Evaluation
    from factory.networks.label_consistency import LabelConsistency
    from factory.sources.base import Loaded, Source, SourceOptions
    from factory.sources.renderer import Renderer
    from factory.validation.held_out import Scoring
    from factory.validation.power.damages import Damages
    from factory.validation.protocols import Validator
    from schemas.dataset import ImageSpec


Style = Literal["render", "camera"]
OptionsHook = Literal[
    "ingest_options", "simulate_options", "measuring_options", "validation_options"
]
"""the hooks of `Domain` that add options to a job"""


class MissingHookError(ValueError):
    """A domain was asked for something that it does not bring."""


class NoOptions(Model):
    """The options that a domain adds to a job, where it adds none."""


class Domain(ABC):
    """One domain. A subclass gives its kind of sample and its sources, and overrides the hooks that
    it can serve; of the others the factory says that the domain lacks them."""

    sample_kind: ClassVar[SampleKind]

    @property
    def name(self) -> str:
        """The `domain` of its datasets' cards."""
        return self.sample_kind.name

    @abstractmethod
    def sources(self) -> "tuple[type[Source], ...]":
        """What its images can be read from."""

    # --- options of jobs/ingest.py and jobs/simulate.py -------------------------------------------

    def ingest_options(self) -> type[Model]:
        """The options that this domain adds to jobs/ingest.py, as a model with a default for each.

        Without any, `--options` gives the fields of a source's own options by name.
        """
        return NoOptions

    def source_options(
        self,
        source: str,
        given: Any,
        *,
        location: str,
        recorded: Mapping[str, JsonValue] | None,
    ) -> "SourceOptions":
        """The options of one of this domain's sources. Has to be there where `ingest_options` is.

        Args:
            source: its name.
            given: what the user gave, of the type that `ingest_options` names.
            location: where the inputs are.
            recorded: `config` of the card of the dataset that the inputs are added to; None where
                there is no such dataset yet.

        Raises:
            ValueError: these options cannot be used with these inputs.
        """
        self._lacks("options of its sources")

    def options_by_source(self) -> Mapping[str, Sequence[str]]:
        """The options in `ingest_options` that each of the sources uses, by the source's name; all
        of them unless a domain says otherwise. Those of other sources are refused."""
        names = tuple(self.ingest_options().model_fields)
        return dict.fromkeys((kind.name for kind in self.sources()), names)

    def misplaced_labels(self, samples: "Sequence[Loaded]") -> str | None:
        """What shows that the labels of some inputs do not belong to their pictures, as after the
        pictures were resized; None where nothing does.

        Args:
            samples: made of labelled inputs that are evenly spread over those of a run.
        """
        return None

    def simulate_options(self) -> type[Model]:
        """The options that this domain adds to jobs/simulate.py, as a model with a default for
        each."""
        return NoOptions

    def renderer(self, *, style: "Style", seed: int, given: Any) -> "Renderer":
        """The built-in renderer.

        Args:
            style: `render` for labelled renders, `camera` for stand-ins for camera images.
            seed: of every random choice.
            given: what the user gave, of the type that `simulate_options` names.

        Raises:
            ValueError: the renderer cannot draw what the options ask for.
        """
        self._lacks("a built-in renderer")

    def label_guide(self) -> LabelGuide:
        """What outside readers are told of its labels and pixels by jobs/publish.py --export.

        Without it, an export names types alone, and has no keypoints.
        """
        return LabelGuide()

    # --- what is made of its samples --------------------------------------------------------------

    def validator(self) -> "Validator":
        """What validates its refined samples."""
        self._lacks("a validation of refined samples")

    def measuring_options(self) -> type[Model]:
        """The options that this domain adds to the jobs which measure refined samples
        (jobs/validate.py, jobs/power.py), as a model with a default for each. `Validator.witnesses`
        is given them."""
        return NoOptions

    def validation_options(self) -> type[Model]:
        """The options that this domain adds to jobs/validate.py alone, as a model with a default
        for each. `Validator.examine` is given them."""
        return NoOptions

    def measure_guide(self) -> MeasureGuide:
        """What people who look at single samples are told of the measures of refined ones, and
        which measures follow from others.

        Without it, measures are shown by their names alone.
        """
        return MeasureGuide()

    def damage(self) -> "Damages":
        """The kinds of damage by which jobs/power.py tries the validation of refined samples."""
        self._lacks("damage to try its validation with")

    def estimators(self) -> "Mapping[str, EstimatorKind[Any, Any, Any]]":
        """Networks that read labels off its images, by the names that jobs/estimator.py takes."""
        return {}

    def scoring(self, synthetic: "Dataset", test: "TwoSampleTest") -> "Scoring":
        """How refiners are scored on held-out images, while they train and in ablations.

        Args:
            synthetic: the renders that are refined.
            test: tells refined images from real ones.
        """
        self._lacks("a scoring of refiners on held-out images")

    def evaluation(self) -> "Evaluation":
        """What models are trained for, and where they are tested, in evaluations of whether
        refining pays."""
        self._lacks("an evaluation on real images")

    def label_consistency(self, location: str, image: "ImageSpec") -> "LabelConsistency":
        """A network that holds labels in place while a refiner trains.

        Args:
            location: of the network, as `--label-network` gives it.
            image: what will be refined.

        Raises:
            FileNotFoundError: there is no network.
            FormatError: it is damaged.
            ValueError: it is for other images.
        """
        self._lacks("a network that holds labels in place (label_network)")

    def label_target(self, path: "Path", *, head: bool) -> "LabelTarget":
        """The distribution of labels that renders are drawn to follow.

        Args:
            path: of the file, as `--target-labels` gives it.
            head: match the angles of the head too.

        Raises:
            ValueError: the file holds something else.
        """
        self._lacks("a matching of label distributions (target_labels)")

    def _lacks(self, what: str) -> NoReturn:
        raise MissingHookError(f"the domain {self.name} brings no {what.removeprefix('a ')}")


def given_names(options: Model) -> tuple[str, ...]:
    """Names of the options that differ from their defaults."""
    fields = type(options).model_fields
    return tuple(
        name
        for name, field in fields.items()
        if getattr(options, name) != field.get_default(call_default_factory=True)
    )
