"""Which samples an expression on the columns of the index selects.

The expression is SQL as DuckDB reads it. It is parsed by DuckDB and looked at before anything is
run: one expression of columns, constants, operators and functions whose result follows from their
arguments; no query, no file, nothing random.
"""

import re
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LONGEST_EXPRESSION = 4000
"""characters"""
MOST_MEMORY = "512MB"
"""that DuckDB may take for the rows of one shard group of an index"""
_ALLOWED = {
    *("BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT"),
    *("FUNCTION", "OPERATOR", "TYPE"),
}
"""classes of the parts of an expression"""
_WITH_PATTERN = {"regexp_matches", "regexp_full_match"}
"""functions whose second argument is a regular expression; DuckDB's parser names them in lower
case, also for `~` and `SIMILAR TO`"""
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "memory_limit": MOST_MEMORY,
    "threads": 1,
}


_BEFORE = "SELECT ("
_MOST_PARTS_TRIED = 200
"""parts of an expression that are tried one by one, to say which of them is wrong"""


class SelectionError(ValueError):
    """An expression cannot be used: it does not parse, or does not fit the columns."""

    def __init__(
        self,
        message: str,
        *,
        name: str = "where",
        expression: str = "",
        why: str = "",
        part: "Part | None" = None,
    ):
        """
        Args:
            message: the whole message, with the expression and the columns that there are.
            name: what the expression is.
            expression: the expression alone.
            why: the reason alone, a phrase without a full stop.
            part: what is wrong in the expression; None where that is not known.
        """
        super().__init__(message)
        self.name, self.expression = name, expression
        self.why, self.part = why or message, part


class TooSlowError(SelectionError):
    """An expression was not computed in the time that it was given."""


class Part(NamedTuple):
    """A part of the text of an expression."""

    start: int
    """characters before it"""
    length: int
    """characters"""


class Expression:
    """An expression on the columns of a table that has been looked at."""

    def __init__(
        self,
        expression: str,
        schema: pa.Schema,
        *,
        functions: Set[str] | None = None,
        name: str = "where",
    ):
        """
        Args:
            expression: for example `degrees(gaze_yaw_rad)`; lists begin at 1.
            schema: of the index.
            functions: the only functions and operators that it may use, by DuckDB's names, all of
                one row and with always the same result; None for all that are so.
            name: what the expression is, for messages.

        Raises:
            SelectionError: it is not one expression on these columns.
        """
        self.expression, self.name = expression, name
        self._schema, self._functions = schema, functions
        self.columns = self._checked()
        self.type = self.values(schema.empty_table()).type

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_connection"}

    @cached_property
    def _connection(self) -> "DuckDBPyConnection":
        import duckdb

        connection = duckdb.connect(":memory:", config=_CONFIG)
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET lock_configuration = true")
        return connection

    def values(self, rows: pa.Table, *, seconds: float | None = None) -> pa.ChunkedArray:
        """The value of the expression in each row.

        Args:
            rows: (n) with at least `columns`.
            seconds: after which the computation is given up; None for as long as it takes.

        Returns:
            (n,) of one type, null where the expression is null.

        Raises:
            SelectionError: it cannot be computed for a row.
            TooSlowError: the time was up before all rows were computed.
        """
        import duckdb

        table = rows.select(self.columns) if self.columns else rows
        try:
            with self._limited(seconds):
                return self._computed(self.expression, table)
        except duckdb.InterruptException as error:
            why = f"it takes longer than {seconds:g} s for {len(rows):,} rows"
            raise TooSlowError(f"{self.name} = {self._quoted()}: {why}", why=why) from error
        except duckdb.Error as error:
            # Where its types fit, a value in some row is what is wrong.
            part = None if self._computes(self.expression) else self._wrong_part()
            raise self._error(_first_line(error), part) from error

    def _computed(self, text: str, table: pa.Table) -> pa.ChunkedArray:
        import duckdb

        view = self._connection.from_arrow(table)
        return view.select(duckdb.SQLExpression(f"({text}\n)")).to_arrow_table().column(0)

    @contextmanager
    def _limited(self, seconds: float | None) -> Iterator[None]:
        """Interrupt what the connection does when the time is up."""
        if seconds is None:
            yield
            return
        timer = threading.Timer(max(0.0, seconds), self._connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _wrong_part(self) -> Part | None:
        """The smallest part of the expression that cannot be computed whatever the rows."""
        for part in sorted(self._parts, key=lambda part: part.length)[:_MOST_PARTS_TRIED]:
            if not self._computes(self.expression[part.start :][: part.length]):
                return part
        return None

    def _computes(self, text: str) -> bool:
        """Whether it can be computed of no rows."""
        import duckdb

        try:
            self._computed(text, self._schema.empty_table())
        except duckdb.Error:
            return False
        return True

    def _checked(self) -> list[str]:
        """The columns that it names, in the order of the index."""
        if not self.expression.strip():
            raise self._error("it is empty")
        if len(self.expression) > LONGEST_EXPRESSION:
            raise self._error(f"it is longer than {LONGEST_EXPRESSION} characters")
        query = "SELECT json_serialize_sql(?)"
        text = f"{_BEFORE}{self.expression}\n)"
        [(answer,)] = self._connection.execute(query, [text]).fetchall()
        try:
            parsed = orjson.loads(answer)
        except orjson.JSONDecodeError as error:
            raise self._error("its parts are nested too deeply") from error
        if parsed["error"]:
            raise self._syntax_error(parsed["error_message"], parsed.get("position"))
        nodes = [statement["node"] for statement in parsed["statements"]]
        if [node["type"] for node in nodes] != ["SELECT_NODE"]:
            raise self._error("it is more than an expression")
        chosen = nodes[0]["select_list"]
        if len(chosen) != 1 or nodes[0]["from_table"]["type"] != "EMPTY":
            raise self._error("it is more than an expression")
        parts = list(_parts(chosen))
        self._parts = {self._part_of(part) for part in parts}
        for part in parts:
            if part["class"] not in _ALLOWED:
                what = part["class"].lower()
                raise self._error(f"it may not have a {what} in it", self._part_of(part))
        self._check_functions(parts)
        by_name = {name.lower(): name for name in self._schema.names}
        used = set()
        for part in parts:
            if part["class"] == "COLUMN_REF":
                name = part["column_names"][0]
                if name.lower() not in by_name:
                    raise self._error(f"there is no column {name}", self._part_of(part))
                used.add(by_name[name.lower()])
        return [name for name in self._schema.names if name in used]

    def _check_functions(self, parts: list[dict[str, Any]]) -> None:
        query = (
            "SELECT count(*), bool_and(function_type = 'scalar' AND stability = 'CONSISTENT') "
            "FROM duckdb_functions() WHERE function_name = ?"
        )
        if self._functions is not None:
            self._check_patterns(parts)
        uses = {part["function_name"]: part for part in parts if part["class"] == "FUNCTION"}
        for name, part in sorted(uses.items()):
            if self._functions is not None and name.lower() not in self._functions:
                known = ", ".join(sorted(filter(str.isidentifier, self._functions)))
                raise self._error(
                    f"the function {name} cannot be used here; these can: {known}",
                    self._part_of(part),
                )
            if self._functions is not None:
                continue  # whoever allows it knows what it is
            [(count, is_plain)] = self._connection.execute(query, [name]).fetchall()
            if not count:
                raise self._error(f"there is no function {name}", self._part_of(part))
            if not is_plain:
                raise self._error(
                    f"{name} is no function of one row with always the same result",
                    self._part_of(part),
                )

    def _check_patterns(self, parts: list[dict[str, Any]]) -> None:
        """A pattern that differs from row to row is compiled for each row, which can take a third
        of a second, and DuckDB cannot be interrupted while it does that for 2048 rows."""
        for part in parts:
            if part.get("function_name") not in _WITH_PATTERN:
                continue
            if [value["class"] for value in _arguments(part)[1:2]] != ["CONSTANT"]:
                what = "has to be one text in quotes, the same for every sample"
                raise self._error(f"the pattern {what}", self._part_of(part))

    def _part_of(self, part: dict[str, Any]) -> Part:
        """Where a parsed part stands in the expression; DuckDB counts bytes."""
        raw = self.expression.encode()
        start = max(0, int(part.get("query_location", 0)) - len(_BEFORE))
        end = start + int(part.get("query_location_length", 1))
        before = raw[:start].decode(errors="ignore")
        return Part(len(before), len(raw[start:end].decode(errors="ignore")))

    def _syntax_error(self, why: str, position: str | None) -> SelectionError:
        if position is None:
            return self._error(why)
        part = self._part_of({"query_location": position})
        if part.start >= len(self.expression.rstrip()):
            why = "syntax error: it ends before it is complete"
            part = Part(len(self.expression.rstrip()), 0)
        return self._error(why, part)

    def _quoted(self) -> str:
        return repr(self.expression[:200])

    def _error(self, why: str, part: Part | None = None) -> SelectionError:
        return SelectionError(
            f"{self.name} = {self._quoted()}: {why}. The columns of the index are "
            f"{', '.join(f'{field.name} ({field.type})' for field in self._schema)}",
            name=self.name,
            expression=self.expression,
            why=why,
            part=part,
        )


class Selection(Expression):
    """An expression that is true or false for a row, and so selects rows."""

    def __init__(self, expression: str, schema: pa.Schema, *, functions: Set[str] | None = None):
        """
        Args:
            expression: for example `gaze[1] > 0.2 AND identity IS NOT NULL`; lists begin at 1.
            schema: of the index.
            functions: as of `Expression`.

        Raises:
            SelectionError: it is not one expression on these columns that is true or false.
        """
        super().__init__(expression, schema, functions=functions)
        if not pa.types.is_boolean(self.type):
            raise self._error(f"it is of type {self.type}, not true or false")

    def of(self, rows: pa.Table, *, seconds: float | None = None) -> NDArray[np.bool_]:
        """Which rows are selected; one for which the expression is null is not.

        Args:
            rows: (n) with at least `columns`.
            seconds: as of `values`.

        Returns:
            (n,) bool.

        Raises:
            SelectionError: it cannot be computed for a row.
            TooSlowError: the time was up before all rows were computed.
        """
        values = self.values(rows, seconds=seconds).combine_chunks()
        return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), bool)


def _first_line(error: Exception) -> str:
    """What an error of DuckDB says, without the name of its kind and its advice."""
    return re.sub(r"^[\w ]+ Error: ", "", str(error).splitlines()[0]).split(". You might need")[0]


def _arguments(function: dict[str, Any]) -> list[dict[str, Any]]:
    """Those of a parsed function, which DuckDB 2 names and earlier versions call children."""
    if "arguments" in function:
        return [argument["expression"] for argument in function["arguments"]]
    return list(function["children"])


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every part of a parsed expression that has a class, from the outside to the inside."""
    pending = [node]  # no recursion: an expression may be nested deeper than Python's stack
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "class" in node:
                yield node
            pending += reversed(list(node.values()))
        elif isinstance(node, list):
            pending += reversed(node)
