"""The inputs of a listing in a table that spills to disk before it fills the memory."""

import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyarrow as pa

from factory.sources.scan import Container, Ignored, ScanItem

log = logging.getLogger(__name__)

MEMORY_LIMIT = "500MB"
"""memory for the tables; what exceeds it goes to a temporary folder"""
NUM_THREADS = 4
"""threads of DuckDB; each needs memory of its own, so there must not be one for every core"""

_SETUP = r"""
CREATE TABLE files (
    id VARCHAR, suffix VARCHAR, size BIGINT, mtime_ns BIGINT, etag VARCHAR, container VARCHAR
);
-- Digit runs padded to 20, so that the order of strings is that of their numbers.
CREATE MACRO padded(digits) AS lpad(digits, greatest(20, length(digits))::INTEGER, '0');
CREATE MACRO natural_order(id) AS array_to_string(list_transform(
    regexp_extract_all(id, '[0-9]+|[^0-9]+'),
    lambda part: CASE WHEN part[1] BETWEEN '0' AND '9' THEN padded(ltrim(part, '0')) ELSE part END
), '');
CREATE MACRO same_facts(a, b) AS a.size = b.size AND CASE
    WHEN a.etag IS NOT NULL AND b.etag IS NOT NULL THEN a.etag = b.etag
    ELSE a.mtime_ns = b.mtime_ns
END;
CREATE MACRO joined(a, b) AS CASE WHEN a = b THEN a ELSE a || ' ' || b END;
"""
# Most inputs have one file or two, of which all suffixes are the least and the greatest.
_GROUP = """
CREATE TABLE listed AS SELECT
    id,
    sum(size)::BIGINT AS size,
    max(mtime_ns) AS mtime_ns,
    CASE WHEN count(etag) = count(*) THEN joined(min(etag), max(etag)) END AS etag,
    CASE
        WHEN count(suffix) < count(*) THEN NULL
        WHEN count(*) = 1 THEN min(suffix)
        ELSE min(suffix) || ' ' || max(suffix)
    END AS suffixes,
    min(container) AS container
FROM files GROUP BY id;
UPDATE listed SET suffixes = many.suffixes FROM (
    SELECT
        id,
        CASE WHEN count(suffix) = count(*) THEN string_agg(suffix, ' ' ORDER BY suffix) END
            AS suffixes
    FROM files WHERE id IN (SELECT id FROM files GROUP BY id HAVING count(*) > 2) GROUP BY id
) AS many WHERE listed.id = many.id;
DROP TABLE files;
"""
FACTS = "id, size, mtime_ns, etag, suffixes"


HELD_BYTES = 1 << 27
"""of a listing, which are held in memory before they go into a table"""


class InputTable(AbstractContextManager["InputTable"]):
    """One scan of a source as a DuckDB table `listed`: `InputFacts` and container of each input.

    The table is made when it is first asked for, as the digest of the listing may be all that is
    needed.
    """

    def __init__(self, items: Iterable[ScanItem]):
        """
        Args:
            items: the items of a scan, which is read to its end.
        """
        import duckdb

        self._held: list[Any] = []
        self.num_files = 0
        """rows that the scan gave"""
        self.ignored: Counter[str] = Counter()
        """files that are no inputs, by what they are; without those in archives that were not
        opened"""
        self._is_listed = False
        self._folder = tempfile.TemporaryDirectory(prefix="simgan-inputs-")
        self._db = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": NUM_THREADS,
                "temp_directory": self._folder.name,
                "preserve_insertion_order": "false",
            }
        )
        try:
            self._db.execute(_SETUP)
            self.containers, self.digest = self._fill(items)
        except BaseException:
            self.close()
            raise

    @property
    def db(self) -> Any:
        """The database with the table `listed`."""
        if not self._is_listed:
            self._insert_held()
            self._db.execute(_GROUP)
            self._is_listed = True
        return self._db

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory and the temporary folder."""
        self._db.close()
        self._folder.cleanup()

    @property
    def is_empty(self) -> bool:
        """Whether there are no inputs, also none in archives that were not opened."""
        return not self.num_files and not any(c.num_inputs for c in self.containers)

    @property
    def would_repeat(self) -> bool:
        """Whether the next scan gives the same items if nothing changes: no archive was opened."""
        return all(c.num_inputs is not None for c in self.containers)

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
        _insert(self.db, table, pa.table(rows))

    def sizes_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Id to size in bytes, for those of some inputs that are listed."""
        query = "SELECT id, size FROM listed WHERE id IN (SELECT unnest($ids))"
        return dict(self.rows(query, ids=list(ids)))

    def in_natural_order(self) -> Any:
        """All inputs as one Arrow table with the fields of `InputFacts`."""
        query = f"SELECT {FACTS} FROM listed ORDER BY natural_order(id), id"
        return self.db.sql(query).to_arrow_table()

    def _fill(self, items: Iterable[ScanItem]) -> tuple[tuple[Container, ...], str]:
        """Take in all items; gives the containers, and a digest of everything in its order."""
        containers, digest, num_bytes = [], hashlib.sha256(), 0
        for item in items:
            if isinstance(item, Container):
                containers.append(item)
                digest.update(repr(item).encode("utf-8", "surrogateescape"))
            elif isinstance(item, Ignored):
                self.ignored.update(item.counts)
            else:
                digest.update(item.serialize())
                self._held.append(item)
                self.num_files += len(item)
                num_bytes += item.nbytes
                if num_bytes > HELD_BYTES:
                    self._insert_held()
                    num_bytes = 0
        return tuple(containers), digest.hexdigest()

    def _insert_held(self) -> None:
        if self._held:
            _insert(self._db, "files", pa.Table.from_batches(self._held))
            self._held = []


def _insert(db: Any, table: str, rows: pa.Table) -> None:
    with db.cursor() as cursor:
        cursor.register("added", rows)
        cursor.execute(f"INSERT INTO {table} BY NAME SELECT * FROM added")
