"""What the factory asks of a domain: its kind of sample, its sources, and hooks for what only
somebody who knows the pictures can say.

A domain is one folder in `factory/domains` and one in `schemas`, or a package of its own
(docs/new-domain.md). Its face, the module with its `Domain`, imports neither torch nor OpenCV: each
hook imports what it needs when it is called.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from pathlib import Path

    from factory.dataset.dataset import Dataset
    from factory.measures.density_ratio import LabelTarget
    from factory.measures.two_sample import TwoSampleTest
    from factory.networks.label_consistency import LabelConsistency
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.held_out import Scoring
    from factory.validation.protocols import Validator
    from schemas.dataset import ImageSpec


class MissingHookError(ValueError):
    """A domain was asked for something that it does not bring."""


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

    def renderer(self, **options: Any) -> "Renderer":
        """A built-in renderer, made from the options of jobs/simulate.py."""
        self._lacks("a built-in renderer")

    def validator(self) -> "Validator":
        """What validates its refined samples."""
        self._lacks("a validation of refined samples")

    def scoring(self, synthetic: "Dataset", test: "TwoSampleTest") -> "Scoring":
        """How refiners are scored on held-out images, while they train and in ablations.

        Args:
            synthetic: the renders that are refined.
            test: tells refined images from real ones.
        """
        self._lacks("a scoring of refiners on held-out images")

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
