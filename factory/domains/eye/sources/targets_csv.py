"""The table `targets.csv` of a set of pictures: which dot on a screen was looked at in each.

A row that is wrong has a problem, and the other rows are read.
"""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, cast

import orjson

from factory.dataset.tar import sha256
from factory.sources.listing import IMAGE_SUFFIXES
from factory.sources.names import MisnamedError, natural_order, plain_name, suffix_of

TARGETS = "targets.csv"
MAX_BYTES = 1 << 25
"""of a table; a row has about 60 bytes"""
NEEDED = ("picture", "target_x_px", "target_y_px", "block")
CORNERS = ("inner_x_px", "inner_y_px", "outer_x_px", "outer_y_px")
OPTIONAL = ("frame", "person", "eye_side", *CORNERS)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
PointXY = tuple[float, float]


class TargetsError(ValueError):
    """A file is no table of targets."""


class Target(NamedTuple):
    """What a row says of its picture."""

    target_px: PointXY
    """the dot that was looked at, px of the screen: x to the right as the person sees it, y down"""
    block: str
    """of frames that follow each other, and are alike"""
    block_position: int
    """of the block in the natural order of the names of all blocks, counted from 0"""
    frame: str
    """the moment; the pictures of one moment share it"""
    person: str | None
    eye_side: Literal["left", "right"]
    """the person's own left or right"""
    corners_px: tuple[PointXY, PointXY] | None
    """inner and outer corner of the eye, px of the picture"""
    other: Mapping[str, str]
    """the cells of columns that are not known here"""

    @property
    def identity(self) -> str:
        """Person and block, which splits keep together."""
        return self.block if self.person is None else f"{self.person}/{self.block}"


@dataclass
class Row:
    """One row, or several that name one picture."""

    line: int
    """of the file, counted from 1"""
    cells: Sequence[str]
    picture: str | None = None
    """plain name, relative to the table; None where the row names none"""
    target: Target | None = None
    """None where there is a problem"""
    problem: str | None = None

    def digest(self) -> str:
        """Changes with everything that decides about the sample."""
        known = None if self.target is None else self.target._asdict()
        return sha256(orjson.dumps([self.cells, known, self.problem]))


@dataclass
class TargetTable:
    """The rows of a table."""

    of_picture: dict[str, Row] = field(default_factory=dict)
    """by plain name, relative to the table"""
    of_line: dict[int, Row] = field(default_factory=dict)
    """every row, also one that names no picture"""

    @classmethod
    def parse(cls, raw: bytes) -> "TargetTable":
        """Read a table.

        Raises:
            TargetsError: it is too large, is not CSV in UTF-8, or lacks a column.
        """
        table = cls()
        header, lines = _cells(raw)
        for line, cells in lines:
            table._add(Row(line, cells), header)
        blocks = {row.cells[header["block"]].strip() for row in table._whole(header)} - {""}
        order = sorted(blocks, key=lambda block: (natural_order(block), block))
        positions = {block: position for position, block in enumerate(order)}
        for row in table.of_line.values():
            if row.problem is None and row.picture is not None:
                try:
                    row.target = _target(row, header, positions)
                except ValueError as error:
                    row.problem = f"{error} in line {row.line} of {TARGETS}"
        table._compare_frames()
        return table

    def _add(self, row: Row, header: Mapping[str, int]) -> None:
        """Add a row, with its picture or with what is wrong with it."""
        self.of_line[row.line] = row
        where = f"line {row.line} of {TARGETS}"
        if len(row.cells) != len(header):
            row.problem = f"{where} has {len(row.cells)} cells, its header {len(header)}"
        named = row.cells[header["picture"]].strip() if header["picture"] < len(row.cells) else ""
        try:
            picture = plain_name(named)
        except MisnamedError as error:
            row.problem = row.problem or f"{where} names no picture: {error}"
            return
        if suffix_of(picture) not in IMAGE_SUFFIXES:
            row.problem = row.problem or f"{where} names a picture of no known kind: {picture!r}"
            return
        row.picture = picture
        first = self.of_picture.setdefault(picture, row)
        if first is not row:
            lines = f"lines {first.line} and {row.line}"
            first.problem = row.problem = f"the {lines} of {TARGETS} name the same picture"

    def _whole(self, header: Mapping[str, int]) -> Iterator[Row]:
        return (row for row in self.of_line.values() if len(row.cells) == len(header))

    def _compare_frames(self) -> None:
        """Note a problem of all rows of a frame that differ in their target."""
        frames: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.of_line.values():
            if row.target is not None:
                frames[row.target.identity, row.target.frame].append(row)
        for (_, frame), rows in frames.items():
            if len({row.target.target_px for row in rows if row.target is not None}) > 1:
                lines = ", ".join(str(row.line) for row in rows[:4])
                for row in rows:
                    row.target = None
                    row.problem = (
                        f"the pictures of a frame have different targets: frame {frame!r} in the "
                        f"lines {lines} of {TARGETS}"
                    )


def _cells(raw: bytes) -> tuple[dict[str, int], Iterator[tuple[int, list[str]]]]:
    """The columns by name, and the cells of each row that is not empty, with its line."""
    if len(raw) > MAX_BYTES:
        raise TargetsError(f"has {len(raw):,} bytes, more than the {MAX_BYTES:,} that are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TargetsError(f"is not in UTF-8 (byte {error.start}); save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(cells)]
    except csv.Error as error:
        raise TargetsError(f"is not CSV from line {reader.line_num} on ({error})") from error
    if not rows:
        raise TargetsError("is empty; expected a header and one row for each picture")
    names = [name.strip() for name in rows[0][1]]
    if len(set(names)) < len(names):
        raise TargetsError(f"has two columns of one name, found {names}")
    missing = [name for name in NEEDED if name not in names]
    if set(CORNERS) & set(names):
        missing += [name for name in CORNERS if name not in names]
    if missing:
        raise TargetsError(
            f"has no column {', '.join(missing)}; columns are separated by commas, and the first "
            f"line names them, found {names}"
        )
    return {name: column for column, name in enumerate(names)}, iter(rows[1:])


def _target(row: Row, header: Mapping[str, int], positions: Mapping[str, int]) -> Target:
    """What a whole row says; raises ValueError with what is wrong."""
    cells = {name: row.cells[column].strip() for name, column in header.items()}
    x, y = (_number(name, cells[name]) for name in ("target_x_px", "target_y_px"))
    if not cells["block"]:
        raise ValueError("no block is named")
    side = cells.get("eye_side") or "left"
    if side not in ("left", "right"):
        raise ValueError(f"eye_side is {side!r}, expected left or right,")
    corners = None
    given = [name for name in CORNERS if cells.get(name)]
    if given:
        if len(given) < len(CORNERS):
            raise ValueError(f"of the eye corners only {', '.join(given)} are given")
        numbers = [_number(name, cells[name]) for name in CORNERS]
        corners = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        if corners[0] == corners[1]:
            raise ValueError("the two eye corners are the same point")
    return Target(
        target_px=(x, y),
        block=cells["block"],
        block_position=positions[cells["block"]],
        frame=cells.get("frame") or cast(str, row.picture),
        person=cells.get("person") or None,
        eye_side=cast(Literal["left", "right"], side),
        corners_px=corners,
        other={n: text for n, text in cells.items() if n not in NEEDED and n not in OPTIONAL},
    )


def _number(name: str, text: str) -> float:
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} is no finite number, found {text[:40]!r},")
    return value
