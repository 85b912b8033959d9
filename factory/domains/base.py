"""What the factory asks of a domain: its kind of sample, its sources, and hooks for what only
somebody who knows the pictures can say.

A domain is one folder in `factory/domains` and one in `schemas`, or a package of its own
(docs/new-domain.md). Its face, the module with its `Domain`, imports neither torch nor OpenCV: each
hook imports what it needs when it is called.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from schemas.base import Model
from schemas.kinds import SampleKind

if TYPE_CHECKING:
    from factory.sources.base import Source
    from factory.sources.renderer import Renderer
    from factory.validation.power.damages import Damages
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

    def measuring_options(self) -> type[Model]:
        """The options of the jobs that measure refined samples which are of this domain alone: what
        `Validator.witnesses` is given. A model whose fields all have defaults."""
        return Model

    def validation_options(self) -> type[Model]:
        """The further options of jobs/validate.py which are of this domain alone: what
        `Validator.examine` is given. A model whose fields all have defaults."""
        return Model

    def damage(self) -> "Damages":
        """The kinds of damage by which jobs/power.py tries the domain's validation."""
        self._lacks("damage to try its validation by")

    def _lacks(self, what: str) -> NoReturn:
        raise MissingHookError(f"the domain {self.name} brings no {what.removeprefix('a ')}")
