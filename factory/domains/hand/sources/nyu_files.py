"""The files of a folder of the NYU hand pose set, or of renders in its format."""

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
    ScanItem,
    Seen,
)

JOINT_DATA = "joint_data.mat"
CAMERAS = (1, 2, 3)
SUFFIXES = frozenset({".png", ".mat"})
Prefix = Literal["depth", "synthdepth"]
"""of a camera's picture, of a render"""
_PICTURE = re.compile("((?:.*/)?)(depth|synthdepth)_(([0-9]+)_([0-9]+))", re.DOTALL)


class FrameName(NamedTuple):
    """What the name of a picture says, e.g. `train/depth_1_0000001`."""

    folder: str
    """with a slash at its end; empty at the top"""
    prefix: str
    rest: str
    """`1_0000001`: camera and frame, as written"""
    camera: int
    frame: int
    """from 1"""

    @property
    def stem(self) -> str:
        """The whole name, without its suffix."""
        return f"{self.folder}{self.prefix}_{self.rest}"

    @property
    def joint_data(self) -> str:
        """The file with the joints of this folder."""
        return f"{self.folder}{JOINT_DATA}"

    @property
    def twin(self) -> str:
        """The render of the same hand by the same camera."""
        return f"{self.folder}synthdepth_{self.rest}.png"


def frame_name(stem: str) -> FrameName | None:
    """The parts of a picture's name without its suffix; None where it is no such picture."""
    match = _PICTURE.fullmatch(stem)
    if match is None:
        return None
    folder, prefix, rest, camera, frame = match.groups()
    return FrameName(folder, prefix, rest, int(camera), int(frame))


@dataclass
class _Folder:
    """What one archive, or all that lies outside archives, has of a listing."""

    pictures: list[tuple[FrameName, FileFacts]] = field(default_factory=list)
    beside: dict[str, FileFacts] = field(default_factory=dict)
    """joints and twins by name"""


def scan_frames(
    files: Files, seen: Seen, *, prefix: Prefix, cameras: Set[int], with_twin: bool
) -> Iterator[ScanItem]:
    """One input for each picture, with the facts of all files that decide its sample: its own, the
    joints', the twin's. So a rewritten `joint_data.mat` has every picture beside it looked at.

    Args:
        prefix: the pictures that are inputs.
        cameras: of them; pictures of a camera that NYU has not got are inputs too, to be rejected.
        with_twin: the render of the same frame decides too.
    """
    held: dict[str | None, _Folder] = defaultdict(_Folder)
    for item in files.walk(SUFFIXES, seen):
        if isinstance(item, Container):
            yield from _inputs(held.pop(item.name, _Folder()), item.name, with_twin)
            yield item
            continue
        named, misnamed = item.split_off_misnamed()
        yield from misnamed
        here = held[item.container]
        for file in named.files():
            if file.name.rpartition("/")[2] == JOINT_DATA:
                here.beside[file.name] = file
                continue
            name = frame_name(file.name.removesuffix(".png"))
            if name is None:
                continue
            if with_twin and name.prefix == "synthdepth":
                here.beside[file.name] = file
            if name.prefix == prefix and (name.camera in cameras or name.camera not in CAMERAS):
                here.pictures.append((name, file))
    for container, folder in held.items():
        yield from _inputs(folder, container, with_twin)


def _inputs(folder: _Folder, container: str | None, with_twin: bool) -> Iterator[Any]:
    for start in range(0, len(folder.pictures), BATCH_ROWS):
        rows: list[dict[str, Any]] = []
        for name, file in folder.pictures[start : start + BATCH_ROWS]:
            beside = [name.joint_data, name.twin] if with_twin else [name.joint_data]
            found = [file, *(folder.beside[b] for b in beside if b in folder.beside)]
            rows.append(
                {
                    "id": file.name.removesuffix(".png"),
                    "suffix": None,
                    "size": sum(facts.size for facts in found),
                    "mtime_ns": max(facts.mtime_ns for facts in found),
                    "etag": _joined(facts.etag for facts in found),
                    "container": container,
                }
            )
        yield pa.RecordBatch.from_pylist(rows, schema=SCAN_SCHEMA)


def _joined(etags: Iterable[str | None]) -> str | None:
    """One for several files, where each has one."""
    known = list(etags)
    return None if None in known else " ".join(filter(None, known))
