"""Which samples an expression on the columns of the index selects.

The expression is SQL as DuckDB reads it. It is parsed by DuckDB and looked at before anything is
run: one expression of columns, constants, operators and functions whose result follows from their
arguments; no query, no file, nothing random.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "memory_limit": MOST_MEMORY,
    "threads": 1,
}


class SelectionError(ValueError):
    """An expression selects nothing that is known: it does not parse, or fits no column."""


class Selection:
    """An expression that has been looked at."""

    def __init__(self, expression: str, schema: pa.Schema):
        """
        Args:
            expression: for example `gaze[1] > 0.2 AND identity IS NOT NULL`; lists begin at 1.
            schema: of the index.

        Raises:
            SelectionError: it is not one expression on these columns that is true or false.
        """
        self.expression = expression
        self._schema = schema
        self.columns = self._checked()
        self.of(schema.empty_table())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_connection"}

    @cached_property
    def _connection(self) -> "DuckDBPyConnection":
        import duckdb

        connection = duckdb.connect(":memory:", config=_CONFIG)
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET lock_configuration = true")
        return connection

    def of(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows are selected; one for which the expression is null is not.

        Args:
            rows: (n) with at least `columns`.

        Returns:
            (n,) bool.

        Raises:
            SelectionError: it cannot be computed for a row.
        """
        import duckdb

        connection = self._connection
        view = connection.from_arrow(rows.select(self.columns) if self.columns else rows)
        try:
            chosen = view.select(duckdb.SQLExpression(f"({self.expression}\n)")).to_arrow_table()
        except duckdb.Error as error:
            raise self._error(str(error).splitlines()[0]) from error
        values = chosen.column(0).combine_chunks()
        if not pa.types.is_boolean(values.type):
            raise self._error(f"it is of type {values.type}, not true or false")
        return np.asarray(values.fill_null(False).to_numpy(zero_copy_only=False), bool)

    def _checked(self) -> list[str]:
        """The columns that it names, in the order of the index."""
        if len(self.expression) > LONGEST_EXPRESSION:
            raise self._error(f"it is longer than {LONGEST_EXPRESSION} characters")
        query = "SELECT json_serialize_sql(?)"
        [(answer,)] = self._connection.execute(query, [f"SELECT ({self.expression}\n)"]).fetchall()
        parsed = orjson.loads(answer)
        if parsed["error"]:
            raise self._error(parsed["error_message"])
        (statement,) = parsed["statements"]
        chosen = statement["node"]["select_list"]
        if len(chosen) != 1 or statement["node"]["from_table"]["type"] != "EMPTY":
            raise self._error("it is more than an expression")
        parts = list(_parts(chosen))
        for part in parts:
            if part["class"] not in _ALLOWED:
                raise self._error(f"it may not have a {part['class'].lower()} in it")
        self._check_functions({p["function_name"] for p in parts if p["class"] == "FUNCTION"})
        named = [part["column_names"][0] for part in parts if part["class"] == "COLUMN_REF"]
        by_name = {name.lower(): name for name in self._schema.names}
        for name in named:
            if name.lower() not in by_name:
                raise self._error(f"there is no column {name}")
        used = {by_name[name.lower()] for name in named}
        return [name for name in self._schema.names if name in used]

    def _check_functions(self, names: set[str]) -> None:
        query = (
            "SELECT count(*), bool_and(function_type = 'scalar' AND stability = 'CONSISTENT') "
            "FROM duckdb_functions() WHERE function_name = ?"
        )
        for name in sorted(names):
            [(count, is_plain)] = self._connection.execute(query, [name]).fetchall()
            if not count:
                raise self._error(f"there is no function {name}")
            if not is_plain:
                raise self._error(f"{name} is no function of one row with always the same result")

    def _error(self, why: str) -> SelectionError:
        return SelectionError(
            f"where = {self.expression[:200]!r}: {why}. The columns of the index are "
            f"{', '.join(f'{field.name} ({field.type})' for field in self._schema)}"
        )


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every part of a parsed expression that has a class."""
    if isinstance(node, dict):
        if "class" in node:
            yield node
        for value in node.values():
            yield from _parts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _parts(value)
