"""What the factory asks of a domain: its kind of sample, its sources, and hooks for what only
somebody who knows the pictures can say.

A domain is one folder in `factory/domains` and one in `schemas`, or a package of its own
(docs/new-domain.md). Its face, the module with its `Domain`, imports neither torch nor OpenCV: each
hook imports what it needs when it is called.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from factory.networks.estimator_kinds import EstimatorKind
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.protocols import Validator


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

    def estimators(self) -> "Mapping[str, EstimatorKind[Any, Any, Any]]":
        """Networks that read labels off its images, by the names that jobs/estimator.py takes."""
        return {}

    def _lacks(self, what: str) -> NoReturn:
        raise MissingHookError(f"the domain {self.name} brings no {what.removeprefix('a ')}")
