"""The interface of a source of images: it lists its inputs and loads them one at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from factory.images.png import Affine, Pixels
from factory.sources.scan import ScanItem, Seen
from schemas.base import Model
from schemas.dataset import DatasetKind, InputFacts

VANISHED = "vanished since it was listed"
"""the reason that is recorded of a `Vanished` input"""


Digests = tuple[str | None, str | None]
"""sha256 of an input's image and label bytes; None for those that there are not, or that cannot be
read"""


class BadRender(Exception):  # noqa: N818 - a verdict on one input, not a failure of the program
    """One input is malformed. It is recorded with its reason, and the others are not affected."""

    digests: Digests = None, None

    def __init__(self, source_id: str, reason: str):
        super().__init__(f"{source_id}: {reason}")
        self.source_id = source_id
        self.reason = reason


class LeftOut(BadRender):
    """A filter leaves out one input on purpose, though nothing is wrong with it."""


class Vanished(BadRender):
    """One input was listed and no longer exists. It may come back."""

    def __init__(self, source_id: str):
        super().__init__(source_id, VANISHED)


@contextmanager
def rejected_with(digests: Digests) -> Iterator[None]:
    """Give an input that is malformed the digests of its bytes, which were read before."""
    try:
        yield
    except BadRender as bad:
        bad.digests = digests
        raise


@dataclass(frozen=True)
class Loaded:
    """One cropped image, with its labels in the conventions of docs/conventions.md."""

    image: Pixels
    """in the layout of the dataset's `ImageSpec`"""
    labels: Mapping[str, Any]
    """fields of the domain's json member beyond the envelope"""
    identity: str | None
    """skin texture, person or subject, where the source knows it"""
    crop_affine: Affine
    """maps source pixels to crop pixels"""
    extra: Mapping[str, Any]
    """fields of the source, as they came"""
    image_sha256: str
    label_sha256: str | None


class SourceOptions(Model):
    """Options that decide the content of a source's samples; the dataset's card records them.

    Each source has a subclass of its own.
    """

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images that the source makes, px."""
        raise NotImplementedError

    @property
    def channels(self) -> Literal[1, 3] | None:
        """Number of their channels; None for as many as the domain's images usually have."""
        return None


class Source(Protocol):
    """One kind of input. Every method may be called in any process, in any order."""

    name: ClassVar[str]
    options_kind: ClassVar[type[SourceOptions]]
    location: str | Path
    """where the inputs lie"""
    options: Any
    """of `options_kind`"""

    def __init__(self, location: str | Path, options: Any) -> None:
        """
        Args:
            options: of `options_kind`.
        """

    @property
    def labelled(self) -> bool:
        """Whether its samples carry labels."""

    @property
    def kind(self) -> DatasetKind:
        """What its images are."""

    def listing(self) -> Sequence[InputFacts]:
        """Every input, in natural order of its id, whatever the order of the file system."""

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        """Every input, in batches and in no order, for any number of inputs.

        Args:
            seen: archives by name; those that have not changed since are not opened.
        """

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        """Announce the inputs that are loaded next, so that the location need not be listed.

        Args:
            suffixes: id of an input to the suffixes of its files, None where they are unknown.
        """

    def identity(self, source_id: str) -> str | None:
        """Identity of an input, read from its label. Raises `BadRender`."""

    def digests(self, source_id: str) -> tuple[str, str | None]:
        """sha256 of an input's image and label bytes. Raises `BadRender`."""

    def load(self, source_id: str) -> Loaded:
        """Decode, check and crop one input.

        Raises:
            BadRender: the input is malformed.
            LeftOut: a filter leaves the input out.
        """


@runtime_checkable
class BatchSource(Protocol):
    """A source that loads several inputs together in less time than one after the other."""

    def load_batch(self, source_ids: Sequence[str]) -> list[Loaded | BadRender]:
        """For each input, in the given order, what `load` returns or raises."""


def digests_now(source: Source, source_id: str) -> Digests:
    """`Source.digests`, where an input that cannot be read has none."""
    try:
        return source.digests(source_id)
    except BadRender:
        return None, None


BATCH_INPUTS = 32
"""number of inputs to load together: enough for the source's code to stay in the CPU's caches, and
less than a megabyte of UnityEyes' JPEGs"""


def load_all(source: Source, source_ids: Sequence[str]) -> Iterator[Loaded | BadRender]:
    """For each input, in the given order, what `load` returns or raises."""
    for start in range(0, len(source_ids), BATCH_INPUTS):
        batch = source_ids[start : start + BATCH_INPUTS]
        if isinstance(source, BatchSource):
            yield from source.load_batch(batch)
        else:
            yield from map(partial(_loaded, source), batch)


def _loaded(source: Source, source_id: str) -> Loaded | BadRender:
    try:
        return source.load(source_id)
    except BadRender as bad:
        return bad
