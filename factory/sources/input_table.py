"""The inputs of a listing in a table that spills to disk before it fills the memory."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from factory.sources.scan import Container, ScanItem

log = logging.getLogger(__name__)

MEMORY_LIMIT = "1GB"
"""memory for the tables; what exceeds it goes to a temporary folder"""
NUM_THREADS = 4
"""threads of DuckDB; each needs memory of its own, so there must not be one for every core"""

_SETUP = r"""
CREATE TABLE files (
    id VARCHAR, suffix VARCHAR, size BIGINT, mtime_ns BIGINT, etag VARCHAR, container VARCHAR
);
-- Digit runs padded to 20, so that the order of strings is that of their numbers.
CREATE MACRO natural_order(id) AS regexp_replace(
    regexp_replace(id, '([0-9]+)', '00000000000000000000\1', 'g'), '0*([0-9]{20,})', '\1', 'g'
);
CREATE MACRO same_facts(a, b) AS a.size = b.size AND CASE
    WHEN a.etag IS NOT NULL AND b.etag IS NOT NULL THEN a.etag = b.etag
    ELSE a.mtime_ns = b.mtime_ns
END;
CREATE MACRO joined(a, b) AS CASE WHEN a = b THEN a ELSE a || ' ' || b END;
"""
_GROUP = """
CREATE TABLE listed AS SELECT
    id,
    sum(size)::BIGINT AS size,
    max(mtime_ns) AS mtime_ns,
    CASE WHEN count(etag) = count(*) THEN joined(min(etag), max(etag)) END AS etag,
    CASE WHEN count(suffix) = count(*) THEN string_agg(suffix, ' ' ORDER BY suffix) END AS suffixes,
    min(container) AS container
FROM files GROUP BY id;
DROP TABLE files;
"""
FACTS = "id, size, mtime_ns, etag, suffixes"


class InputTable:
    """One scan of a source as a DuckDB table `listed`: `InputFacts` and container of each input."""

    def __init__(self, items: Iterable[ScanItem]):
        """
        Args:
            items: the items of a scan, which is read to its end.
        """
        import duckdb

        self._folder = tempfile.TemporaryDirectory(prefix="simgan-inputs-")
        self.db = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": NUM_THREADS,
                "temp_directory": self._folder.name,
                "preserve_insertion_order": "false",
            }
        )
        try:
            self.db.execute(_SETUP)
            self.containers = self._fill(items)
            self.db.execute(_GROUP)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory and the temporary folder."""
        self.db.close()
        self._folder.cleanup()

    def __len__(self) -> int:
        """Number of inputs, including those in archives that were not opened."""
        return self.count("listed") + sum(c.num_inputs or 0 for c in self.containers)

    def count(self, table: str) -> int:
        """Number of rows of a table."""
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def rows(self, query: str, **given: Any) -> list[tuple[Any, ...]]:
        """All rows that a query gives."""
        return list(self.db.execute(query, given).fetchall())

    @contextmanager
    def reader(self, query: str, batch_rows: int, **given: Any) -> Iterator[Any]:
        """The rows of a query as Arrow batches; the tables may change meanwhile."""
        with self.db.cursor() as cursor:
            yield cursor.sql(query, params=given).to_arrow_reader(batch_rows)

    def insert(self, table: str, rows: Any) -> None:
        """Append the rows of an Arrow table or batch, with columns matched by name."""
        with self.db.cursor() as cursor:
            cursor.register("added", pa.table(rows))
            cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM added")

    def sizes_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Id to size in bytes, for those of some inputs that are listed."""
        query = "SELECT id, size FROM listed WHERE id IN (SELECT unnest($ids))"
        return dict(self.rows(query, ids=list(ids)))

    def in_natural_order(self) -> Any:
        """All inputs as one Arrow table with the fields of `InputFacts`."""
        query = f"SELECT {FACTS} FROM listed ORDER BY natural_order(id), id"
        return self.db.sql(query).to_arrow_table()

    def _fill(self, items: Iterable[ScanItem]) -> tuple[Container, ...]:
        containers = []
        for item in items:
            if isinstance(item, Container):
                containers.append(item)
            else:
                self.insert("files", item)
        return tuple(containers)
