"""Which samples a query finds, and in which order: bounded in time, memory and number.

A query is an expression of `factory.reading.selection`, and so is what it is sorted by. Both are
parsed and looked at, and may use functions alone whose results are not longer than their arguments,
so that no short text asks for much memory.
"""

import difflib
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from factory.browse.measured import JoinedTable
from factory.reading.index import Span
from factory.reading.selection import Expression, Selection, SelectionError, TooSlowError

SECONDS = 5.0
"""that a query may take, unless whoever asks is ready to wait longer"""
MOST_SECONDS = 120.0
MOST_HELD = 10_000
"""rows of an answer that can be looked at"""
MOST_ANSWERS = 32
"""answers that are remembered"""
FUNCTIONS = frozenset(
    {
        *("+", "-", "*", "/", "//", "%", "^", "**", "||", "~~", "!~~", "~~*", "!~~*", "~"),
        *("abs", "sign", "sqrt", "exp", "ln", "log", "log2", "log10", "pow", "power", "mod"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "degrees", "radians", "pi"),
        *("floor", "ceil", "ceiling", "round", "trunc", "greatest", "least"),
        *("isnan", "isinf", "isfinite", "add", "subtract", "multiply", "divide"),
        *("contains", "starts_with", "ends_with", "prefix", "suffix", "like_escape"),
        *("not_like_escape", "ilike_escape", "not_ilike_escape", "regexp_matches"),
        *("regexp_full_match", "lower", "upper", "length", "len", "strlen", "left", "right"),
        *("substr", "substring", "trim", "ltrim", "rtrim", "array_length", "list_contains"),
        *("list_has", "array_contains", "array_extract", "list_extract", "list_element"),
        *("struct_extract", "list_value", "array_value", "list_distance", "array_distance"),
    }
)
"""the functions and operators that a query may use, by DuckDB's names"""


class QueryError(ValueError):
    """A query cannot be answered; the message is a whole sentence for whoever asked."""

    def __init__(
        self,
        message: str,
        *,
        start: int | None = None,
        length: int = 0,
        instead: tuple[str, ...] = (),
    ):
        """
        Args:
            start: characters of the expression before what is wrong; None where that is not known.
            length: characters of what is wrong.
            instead: names of columns that may be meant.
        """
        super().__init__(message)
        self.start, self.length, self.instead = start, length, instead


class Query(NamedTuple):
    """What is asked for."""

    where: str = ""
    """empty for all samples"""
    sort: str = ""
    """empty for the order of keys"""
    descending: bool = False
    seconds: float = SECONDS


@dataclass(frozen=True)
class Answer:
    """The rows that a query found."""

    rows: NDArray[np.int64] | None
    """(n,) of the table, in order, at most `MOST_HELD`; None for all rows of the table"""
    num_found: int
    num_looked_at: int
    """rows of the table; fewer than it has where the time was up"""
    num_samples: int
    """rows of the table"""
    seconds: float
    """that it took"""
    named: tuple[str, ...] = ()
    """columns that the query and its order name"""

    @property
    def is_complete(self) -> bool:
        return self.num_looked_at == self.num_samples

    @property
    def num_shown(self) -> int:
        """Rows that can be looked at."""
        return self.num_samples if self.rows is None else len(self.rows)

    def page(self, first: int, count: int) -> list[int]:
        """The rows at some positions of the answer, fewer at its end."""
        if self.rows is None:
            return list(range(first, min(first + count, self.num_samples)))
        return [int(row) for row in self.rows[first : first + count]]

    def position_of(self, row: int) -> int | None:
        """The position of a row in the answer; None where it is not among those held."""
        if self.rows is None:
            return row
        places = np.flatnonzero(self.rows == row)
        return int(places[0]) if len(places) else None


class Answers:
    """Answers queries on one table, and remembers the last answers. Threads take turns."""

    def __init__(self, table: JoinedTable):
        self.table = table
        self._kept: OrderedDict[Query, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, query: Query) -> Answer:
        """The answer to a query.

        Raises:
            QueryError: the query does not fit the columns, or others take too long.
        """
        if not query.where.strip() and not query.sort.strip():
            total = self.table.num_samples
            return Answer(None, total, total, total, seconds=0.0)
        # Whoever waits keeps one of the server's few threads, so nobody waits longer than that.
        if not self._lock.acquire(timeout=min(query.seconds, MOST_SECONDS)):
            raise QueryError("Another query is still being answered; ask again in a while.")
        try:
            return self._answer(query)
        finally:
            self._lock.release()

    def _answer(self, query: Query) -> Answer:
        if query not in self._kept:
            answer = _answered(self.table, query)
            if self.table.problems:  # what could not be read may be there the next time
                return answer
            self._kept[query] = answer
            while len(self._kept) > MOST_ANSWERS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(query)
        return self._kept[query]


def _answered(table: JoinedTable, query: Query) -> Answer:
    started = time.monotonic()
    deadline = started + min(query.seconds, MOST_SECONDS)
    where = _selection(table, query.where) if query.where.strip() else None
    order = _order(table, query.sort) if query.sort.strip() else None
    best = _Best(order, query.descending)
    looked_at = 0
    for span in table.spans(0, table.num_samples):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            best.add(*_found_in(table, span, where, order, left))
        except TooSlowError:
            break
        except SelectionError as error:
            raise _explained(table, error) from error
        looked_at = span.stop
    seconds = time.monotonic() - started
    named = dict.fromkeys([*(order.columns if order else []), *(where.columns if where else [])])
    return Answer(
        rows=best.rows(),
        num_found=best.num_found,
        num_looked_at=looked_at,
        num_samples=table.num_samples,
        seconds=seconds,
        named=tuple(named),
    )


def _found_in(
    table: JoinedTable,
    span: Span,
    where: Selection | None,
    order: Expression | None,
    seconds: float,
) -> tuple[NDArray[np.int64], pa.ChunkedArray | None]:
    """The rows of a group that are found, and what they are sorted by."""
    named = [*(where.columns if where else []), *(order.columns if order else [])]
    rows = table.read(span, list(dict.fromkeys(named)) or ["shard"])
    started = time.monotonic()
    row_numbers = np.arange(span.start, span.stop, dtype=np.int64)
    if where is not None:
        is_found = where.of(rows, seconds=seconds)
        row_numbers, rows = row_numbers[is_found], rows.filter(pa.array(is_found))
    if order is None:
        return row_numbers, None
    left = max(0.01, seconds - (time.monotonic() - started))
    return row_numbers, order.values(rows, seconds=left)


class _Best:
    """The first rows of an order, while groups of rows are looked at."""

    def __init__(self, order: Expression | None, descending: bool):
        self.num_found = 0
        self._order = "descending" if descending else "ascending"
        kind = pa.int8() if order is None else order.type
        self._held = pa.table({"value": pa.array([], kind), "row": pa.array([], pa.int64())})
        self._is_sorted = order is not None

    def add(self, row_numbers: NDArray[np.int64], values: pa.ChunkedArray | None) -> None:
        self.num_found += len(row_numbers)
        if values is None:
            if len(self._held) >= MOST_HELD:
                return
            values = pa.chunked_array([pa.nulls(len(row_numbers), pa.int8())])
        added = pa.table({"value": values, "row": pa.array(row_numbers)})
        self._held = pa.concat_tables([self._held, added])
        if len(self._held) > 4 * MOST_HELD:
            self._cut()

    def rows(self) -> NDArray[np.int64]:
        self._cut()
        return np.asarray(self._held["row"].to_numpy(), np.int64)

    def _cut(self) -> None:
        if self._is_sorted:
            keys = [("value", self._order), ("row", "ascending")]
            held = self._held.combine_chunks()
            self._held = held.take(pc.sort_indices(held, sort_keys=keys)[:MOST_HELD])
        else:
            self._held = self._held.slice(0, MOST_HELD)


def _selection(table: JoinedTable, where: str) -> Selection:
    try:
        return Selection(where, table.schema, functions=FUNCTIONS)
    except SelectionError as error:
        raise _explained(table, error) from error


def _order(table: JoinedTable, sort: str) -> Expression:
    try:
        order = Expression(sort, table.schema, functions=FUNCTIONS, name="sort")
    except SelectionError as error:
        raise _explained(table, error) from error
    if pa.types.is_nested(order.type):
        raise QueryError(
            f"Samples cannot be sorted by {sort!r}, which is a list or a record; take one number "
            f"of it, as in {sort}[1]."
        )
    try:
        best = _Best(order, descending=False)
        best.add(np.arange(2), pa.chunked_array([pa.nulls(2, order.type)]))
        best.rows()
    except (pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise QueryError(
            f"Samples cannot be sorted by {sort!r}, because values of its type, {order.type}, "
            "have no order here."
        ) from error
    return order


def _explained(table: JoinedTable, error: SelectionError) -> QueryError:
    """The error as a sentence, with its position and the columns that may be meant."""
    expression, at = error.expression, error.part
    wrong = expression[at.start :][: at.length] if at is not None else ""
    instead: tuple[str, ...] = ()
    why = error.why
    if why.startswith("there is no column"):
        instead = _alike(table, wrong)
    elif named := _list_in(table, wrong):
        why = f"{named} is not one number or text, but a list or a record in each sample"
        instead = _alike(table, named)
    what = "query" if error.name == "where" else "order"
    where = "" if at is None else f" at character {at.start + 1}"
    part = f", in {wrong!r}" if wrong.strip() else ""
    return QueryError(
        f"The {what} cannot be understood{where}{part}: {why}.",
        start=None if at is None else at.start,
        length=0 if at is None else at.length,
        instead=instead,
    )


def _list_in(table: JoinedTable, text: str) -> str | None:
    """The first column that a text names and that has several values for a sample."""
    words = set(re.findall(r"\w+", text))
    return next(
        (c.name for c in table.columns.values() if c.name in words and not c.is_single), None
    )


def _alike(table: JoinedTable, name: str) -> tuple[str, ...]:
    """Columns of single values whose names are like a name: they begin alike, or differ little."""
    columns = [c for c in table.columns.values() if c.is_single and not c.is_empty]
    names = [column.name for column in sorted(columns, key=lambda c: c.group != "measure")]
    begin = [n for n in names if n != name and n.split("_")[0] == name.lower().split("_")[0]]
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.7)
    return tuple(dict.fromkeys([*close, *begin]))[:8]
