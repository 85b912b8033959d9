"""The names and listing of the files of the NYU hand pose set, or of renders in its format."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from factory.sources.files import Files
from factory.sources.scan import (
    BATCH_ROWS,
    SCAN_SCHEMA,
    Container,
    FileFacts,
    Ignored,
    ScanItem,
    Seen,
)

JOINT_DATA = "joint_data.mat"
CAMERAS = (1, 2, 3)
NUM_CAMERAS = len(CAMERAS)
SUFFIXES = frozenset({".png", ".mat"})
"""lower case; files may spell them in any"""
PNG_SPELLINGS = (".png", ".PNG", ".Png", ".pNg", ".pnG", ".PNg", ".PnG", ".pNG")
"""the likeliest first"""
Prefix = Literal["depth", "synthdepth"]
"""how the name of a camera frame begins, and that of a render"""
_PICTURE = re.compile("((?:.*/)?)(depth|synthdepth)_(([0-9]+)_([0-9]+))", re.DOTALL)


class FrameName(NamedTuple):
    """The parts of a picture's name, e.g. `train/depth_1_0000001`."""

    folder: str
    """with a slash at its end; empty for the top folder"""
    prefix: str
    """see `Prefix`"""
    rest: str
    """camera and frame as they are written, e.g. `1_0000001`"""
    camera: int
    frame: int
    """counted from 1"""

    @property
    def stem(self) -> str:
        """The whole name, without its suffix."""
        return f"{self.folder}{self.prefix}_{self.rest}"

    @property
    def joint_data(self) -> str:
        """The name of the file with the joints of this folder."""
        return f"{self.folder}{JOINT_DATA}"

    @property
    def twin_stem(self) -> str:
        """The name of the render of the same frame for the same camera, without its suffix."""
        return f"{self.folder}synthdepth_{self.rest}"


def _stem(name: str) -> str:
    return name[: -len(".png")] if name.lower().endswith(".png") else name


def frame_name(stem: str) -> FrameName | None:
    """The parts of a name.

    Args:
        stem: the name without its suffix.

    Returns:
        None where this is not the name of an NYU picture.
    """
    match = _PICTURE.fullmatch(stem)
    if match is None:
        return None
    folder, prefix, rest, camera, frame = match.groups()
    return FrameName(folder, prefix, rest, int(camera), int(frame))


@dataclass
class _Folder:
    """The listed files of one archive, or of all folders outside archives."""

    pictures: list[tuple[FrameName, FileFacts]] = field(default_factory=list)
    """the pictures that are inputs"""
    beside: dict[str, FileFacts] = field(default_factory=dict)
    """by name, the files of joints, and by name without suffix, the renders that decide about
    masks"""


def scan_frames(
    files: Files, seen: Seen, *, prefix: Prefix, cameras: Set[int], with_twin: bool
) -> Iterator[ScanItem]:
    """List one input for each picture.

    An input has the facts of all files that decide its sample: the picture, the joints, and the
    render of the same frame where that matters. So all pictures beside a `joint_data.mat` that was
    rewritten are looked at again.

    Args:
        prefix: the kind of pictures that are inputs.
        cameras: the cameras whose pictures are inputs; pictures of cameras that NYU does not have
            are inputs too, so that they are rejected with a reason.
        with_twin: whether the render of the same frame decides about a sample.
    """
    held: dict[str | None, _Folder] = defaultdict(_Folder)
    for item in files.walk(SUFFIXES, seen):
        if isinstance(item, Container):
            yield from _inputs(held.pop(item.name, _Folder()), item.name, with_twin)
            yield item
            continue
        if isinstance(item, Ignored):
            yield item
            continue
        named, misnamed = item.split_off_misnamed()
        yield from misnamed
        here = held[item.container]
        for file in named.files():
            if file.name.rpartition("/")[2] == JOINT_DATA:
                here.beside[file.name] = file
                continue
            name = frame_name(_stem(file.name))
            if name is None:
                continue
            if with_twin and name.prefix == "synthdepth":
                here.beside[name.stem] = file
            if name.prefix == prefix and (name.camera in cameras or name.camera not in CAMERAS):
                here.pictures.append((name, file))
    for container, folder in held.items():
        yield from _inputs(folder, container, with_twin)


def _inputs(folder: _Folder, container: str | None, with_twin: bool) -> Iterator[Any]:
    for start in range(0, len(folder.pictures), BATCH_ROWS):
        rows: list[dict[str, Any]] = []
        for name, file in folder.pictures[start : start + BATCH_ROWS]:
            beside = [name.joint_data, name.twin_stem] if with_twin else [name.joint_data]
            deciding = [file, *(folder.beside[b] for b in beside if b in folder.beside)]
            rows.append(
                {
                    "id": name.stem,
                    "suffix": file.name.removeprefix(name.stem),
                    "size": sum(facts.size for facts in deciding),
                    "mtime_ns": max(facts.mtime_ns for facts in deciding),
                    "etag": _joined(facts.etag for facts in deciding),
                    "container": container,
                }
            )
        yield pa.RecordBatch.from_pylist(rows, schema=SCAN_SCHEMA)


def _joined(etags: Iterable[str | None]) -> str | None:
    """The ETags of several files as one string; None where a file has none."""
    known = list(etags)
    return None if None in known else " ".join(filter(None, known))
