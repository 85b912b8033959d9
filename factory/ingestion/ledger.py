"""What is planned, and what became of it since, in tables beside those of a listing.

`plan/seen.parquet` is a cache. It holds the newest facts of inputs whose files were touched and
not changed, so that they are not hashed again, and of archives whose every input is planned, so
that they are not opened again. Without it the same inputs are planned, later.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.plans import PLANNED_SCHEMA, location_of, read_plans
from factory.sources.input_table import InputTable
from factory.sources.scan import Container
from factory.store.base import Store
from factory.store.parquet import parquet_bytes

log = logging.getLogger(__name__)

SEEN_NAME = "plan/seen.parquet"
SEEN_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("key", pa.string()),
        pa.field("num_inputs", pa.int64()),
    ]
)
"""An input, with the key of the planned version whose content it still has; or an archive, with
the number of its inputs."""

_VANISHED_SCHEMA = pa.schema([("id", pa.string()), ("key", pa.string())])
_TABLES = """
CREATE TABLE planned (
    id VARCHAR, size BIGINT, mtime_ns BIGINT, etag VARCHAR, supersedes VARCHAR, shard INTEGER,
    place INTEGER
);
CREATE TABLE seen (
    id VARCHAR, size BIGINT, mtime_ns BIGINT, etag VARCHAR, key VARCHAR, num_inputs BIGINT
);
CREATE TABLE committed (shard INTEGER);
CREATE TABLE vanished (id VARCHAR, key VARCHAR);
"""
# Inputs are seldom planned twice, so the newest version is looked for among those alone of which
# some version differs from the listing.
_CHANGED = """
CREATE OR REPLACE TABLE changed AS
WITH
    suspects AS (
        SELECT DISTINCT l.id FROM listed l JOIN planned p USING (id) WHERE NOT same_facts(l, p)
        UNION SELECT id FROM vanished
    ),
    newest AS (
        SELECT p.*, printf('%06d-%06d', shard, place) AS key
        FROM planned p JOIN suspects USING (id)
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY shard DESC) = 1
    )
SELECT
    l.*, n.key, n.shard, n.supersedes, n.shard IN (SELECT shard FROM committed) AS is_built
FROM listed l JOIN newest n USING (id)
WHERE n.key IN (SELECT key FROM vanished) OR NOT same_facts(l, n) AND NOT EXISTS (
    SELECT 1 FROM seen s WHERE s.id = l.id AND s.key = n.key AND same_facts(l, s)
)
"""


def read_seen(store: Store) -> Any:
    """The cache, as an Arrow table of `SEEN_SCHEMA`; empty if it is missing or unreadable."""
    try:
        raw = store.read(SEEN_NAME)
        return pq.read_table(pa.BufferReader(raw)).select(SEEN_SCHEMA.names).cast(SEEN_SCHEMA)
    except FileNotFoundError:
        pass
    except (pa.ArrowException, KeyError) as error:
        log.warning("%s/%s cannot be read and is left aside: %s", store.location, SEEN_NAME, error)
    return SEEN_SCHEMA.empty_table()


def containers_in(seen: Any, without: Iterable[str] = ()) -> dict[str, Container]:
    """The archives in the cache, by name.

    Args:
        without: inputs that have to be listed again, and so the archives that they lie in.
    """
    rows = seen.filter(pc.is_valid(seen["num_inputs"])).drop(["key"]).to_pylist()
    containers = {row["id"]: Container(row.pop("id"), **row) for row in rows}
    to_list = {name for source_id in without for name in _containers_of(source_id)}
    return {name: known for name, known in containers.items() if name not in to_list}


def _containers_of(source_id: str) -> Iterator[str]:
    """Names of all archives that an input may be in; "" for a location that is one archive."""
    yield ""
    for mark in re.finditer("[/:]", source_id):
        yield source_id[: mark.start()]


class Ledger:
    """The plans of a dataset, in the tables of a listing."""

    def __init__(self, dataset: Dataset, inputs: InputTable, vanished: Mapping[str, str]):
        """
        Args:
            vanished: id to key of versions that had vanished when their shard was built.
        """
        self.dataset, self.inputs = dataset, inputs
        self.shard_sizes: list[int] = []
        """planned inputs of every shard"""
        self.locations: list[str | None] = []
        """location of the inputs of every shard when they were planned, if known"""
        inputs.db.execute(_TABLES)
        self._seen_before = read_seen(dataset.store)
        inputs.insert("seen", self._seen_before)
        columns = {"id": list(vanished), "key": list(vanished.values())}
        inputs.insert("vanished", pa.table(columns, schema=_VANISHED_SCHEMA))

    def read_plans(self) -> None:
        """Add the plans that were written since."""
        # Every number up to the newest: a listing made while plans appear may miss some.
        num_plans = max(self.dataset.planned(), default=-1) + 1
        new = range(len(self.shard_sizes), num_plans)
        for table in read_plans(self.dataset, new):
            self.inputs.insert("planned", table)
            self.shard_sizes.append(len(table))
            self.locations.append(location_of(table))

    def find_changed(self) -> int:
        """Make the table `changed`: listed inputs whose newest planned version has other facts, or
        had vanished when its shard was built.

        Its columns are those of `listed`, the version's key, shard and `supersedes`, and whether
        its shard is committed.

        Returns:
            How many of them belong to committed shards.
        """
        committed = pa.table({"shard": pa.array(self.dataset.committed(), pa.int32())})
        self.inputs.db.execute("DELETE FROM committed")
        self.inputs.insert("committed", committed)
        self.inputs.db.execute(_CHANGED)
        return self.inputs.count("changed WHERE is_built")

    def add(self, shard: int, location: str, table: Any) -> None:
        """Add a plan that this run wrote.

        Args:
            location: of the inputs.
            table: Arrow table with the fields of `PlannedInput`.
        """
        columns = {name: table[name] for name in PLANNED_SCHEMA.names[:5]}
        columns["shard"] = pa.array(np.full(len(table), shard, np.int32))
        columns["place"] = pa.array(np.arange(len(table), dtype=np.int32))
        self.inputs.insert("planned", pa.table(columns))
        self.shard_sizes.append(len(table))
        self.locations.append(location)

    def note_unchanged(self, rows: list[dict[str, Any]]) -> None:
        """Remember that inputs still have the content of a version, under new facts.

        Args:
            rows: with the columns of `SEEN_SCHEMA` for an input.
        """
        self.inputs.insert("seen", pa.Table.from_pylist(rows, schema=SEEN_SCHEMA))

    def save_seen(self, settled: Iterable[Container], counts: Mapping[str, int]) -> None:
        """Put the cache, where it has changed.

        Args:
            settled: archives whose every input is planned.
            counts: their inputs.
        """
        rows = [
            {
                "id": c.name,
                "size": c.size,
                "mtime_ns": c.mtime_ns,
                "etag": c.etag,
                "num_inputs": counts.get(c.name, 0) if c.num_inputs is None else c.num_inputs,
            }
            for c in settled
        ]
        names = pa.table({"id": pa.array([c.name for c in self.inputs.containers], pa.string())})
        db = self.inputs.db
        db.execute("CREATE OR REPLACE TABLE met (id VARCHAR)")
        self.inputs.insert("met", names)
        db.execute("DELETE FROM seen WHERE num_inputs IS NOT NULL AND id IN (SELECT id FROM met)")
        self.inputs.insert("seen", pa.Table.from_pylist(rows, schema=SEEN_SCHEMA))
        # Of an input, the facts that were met last.
        query = """
            SELECT id, size, mtime_ns, etag, key, num_inputs FROM seen
            QUALIFY row_number() OVER (PARTITION BY id, num_inputs IS NULL ORDER BY rowid DESC) = 1
            ORDER BY num_inputs IS NULL, id
        """
        now = db.sql(query).to_arrow_table().cast(SEEN_SCHEMA)
        if not now.equals(self._seen_before):
            self.dataset.store.put(SEEN_NAME, parquet_bytes(now))
