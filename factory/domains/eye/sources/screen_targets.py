"""The source for pictures of eyes that looked at known dots on a screen.

A folder or archive has pictures and a table `targets.csv`, which docs/dataset.md describes. Targets
are kept in `extra`, for evaluation: training uses no labels of real images.
"""

import math
import re
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import CroppedOptions, EyeCrop, require_wide
from factory.domains.eye.sources.pictures import cover, decoded, require_upright
from factory.domains.eye.sources.targets_csv import (
    TARGETS,
    PointXY,
    Row,
    Target,
    TargetsError,
    TargetTable,
)
from factory.images.crop import Framing
from factory.images.png import chain
from factory.sources.archives import split_at_archive
from factory.sources.base import BadRender, LeftOut, Loaded, SourceOptions, Vanished, rejected_with
from factory.sources.listing import IMAGE_SUFFIXES, FileSource
from factory.sources.members import DamagedFileError
from factory.sources.scan import (
    BATCH_ROWS,
    SCAN_SCHEMA,
    Container,
    FileFacts,
    Ignored,
    ScanItem,
    Seen,
)
from schemas.dataset import DatasetKind

SUFFIXES = IMAGE_SUFFIXES | {".csv"}
MAX_TABLES = 4
"""tables that are held in memory"""
Blocks = Literal["all", "even", "odd"]
_LINE = "line "


class ScreenTargetsOptions(CroppedOptions):
    """The options that decide the content of a sample of such a picture."""

    blocks: Blocks = "all"
    """the blocks that are kept, by their position in the natural order of their names, from 0"""


class ScreenTargetsSource(FileSource):
    """Eyes that looked at known dots on a screen, pictures + targets.csv.

    Reads one picture at a time, with ids such as `monday/targets.csv:eyes/0017-left.png`. A row of
    which no picture was listed has the id `targets.csv:line 7`, and a picture that no row names has
    its name; both are rejected.
    """

    options: ScreenTargetsOptions
    options_kind: ClassVar[type[SourceOptions]] = ScreenTargetsOptions
    name: ClassVar[str] = "screen-targets"
    labelled: ClassVar[bool] = False
    kind: ClassVar[DatasetKind] = "real"

    def __init__(self, location: str | Path, options: ScreenTargetsOptions):
        super().__init__(location, options)
        self._tables: OrderedDict[str, TargetTable | TargetsError] = OrderedDict()
        """by file, those that were read last"""
        self._lock = threading.Lock()

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        """List every picture and every row, and name each table that cannot be read.

        An input has the facts of its picture and of its table, so that all rows of a table that was
        rewritten are looked at again.
        """
        held: dict[str | None, _Listed] = defaultdict(_Listed)
        for item in self.files.walk(SUFFIXES, seen):
            if isinstance(item, Ignored):
                yield item
                continue
            if isinstance(item, Container):
                listed = held.pop(item.name, _Listed())
                bad = yield from self._inputs(listed, item.name)
                problems = [item.problem, *(f"{name}: {why}" for name, why in bad.items())]
                yield replace(item, problem="; ".join(filter(None, problems)) or None)
                continue
            named, misnamed = item.split_off_misnamed()
            yield from misnamed
            held[item.container].add(named.files())
        for container, listed in held.items():
            bad = yield from self._inputs(listed, container)
            for name, why in bad.items():
                yield Container(*listed.tables[name], problem=f"{name}: {why}")
            if listed.num_other_tables:
                yield Ignored({".csv": listed.num_other_tables})

    def _inputs(
        self, listed: "_Listed", container: str | None
    ) -> Generator[Any, None, dict[str, str]]:
        """Rows of the listing; returns what is wrong with tables, by their names."""
        bad: dict[str, str] = {}
        rows: list[dict[str, Any]] = []
        unnamed = dict(listed.pictures)
        for name, file in listed.tables.items():
            try:
                table = self._table(name, again=True)
            except (TargetsError, DamagedFileError) as error:
                bad[name] = str(error)
                folder = name.removesuffix(TARGETS)
                unnamed = {n: f for n, f in unnamed.items() if not n.startswith(folder)}
                continue
            except FileNotFoundError:
                continue
            folder = name.removesuffix(TARGETS)
            for row in table.of_line.values():
                if row.picture is not None and table.of_picture[row.picture] is not row:
                    continue  # one of several rows of one picture, which are one input
                picture = listed.pictures.get(f"{folder}{row.picture}")
                if picture is None:
                    rows.append(_facts(f"{name}:{_LINE}{row.line}", [file], container))
                else:
                    rows.append(_facts(f"{name}:{row.picture}", [picture, file], container))
                    unnamed.pop(picture.name, None)
        rows += [_facts(name, [file], container) for name, file in unnamed.items()]
        for start in range(0, len(rows), BATCH_ROWS):
            yield pa.RecordBatch.from_pylist(rows[start : start + BATCH_ROWS], schema=SCAN_SCHEMA)
        return bad

    def identity(self, source_id: str) -> str | None:
        """Person and block, so that splits keep blocks whole."""
        table_name, picture = _parts(source_id)
        if table_name is None:
            return None
        return _target_of(source_id, self._row(source_id, table_name, picture)).identity

    def digests(self, source_id: str) -> tuple[str, str | None]:
        raw, row = self._read(source_id)
        return sha256(raw), None if row is None else row.digest()

    def load(self, source_id: str) -> Loaded:
        raw, row = self._read(source_id)
        digests = sha256(raw), None if row is None else row.digest()
        with rejected_with(digests):
            if row is None:
                raise BadRender(source_id, f"no row of a {TARGETS} names this picture")
            return self._loaded(source_id, raw, _target_of(source_id, row), digests)

    def _loaded(
        self, source_id: str, raw: bytes, target: Target, digests: tuple[str, str | None]
    ) -> Loaded:
        kept = self.options.blocks
        if kept != "all" and (target.block_position % 2 == 0) != (kept == "even"):
            raise LeftOut(source_id, f"its block is not among the {kept} ones")
        crop, corners = self.options.crop, target.corners_px
        if corners is not None:
            require_upright(source_id, raw, "eye corners")
        picture = decoded(source_id, raw, crop)
        height, width = picture.shape[:2]
        mirrored = target.eye_side == "right"
        flip = np.array([[-1.0, 0, width - 1], [0, 1, 0]])
        if mirrored:  # right eyes are mirrored to look like left ones
            picture = np.ascontiguousarray(picture[:, ::-1])
            if corners is not None:
                inner, outer = ((width - 1 - x, y) for x, y in corners)
                corners = inner, outer
        if corners is None:
            framing = cover(height, width, crop)
        else:
            framing = _framing(source_id, picture, *corners, crop)
        affine = framing.affine()
        return Loaded(
            image=crop.cut(picture, framing),
            labels={},
            identity=target.identity,
            crop_affine=chain(affine, flip) if mirrored else affine,
            extra={
                "target_px": list(target.target_px),
                "block": target.block,
                "block_position": target.block_position,
                "frame": target.frame,
                "person": target.person,
                "eye_side": target.eye_side,
                "mirrored": mirrored,
                "other": dict(target.other),
            },
            image_sha256=digests[0],
            label_sha256=digests[1],
        )

    def _read(self, source_id: str) -> tuple[bytes, Row | None]:
        """The bytes of a picture, and the row that names it.

        Raises:
            Vanished: the row or the picture does not exist any more.
            BadRender: there is no such picture, or it is damaged.
        """
        table_name, picture = _parts(source_id)
        row, name = None, picture
        if table_name is not None:
            row = self._row(source_id, table_name, picture)
            name = f"{table_name.removesuffix(TARGETS)}{picture}"
            if _line_of(picture) is not None:
                missing = f"line {row.line} of {TARGETS} names {row.picture!r}, which is not there"
                raise BadRender(source_id, row.problem or missing)
            if len([*split_at_archive(name)]) != len([*split_at_archive(table_name)]):
                raise BadRender(source_id, f"{TARGETS} does not lie in the archive of the picture")
        (raw,) = self.read_files(source_id, name)
        return raw, row

    def _row(self, source_id: str, table_name: str, picture: str) -> Row:
        try:
            table = self._table(table_name)
        except FileNotFoundError as error:
            raise Vanished(source_id) from error
        except (TargetsError, DamagedFileError) as error:
            raise BadRender(source_id, f"{TARGETS} {error}") from error
        line = _line_of(picture)
        row = table.of_picture.get(picture) if line is None else table.of_line.get(line)
        if row is None:
            raise Vanished(source_id)
        return row

    def _table(self, name: str, *, again: bool = False) -> TargetTable:
        """A table, which is read once.

        Args:
            again: read it anew, as it may have changed since.

        Raises:
            FileNotFoundError: there is no such file.
            DamagedFileError: its content cannot be read.
            TargetsError: it is no table of targets.
        """
        files = self.files  # opened here: a missing folder is not the fault of a table
        with self._lock:  # several threads would otherwise read one table at the same time
            if again or name not in self._tables:
                try:
                    self._tables[name] = TargetTable.parse(files.read(name))
                except TargetsError as error:
                    self._tables[name] = error
                while len(self._tables) > MAX_TABLES:
                    self._tables.popitem(last=False)
            table = self._tables[name]
        if isinstance(table, TargetsError):
            raise table
        return table


@dataclass
class _Listed:
    """The listed files of one archive, or of all folders outside archives, by name."""

    pictures: dict[str, FileFacts] = field(default_factory=dict)
    tables: dict[str, FileFacts] = field(default_factory=dict)
    num_other_tables: int = 0

    def add(self, files: Iterable[FileFacts]) -> None:
        for file in files:
            if not file.name.lower().endswith(".csv"):
                self.pictures[file.name] = file
            elif file.name.rpartition("/")[2] == TARGETS:
                self.tables[file.name] = file
            else:
                self.num_other_tables += 1


def _facts(source_id: str, files: Sequence[FileFacts], container: str | None) -> dict[str, Any]:
    etags = [file.etag for file in files]
    return {
        "id": source_id,
        "suffix": None,
        "size": sum(file.size for file in files),
        "mtime_ns": max(file.mtime_ns for file in files),
        "etag": None if None in etags else " ".join(filter(None, etags)),
        "container": container,
    }


def _parts(source_id: str) -> tuple[str | None, str]:
    """(table, picture or line) of an input; no table for a picture that no row names."""
    match = re.fullmatch(rf"((?:.*?/)?{re.escape(TARGETS)}):(.+)", source_id, re.DOTALL)
    return (match[1], match[2]) if match else (None, source_id)


def _line_of(picture: str) -> int | None:
    match = re.fullmatch(f"{_LINE}([0-9]+)", picture)
    return int(match[1]) if match else None


def _target_of(source_id: str, row: Row) -> Target:
    if row.target is None:
        raise BadRender(source_id, row.problem or "")
    return row.target


def _framing(
    source_id: str,
    picture: NDArray[np.uint8],
    inner: PointXY,
    outer: PointXY,
    crop: EyeCrop,
) -> Framing:
    """The framing of a left eye, or of a right one that was mirrored, by its corners."""
    height, width = picture.shape[:2]
    for x, y in (inner, outer):
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise BadRender(source_id, f"an eye corner is outside the picture of {width}x{height}")
    if inner[0] >= outer[0]:
        raise BadRender(
            source_id,
            "the inner and the outer corner are not as in an eye of the eye_side that is named; is "
            "it the other eye, or was the picture mirrored before?",
        )
    require_wide(source_id, math.dist(inner, outer))
    return crop.framing(inner, outer)
