"""The names and listing of the files of the NYU hand pose set, or of renders in its format."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from factory.sources.files import Files
from factory.sources.names import suffix_of
from factory.sources.scan import (
    BATCH_ROWS,
    SCAN_SCHEMA,
    Container,
    FileFacts,
    Ignored,
    ScanItem,
    Seen,
    joined_problems,
)

JOINT_DATA = "joint_data.mat"
CAMERAS = (1, 2, 3)
NUM_CAMERAS = len(CAMERAS)
SUFFIXES = frozenset({".png", ".mat"})
"""lower case; files may spell them in any"""
PNG_SPELLINGS = (".png", ".PNG", ".Png", ".pNg", ".pnG", ".PNg", ".PnG", ".pNG")
"""the likeliest first"""
LEFT_OUT = "frames that the options leave out"
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


def _is_joint_data(name: str) -> bool:
    return name.rpartition("/")[2] == JOINT_DATA


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

    container: str | None
    """the archive"""
    pictures: list[tuple[FrameName, FileFacts]] = field(default_factory=list)
    """the pictures that are inputs"""
    beside: dict[str, FileFacts] = field(default_factory=dict)
    """by name, the files of joints, and by name without suffix, the renders that decide about
    masks"""

    def files_of_joints(self) -> list[FileFacts]:
        """The files with the joints of the pictures."""
        names = dict.fromkeys(name.joint_data for name, _ in self.pictures)
        return [self.beside[name] for name in names if name in self.beside]

    def leave_out(self, joint_data: Set[str]) -> None:
        """Leave out the pictures whose joints are in one of these files."""
        self.pictures = [p for p in self.pictures if p[0].joint_data not in joint_data]


@dataclass(frozen=True)
class FrameScan:
    """How the frames of a location are listed: one input for each picture.

    An input has the facts of all files that decide its sample: the picture, the joints, and the
    render of the same frame where that matters. So all pictures beside a `joint_data.mat` that was
    rewritten are looked at again. Where it cannot be read, it is named once, as a container, and
    its pictures are no inputs until it can.
    """

    prefix: Prefix
    """the kind of pictures that are inputs"""
    cameras: Set[int]
    """the cameras whose pictures are inputs; pictures of cameras that NYU does not have are inputs
    too, so that they are rejected with a reason"""
    with_twin: bool
    """whether the render of the same frame decides about a sample"""
    problem_of: Callable[[str], str | None]
    """why a file of joints cannot be read, by its name; None where it can"""

    def items(self, files: Files, seen: Seen) -> Iterator[ScanItem]:
        """The items of a scan of some files."""
        held: dict[str | None, _Folder] = {}
        ignored: Counter[str] = Counter()
        unreadable: set[str] = set()
        for item in files.walk(SUFFIXES, seen):
            if isinstance(item, Container) and _is_joint_data(item.name):
                unreadable.add(item.name)  # for example without permission
                yield item
                continue
            if isinstance(item, Container):
                folder = held.pop(item.name, _Folder(item.name))
                problems = [item.problem] if item.problem else []
                for file in folder.files_of_joints():
                    problem = self.problem_of(file.name)
                    if problem is not None:
                        folder.leave_out({file.name})
                        problems.append(problem)
                yield from self._inputs(folder)
                yield replace(item, problem=joined_problems(problems))
                continue
            if isinstance(item, Ignored):
                yield item
                continue
            named, misnamed = item.split_off_misnamed()
            yield from misnamed
            folder = held.setdefault(item.container, _Folder(item.container))
            for file in named.files():
                what = self._add(folder, file)
                if what is not None:
                    ignored[what] += 1
        for folder in held.values():
            folder.leave_out(unreadable)
            yield from self._loose(folder, seen)
        yield Ignored(ignored)

    def _add(self, folder: _Folder, file: FileFacts) -> str | None:
        """Add a file to its folder; gives what it is where nothing reads it."""
        if _is_joint_data(file.name):
            folder.beside[file.name] = file
            return None
        name = frame_name(_stem(file.name))
        if name is None:
            return suffix_of(file.name)
        is_twin = self.with_twin and name.prefix == "synthdepth"
        if is_twin:
            folder.beside[name.stem] = file
        if name.prefix == self.prefix and (
            name.camera in self.cameras or name.camera not in CAMERAS
        ):
            folder.pictures.append((name, file))
            return None
        return None if is_twin else LEFT_OUT

    def _loose(self, folder: _Folder, seen: Seen) -> Iterator[ScanItem]:
        """The inputs outside archives, and their files of joints."""
        looked_at: list[Container] = []
        for file in folder.files_of_joints():
            joints = Container(*file)
            known = seen.get(file.name)
            if known is not None and joints.is_unchanged(known):
                looked_at.append(replace(joints, num_inputs=known.num_inputs))
            else:
                looked_at.append(replace(joints, problem=self.problem_of(file.name)))
        folder.leave_out({joints.name for joints in looked_at if joints.problem is not None})
        yield from self._inputs(folder)
        yield from looked_at

    def _inputs(self, folder: _Folder) -> Iterator[Any]:
        for start in range(0, len(folder.pictures), BATCH_ROWS):
            rows: list[dict[str, Any]] = []
            for name, file in folder.pictures[start : start + BATCH_ROWS]:
                beside = [name.joint_data, name.twin_stem] if self.with_twin else [name.joint_data]
                deciding = [file, *(folder.beside[b] for b in beside if b in folder.beside)]
                rows.append(
                    {
                        "id": name.stem,
                        "suffix": file.name.removeprefix(name.stem),
                        "size": sum(facts.size for facts in deciding),
                        "mtime_ns": max(facts.mtime_ns for facts in deciding),
                        "etag": _joined(facts.etag for facts in deciding),
                        "container": folder.container,
                    }
                )
            yield pa.RecordBatch.from_pylist(rows, schema=SCAN_SCHEMA)


def _joined(etags: Iterable[str | None]) -> str | None:
    """The ETags of several files as one string; None where a file has none."""
    known = list(etags)
    return None if None in known else " ".join(filter(None, known))
