"""What is planned, and what became of it since, in tables beside those of a listing.

Two files of one name, size and time may hold different things: another archive, or the same path
overwritten. So the facts of an input count only at the place where it was planned, and in an
archive only while that archive is unchanged; otherwise its content is compared.

`plan/seen.parquet` is a cache. It holds the newest facts of inputs that were compared and had not
changed, so that they are not compared again, and of archives, so that those whose every input is
planned are not opened again. Without it the same inputs are planned, later.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from factory.dataset.dataset import Dataset
from factory.dataset.plans import location_of, read_locations, read_plans
from factory.sources.input_table import InputTable
from factory.sources.scan import Container
from factory.store.base import Store
from factory.store.open import real_place
from factory.store.parquet import parquet_bytes

log = logging.getLogger(__name__)

SEEN_NAME = "plan/seen.parquet"
SEEN_SCHEMA = pa.schema(
    [
        pa.field("location", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("key", pa.string()),
        pa.field("num_inputs", pa.int64()),
    ]
)
"""An input at a location, with the key of the planned version whose content it still has; or an
archive, with the number of its inputs where all of them are planned."""

_VANISHED_SCHEMA = pa.schema([("id", pa.string()), ("key", pa.string())])
_TABLES = """
CREATE TABLE planned (
    id VARCHAR, size BIGINT, mtime_ns BIGINT, etag VARCHAR, supersedes VARCHAR, shard INTEGER,
    place INTEGER, is_here BOOLEAN
);
CREATE TABLE seen (
    id VARCHAR, size BIGINT, mtime_ns BIGINT, etag VARCHAR, key VARCHAR, num_inputs BIGINT
);
CREATE TABLE unchanged (container VARCHAR);
CREATE MACRO counts(l) AS
    l.container IS NULL OR l.container IN (SELECT container FROM unchanged);
CREATE TABLE committed (shard INTEGER);
CREATE TABLE vanished (id VARCHAR, key VARCHAR);
"""
# Inputs are seldom planned twice, so the newest version is looked for among those alone of which
# some version differs from the listing.
_CHANGED = """
CREATE OR REPLACE TABLE changed AS
WITH
    suspects AS (
        SELECT DISTINCT l.id FROM listed l JOIN planned p USING (id)
        WHERE NOT (same_facts(l, p) AND p.is_here AND counts(l))
        UNION SELECT id FROM vanished
    ),
    newest AS (
        SELECT p.*, printf('%06d-%06d', shard, place) AS key
        FROM planned p JOIN suspects USING (id)
        QUALIFY row_number() OVER (PARTITION BY id ORDER BY shard DESC) = 1
    )
SELECT
    l.*, n.key, n.shard, n.supersedes, n.shard IN (SELECT shard FROM committed) AS is_built,
    same_facts(l, n) AND n.is_here AS is_as_planned
FROM listed l JOIN newest n USING (id)
WHERE n.key IN (SELECT key FROM vanished) OR NOT (counts(l) AND (
    same_facts(l, n) AND n.is_here
    OR EXISTS (SELECT 1 FROM seen s WHERE s.id = l.id AND s.key = n.key AND same_facts(l, s))
))
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


def containers_in(
    seen: Any, location: str | Path, without: Iterable[str] = ()
) -> dict[str, Container]:
    """The archives in the cache whose every input is planned, by name.

    Args:
        location: of the inputs.
        without: inputs that have to be listed again, and so the archives that they lie in.
    """
    archives = _archives(_here(seen, location)).items()
    containers = {name: known for name, known in archives if known.num_inputs is not None}
    to_list = {name for source_id in without for name in _containers_of(source_id)}
    return {name: known for name, known in containers.items() if name not in to_list}


def _here(seen: Any, location: str | Path) -> Any:
    """Rows of the cache about one location, without that column."""
    return seen.filter(pc.equal(seen["location"], real_place(location))).drop(["location"])


def _archives(seen_here: Any) -> dict[str, Container]:
    rows = seen_here.filter(pc.is_null(seen_here["key"])).drop(["key"]).to_pylist()
    return {row["id"]: Container(row.pop("id"), **row) for row in rows}


def _containers_of(source_id: str) -> Iterator[str]:
    """Names of all archives that an input may be in; "" for a location that is one archive."""
    yield ""
    for mark in re.finditer("[/:]", source_id):
        yield source_id[: mark.start()]


class Ledger:
    """The plans of a dataset, in the tables of a listing."""

    def __init__(
        self, dataset: Dataset, inputs: InputTable, location: str, vanished: Mapping[str, str]
    ):
        """
        Args:
            location: of the inputs, without symbolic links.
            vanished: id to key of versions that had vanished when their shard was built.
        """
        self.dataset, self.inputs, self.location = dataset, inputs, location
        self.shard_sizes: list[int | None] = []
        """planned inputs of every shard; None where they were not read"""
        self.locations: list[str | None] = []
        """location of the inputs of every shard when they were planned, if known"""
        self._num_in_table = 0
        """plans whose inputs are in the table `planned`"""
        inputs.db.execute(_TABLES)
        self._seen_before = read_seen(dataset.store)
        here = _here(self._seen_before, location)
        inputs.insert("seen", here)
        archives = _archives(here)
        unchanged = [
            container.name
            for container in inputs.containers
            if container.name in archives and container.is_unchanged(archives[container.name])
        ]
        inputs.insert("unchanged", pa.table({"container": pa.array(unchanged, pa.string())}))
        columns = {"id": list(vanished), "key": list(vanished.values())}
        inputs.insert("vanished", pa.table(columns, schema=_VANISHED_SCHEMA))

    def read_plans(self) -> None:
        """Add the plans that were written since, and those that this run wrote."""
        # Every number up to the newest: a listing made while plans appear may miss some.
        num_plans = max(self.dataset.planned(), default=-1) + 1
        if not self.inputs.num_files:  # no input has to be compared with its plan
            for location in read_locations(self.dataset, range(len(self.shard_sizes), num_plans)):
                self._note(None, location)
            return
        for table in read_plans(self.dataset, range(self._num_in_table, num_plans)):
            location = location_of(table)
            here = pa.array(np.full(len(table), location in (None, self.location)))
            self.inputs.insert("planned", table.append_column("is_here", here))
            if self._num_in_table == len(self.shard_sizes):
                self._note(len(table), location)
            self._num_in_table += 1

    def _note(self, size: int | None, location: str | None) -> None:
        self.shard_sizes.append(size)
        self.locations.append(location)

    def find_changed(self) -> int:
        """Make the table `changed`: listed inputs that are not known to have the content of their
        newest planned version, or whose version had vanished when its shard was built.

        Its columns are those of `listed`, the version's key, shard and `supersedes`, whether its
        shard is committed, and whether the listing's facts are those of the plan, at its place.

        Returns:
            How many of them belong to committed shards.
        """
        committed = pa.table({"shard": pa.array(self.dataset.committed(), pa.int32())})
        self.inputs.db.execute("DELETE FROM committed")
        self.inputs.insert("committed", committed)
        self.inputs.db.execute(_CHANGED)
        return self.inputs.count("changed WHERE is_built")

    def add(self, size: int) -> None:
        """Note the next plan, which this run wrote. Its inputs are read back if they are needed.

        Args:
            size: its inputs.
        """
        self._note(size, self.location)

    def note_unchanged(self, rows: list[dict[str, Any]]) -> None:
        """Remember that inputs still have the content of a version, under new facts.

        Args:
            rows: with the columns of `SEEN_SCHEMA` for an input, but its location.
        """
        self.inputs.insert("seen", _seen_rows(rows))

    def save_seen(
        self, settled: Iterable[Container], counts: Mapping[str, int], held: Iterable[Container]
    ) -> None:
        """Put the cache, where it has changed.

        Args:
            settled: archives whose every input is planned, with its present content.
            counts: their inputs.
            held: archives of which the same is true but for inputs that no plan names yet.
        """
        rows = [
            _archive_row(c, counts.get(c.name, 0) if c.num_inputs is None else c.num_inputs)
            for c in settled
        ]
        rows += [_archive_row(c, None) for c in held]
        names = pa.table({"id": pa.array([c.name for c in self.inputs.containers], pa.string())})
        db = self.inputs.db
        db.execute("CREATE OR REPLACE TABLE met (id VARCHAR)")
        self.inputs.insert("met", names)
        db.execute("DELETE FROM seen WHERE key IS NULL AND id IN (SELECT id FROM met)")
        self.inputs.insert("seen", _seen_rows(rows))
        # Of an input, the facts that were met last.
        query = """
            SELECT $location AS location, id, size, mtime_ns, etag, key, num_inputs FROM seen
            QUALIFY row_number() OVER (PARTITION BY id, key IS NULL ORDER BY rowid DESC) = 1
            ORDER BY key IS NOT NULL, id
        """
        here = db.sql(query, params={"location": self.location}).to_arrow_table().cast(SEEN_SCHEMA)
        elsewhere = pc.not_equal(self._seen_before["location"], self.location)
        now = pa.concat_tables([self._seen_before.filter(elsewhere), here])
        if not now.equals(self._seen_before):
            self.dataset.store.put(SEEN_NAME, parquet_bytes(now))


def _archive_row(archive: Container, num_inputs: int | None) -> dict[str, Any]:
    return {
        "id": archive.name,
        "size": archive.size,
        "mtime_ns": archive.mtime_ns,
        "etag": archive.etag,
        "num_inputs": num_inputs,
    }


def _seen_rows(rows: list[dict[str, Any]]) -> Any:
    """Rows of the cache about the location of this run."""
    schema = SEEN_SCHEMA.remove(SEEN_SCHEMA.get_field_index("location"))
    return pa.Table.from_pylist(rows, schema=schema)
