"""Inputs of a dataset that did not become samples: counted by reason, and their pictures where the
files are still there and can be read."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from factory.dataset.dataset import Dataset
from factory.images.budget import check_size
from factory.images.picture import picture_size, read_picture
from factory.images.png import UndecodableError, decode, encode_png
from factory.ingestion.rejects import reason_class
from factory.sources.files import open_files
from factory.sources.listing import IMAGE_SUFFIXES
from factory.sources.members import DamagedFileError
from schemas.base import FormatError
from schemas.index import ShardFacts

MOST_ROWS = 200_000
"""records of rejected inputs that are read; the page says where there are more"""
WIDEST_PX = 640
"""width and height that a picture is brought down to"""
_SUFFIXES_TRIED = (".jpg", ".png", ".jpeg", ".webp", ".bmp", ".tif", ".pgm")
"""where the plan does not name the files of an input"""


class NoPictureError(ValueError):
    """There is no picture of a rejected input; the message is a sentence that says why."""


class Rejected(NamedTuple):
    """One input."""

    shard: int
    key: str
    source_id: str
    kind: str
    """`reject` or `filtered`"""
    reason: str

    @property
    def reason_class(self) -> str:
        """The reason without its numbers, by which inputs are counted."""
        return reason_class(self.reason, self.kind)


@dataclass(frozen=True)
class Rejects:
    """The records of all shards."""

    rows: tuple[Rejected, ...]
    num_all: int
    """inputs that were rejected or filtered, as the facts of the shards say"""
    unreadable: tuple[str, ...]
    """records that cannot be read, a sentence for each"""

    def counts(self) -> list[tuple[str, str, int]]:
        """(kind, class of reason, number), malformed inputs first, then the most frequent."""
        counted = Counter((row.kind, row.reason_class) for row in self.rows)
        ordered = sorted(counted.items(), key=lambda item: (item[0][0] != "reject", -item[1]))
        return [(kind, reason, count) for (kind, reason), count in ordered]

    def of(self, kind: str, reason: str) -> list[Rejected]:
        """The inputs of one kind and class of reason, in order of key."""
        return [row for row in self.rows if row.kind == kind and row.reason_class == reason]


def read_rejects(dataset: Dataset, facts: Mapping[int, ShardFacts]) -> Rejects:
    """The records of rejected inputs, of at most `MOST_ROWS` inputs.

    Args:
        facts: of the committed shards.
    """
    rows: list[Rejected] = []
    unreadable = []
    num_all = sum(fact.num_rejected + fact.num_filtered for fact in facts.values())
    for shard, fact in facts.items():
        if not fact.num_rejected + fact.num_filtered or len(rows) >= MOST_ROWS:
            continue
        try:
            rows += [
                Rejected(shard, row["key"], row["source_id"], row["kind"], row["reason"])
                for row in dataset.rejects(shard).to_pylist()
            ]
        except (FileNotFoundError, FormatError) as error:
            unreadable.append(f"The rejects of shard {shard} cannot be read: {error}.")
    return Rejects(tuple(rows[:MOST_ROWS]), num_all, tuple(unreadable))


def rejected_png(dataset: Dataset, shard: int, key: str) -> bytes:
    """The picture of a rejected input, as far as it can be decoded.

    Raises:
        NoPictureError: it is no input of the shard, its files are gone, or they hold no picture.
    """
    try:
        plan = dataset.plan(shard)
    except (FileNotFoundError, FormatError) as error:
        raise NoPictureError(f"The plan of shard {shard} cannot be read: {error}.") from error
    planned = {f"{shard:06d}-{index:06d}": one for index, one in enumerate(plan.inputs)}.get(key)
    if planned is None:
        raise NoPictureError(f"The plan of shard {shard} has no input {key}.")
    if plan.location is None:
        raise NoPictureError("The plan does not say where its inputs lie.")
    raw = _picture_bytes(plan.location, planned.id, planned.suffixes)
    return _shrunk_png(_decoded(raw))


def _picture_bytes(location: str, source_id: str, suffixes: str | None) -> bytes:
    if not _is_plain(source_id):
        raise NoPictureError("The name of the input leads out of its place, so it is not opened.")
    named = [s for s in (suffixes or "").split(" ") if s.lower() in IMAGE_SUFFIXES]
    try:
        files = open_files(location)
    except (OSError, ValueError) as error:
        raise NoPictureError(f"The place of the inputs cannot be opened: {error}.") from error
    for suffix in named or _SUFFIXES_TRIED:
        try:
            return files.read(f"{source_id}{suffix}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (DamagedFileError, OSError, ValueError) as error:
            raise NoPictureError(f"The file cannot be read: {error}.") from error
    raise NoPictureError("The file of the picture is no longer where it was when it was planned.")


def _is_plain(source_id: str) -> bool:
    """Whether a name stays below its place."""
    parts = re.split(r"[/\\]", source_id)
    return ".." not in parts and not source_id.startswith(("/", "\\"))


def _decoded(raw: bytes) -> np.ndarray[Any, Any]:
    """(h, w) or (h, w, 3) RGB uint8; of a damaged file, what a lenient decoder makes of it."""
    try:
        return read_picture(raw, colour=None)
    except UndecodableError:
        try:
            check_size(*picture_size(raw))
        except UndecodableError as error:
            raise NoPictureError(f"The file is no picture: {error}.") from error
    pixels = decode(raw, cv2.IMREAD_COLOR)
    if pixels is None:
        raise NoPictureError("Nothing of the picture can be decoded.")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _shrunk_png(pixels: np.ndarray[Any, Any]) -> bytes:
    scale = WIDEST_PX / max(pixels.shape[:2])
    if scale < 1:
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    return encode_png(np.ascontiguousarray(pixels))
