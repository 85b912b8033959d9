"""What a source of images gives: a listing, and one image with its labels at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from factory.images.png import Affine, Pixels
from factory.sources.scan import ScanItem, Seen
from schemas.base import Model
from schemas.dataset import DatasetKind, InputFacts

VANISHED = "vanished since it was listed"
"""the reason of a `Vanished` input"""


class BadRender(Exception):  # noqa: N818 - a verdict on one input, not a failure of the program
    """One input is malformed: it is set aside with its reason, and the rest goes on."""

    digests: tuple[str | None, str | None] = None, None
    """sha256 of the image and label bytes that were judged; None where they were not read"""

    def __init__(self, source_id: str, reason: str):
        super().__init__(f"{source_id}: {reason}")
        self.source_id = source_id
        self.reason = reason


class LeftOut(BadRender):
    """One input is fine, and a filter leaves it out on purpose."""


class Vanished(BadRender):
    """One input was listed and is not there any more. It may come back."""

    def __init__(self, source_id: str):
        super().__init__(source_id, VANISHED)


@dataclass(frozen=True)
class Loaded:
    """One image, cropped, with its labels in the project's conventions."""

    image: Pixels
    """of the dataset's image spec"""
    labels: Mapping[str, Any]
    """fields of the domain's json member beyond the envelope; those of labels where labelled"""
    identity: str | None
    crop_affine: Affine
    """source pixels to crop pixels"""
    extra: Mapping[str, Any]
    """fields of the source, as they came"""
    image_sha256: str
    label_sha256: str | None


class SourceOptions(Model):
    """What decides the content of a source's samples; the dataset's card records it. Each source
    has a kind of its own."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images that it makes, px."""
        raise NotImplementedError


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
        """Every input, in natural order of its id, whatever the file system's order."""

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        """The same for any number of inputs: in batches, in no order, archives that are as they
        were when `seen` not opened."""

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        """Ids of the inputs that will be asked for next, with what their plan says of their files,
        so that the place need not be listed."""

    def identity(self, source_id: str) -> str | None:
        """Who is in the picture, read from the label. Raises `BadRender`."""

    def digests(self, source_id: str) -> tuple[str, str | None]:
        """sha256 of the image's and the label's bytes. Raises `BadRender`."""

    def load(self, source_id: str) -> Loaded:
        """Decode, check, crop. Raises `BadRender` for a malformed input, `LeftOut` for a filter."""


@runtime_checkable
class BatchSource(Protocol):
    """A source that loads several inputs in less time than one after the other."""

    def load_batch(self, source_ids: Sequence[str]) -> list[Loaded | BadRender]:
        """What `load` gives or raises for each one, in their order."""


BATCH_INPUTS = 32
"""inputs to load together: enough for a source's code to stay in the caches, and less than a
megabyte of UnityEyes' JPEGs"""


def load_all(source: Source, source_ids: Sequence[str]) -> Iterator[Loaded | BadRender]:
    """What `load` gives or raises for each input, in their order."""
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
