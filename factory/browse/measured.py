"""A table of samples together with what is known of them beyond its index: the measurements of
refined samples, the verdicts of a report, and columns that follow from others."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from factory.browse.table import SampleTable
from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.reading.index import Span
from factory.store.base import Entry
from factory.store.parquet import parsing_parquet, read_columns
from factory.validation.measure_words import UNITS
from factory.validation.shard_measures import FOLDER as MEASURES
from factory.validation.shard_measures import measures_name
from factory.validation.verdicts import Verdicts, stored_verdicts
from schemas.base import FormatError
from schemas.labels import LabelNote
from schemas.measures import DerivedMeasure, MeasureGuide
from schemas.verdicts import VERDICT_SCHEMA

MOST_VERDICTS = 5_000_000
"""verdicts that are held in memory, about 30 bytes each; a report on more samples is not joined"""
Group = Literal["sample", "label", "measure", "verdict", "place"]
_UNITS = {**UNITS, "rad": "rad"}
_PLACES = re.compile(r"(png|json)_(offset|length|sha256)|crop_affine|extra|source_\w+_sha256")
_ENVELOPE: Mapping[str, str] = {
    "key": "shard and position in its plan",
    "shard": "number of the shard",
    "split": "part of the dataset",
    "identity": "skin texture, person, subject or frame",
    "source_name": "the source that read it",
    "source_id": "its name in that source",
    "supersedes": "key of the older sample of the same input that it replaces",
    "keep": "whether the newest report keeps it",
    "reasons": "limits that it missed, by the newest report",
}


class Column(NamedTuple):
    """A column that a query may name."""

    field: pa.Field
    group: Group
    unit: str
    meaning: str
    """a phrase without a full stop; empty where nothing is known"""
    is_empty: bool = False
    """whether nothing was measured, as in measures of a network that was not given"""

    @property
    def name(self) -> str:
        return str(self.field.name)

    @property
    def is_number(self) -> bool:
        """Whether it is one number for each sample."""
        kind = self.field.type
        return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))

    @property
    def is_single(self) -> bool:
        """Whether it is one value for each sample, and no list or record."""
        return not pa.types.is_nested(self.field.type)


class Measurements:
    """The measurements of a refined dataset's shards, of one way of measuring."""

    def __init__(
        self,
        dataset: Dataset,
        how: str,
        sizes: Mapping[int, int],
        schema: pa.Schema,
        empty: Set[str],
    ):
        """
        Args:
            how: name of the folder.
            sizes: bytes of each shard's file.
            schema: of the newest file.
            empty: columns that are null in all of it.
        """
        self.dataset, self.how, self.sizes = dataset, how, sizes
        self.schema, self.empty = schema, empty

    @property
    def version(self) -> Hashable:
        """Differs from that of other measurements, and changes while shards are measured."""
        return self.how, tuple(sorted(self.sizes.items()))

    @classmethod
    def newest(cls, dataset: Dataset) -> "Measurements | None":
        """Those that were written last; None where there are none."""
        newest: tuple[int, str, dict[str, Entry]] | None = None
        for how in dataset.store.folders(MEASURES):
            entries = list(dataset.store.entries(f"{MEASURES}/{how}"))
            files = {e.name: e for e in entries if re.fullmatch(r".*/\d{6,}\.parquet", e.name)}
            if not files:
                continue
            last = max(entry.mtime_ns for entry in files.values())
            if newest is None or last > newest[0]:
                newest = last, how, files
        if newest is None:
            return None
        _, how, files = newest
        sizes = {int(n.rpartition("/")[2][:-8]): e.size for n, e in files.items()}
        metadata = _first_metadata(dataset, files.values())
        schema = metadata.schema.to_arrow_schema().remove_metadata()
        return cls(dataset, how, sizes, schema, _empty_columns(metadata))

    def of_shard(self, shard: int, columns: Sequence[str]) -> pa.Table | None:
        """`key` and some columns of a shard; None where it was not measured."""
        if shard not in self.sizes:
            return None
        name, wanted = measures_name(self.how, shard), list(dict.fromkeys(["key", *columns]))
        return read_columns(self.dataset.store, name, self.sizes[shard], wanted)[0]


class JoinedTable:
    """A table of samples with all columns that can be asked for."""

    def __init__(
        self,
        table: SampleTable,
        notes: Mapping[str, LabelNote],
        measurements: Measurements | None,
        guide: MeasureGuide,
        report_id: str | None,
        problem: str = "",
    ):
        """
        Args:
            notes: what labels mean, by name.
            measurements: None where the samples were not measured.
            report_id: of the report whose verdicts are joined; None for none.
            problem: a sentence that says why there are no measurements; empty where it is not
                known of any.
        """
        self._problems = {"measures": problem} if problem else {}
        self.table, self.measurements, self.report_id = table, measurements, report_id
        self._derived: dict[str, DerivedMeasure] = {}
        self._lock, self._reading_verdicts = threading.Lock(), threading.Lock()
        self.columns: dict[str, Column] = {}
        labels = {f.name for f in table.dataset.sample_kind.columns(table.dataset.card.labelled)}
        for field in table.schema:
            group: Group = "label" if field.name in labels else "sample"
            if _PLACES.fullmatch(field.name):
                group = "place"
            note = notes.get(field.name, LabelNote("", "", _ENVELOPE.get(field.name, "")))
            self._add(Column(field, group, note.unit, note.meaning))
        if measurements is not None:
            for field in measurements.schema:
                column = self._measure(field, guide.meanings.get(field.name, ""))
                self._add(column._replace(is_empty=field.name in measurements.empty))
            for name, derived in guide.derived.items():
                if set(derived.columns) <= set(self.columns):
                    self._derived[name] = derived
                    field = pa.field(name, pa.float32())
                    self._add(self._measure(field, guide.meanings.get(name, "")))
        if report_id is not None:
            for field in list(VERDICT_SCHEMA)[1:]:
                self._add(Column(field, "verdict", "", _ENVELOPE[field.name]))
        for column in list(self.columns.values()):
            if column.name.endswith("_rad") and column.is_number:
                name = f"{column.name.removesuffix('_rad')}_deg"
                derived = DerivedMeasure((column.name,), _degrees_of(column.name))
                self._derived.setdefault(name, derived)
                field = pa.field(name, pa.float32())
                self._add(Column(field, column.group, "°", f"{column.name} in degrees"))

    def _add(self, column: Column) -> None:
        self.columns.setdefault(column.name, column)

    @staticmethod
    def _measure(field: pa.Field, meaning: str) -> Column:
        return Column(field, "measure", _UNITS.get(field.name.rpartition("_")[2], ""), meaning)

    @cached_property
    def schema(self) -> pa.Schema:
        """All columns that can be asked for."""
        return pa.schema([column.field for column in self.columns.values()])

    @property
    def num_samples(self) -> int:
        return self.table.num_samples

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each file beside the index that could not be read; what it would say is
        null."""
        with self._lock:
            return tuple(self._problems.values())

    def read(self, span: Span, names: Sequence[str]) -> pa.Table:
        """Some columns of the rows of a group, in the given order.

        Raises:
            FileNotFoundError: a file is gone.
            FormatError: a file cannot be read.
        """
        wanted = list(dict.fromkeys(names))
        sources = {name: self._derived[name].columns for name in wanted if name in self._derived}
        plain = [n for n in wanted if n not in sources] + [n for c in sources.values() for n in c]
        rows = self._plain(span, list(dict.fromkeys(plain)))
        for name in sources:
            rows = rows.append_column(name, self._derived[name].of(rows))
        return rows.select(wanted)

    def _plain(self, span: Span, names: list[str]) -> pa.Table:
        stored = [name for name in names if name in self.table.schema.names]
        measured = [n for n in names if n not in stored and self.columns[n].group == "measure"]
        judged = [n for n in names if n not in stored and self.columns[n].group == "verdict"]
        needs_key = measured or judged or not stored
        read = list(dict.fromkeys([*(["key"] if needs_key else []), *stored]))
        rows = self.table.read(span, read)
        if measured:
            rows = self._joined(span, rows, measured, self._measured_of)
        if judged:
            rows = self._joined(span, rows, judged, self._verdicts_of)
        return rows

    def _joined(
        self,
        span: Span,
        rows: pa.Table,
        names: list[str],
        of_shard: Callable[[int, list[str]], pa.Table | None],
    ) -> pa.Table:
        pieces = []
        for shard in self.table.shards_in(span.start, span.stop):
            first = max(shard.start, span.start)
            last = min(shard.start + shard.num_samples, span.stop)
            keys = rows["key"].slice(first - span.start, last - first)
            pieces.append(self._by_key(keys, of_shard(shard.shard, names), names))
        joined = pa.concat_tables(pieces)
        for name in names:
            rows = rows.append_column(self.columns[name].field, joined[name])
        return rows

    def _by_key(self, keys: pa.ChunkedArray, rows: pa.Table | None, names: list[str]) -> pa.Table:
        """Rows for the given keys, null where a key has none."""
        schema = pa.schema([self.columns[name].field for name in names])
        if rows is None:
            return pa.table([pa.nulls(len(keys), f.type) for f in schema], schema=schema)
        if not rows["key"].equals(keys):
            places = pc.index_in(keys, value_set=rows["key"].combine_chunks())
            rows = rows.take(places)
        return rows.select(names).cast(schema)

    def _measured_of(self, shard: int, names: list[str]) -> pa.Table | None:
        assert self.measurements is not None
        stored = [name for name in names if name in self.measurements.schema.names]
        try:
            rows = self.measurements.of_shard(shard, stored)
        except (OSError, FormatError) as error:
            self._note(f"measures {shard}", f"The measures of shard {shard}", error)
            return None
        self._note(f"measures {shard}")
        return rows

    def _note(self, what: str, words: str = "", error: Exception | None = None) -> None:
        """Keep in mind that a file cannot be read, or that it can."""
        with self._lock:
            if error is None:
                self._problems.pop(what, None)
            else:
                self._problems[what] = f"{words} cannot be read, so they are missing here: {error}."

    def _verdicts_of(self, shard: int, names: list[str]) -> pa.Table | None:
        try:
            with self._reading_verdicts:
                verdicts = self._verdicts
        except (OSError, FormatError) as error:
            self._note("verdicts", f"The verdicts of report {self.report_id}", error)
            return None
        rows = verdicts.on(shard)
        return rows if len(rows) else None

    @cached_property
    def _verdicts(self) -> Verdicts:
        assert self.report_id is not None
        return stored_verdicts(self.table.dataset, self.report_id)

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        return self.table.spans(start, stop)

    def take(self, rows: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Some columns of some rows, in the order of the rows."""
        if not len(rows):
            return pa.schema([self.columns[name].field for name in names]).empty_table()
        numbers = np.asarray(rows, np.int64)
        order = np.argsort(numbers, kind="stable")
        ordered, pieces = numbers[order], []
        position = 0
        while position < len(ordered):
            (span,) = self.spans(int(ordered[position]), int(ordered[position]) + 1)
            end = int(np.searchsorted(ordered, span.stop, "left"))
            inside = pa.array(ordered[position:end] - span.start)
            pieces.append(self.read(span, names).take(inside))
            position = end
        return pa.concat_tables(pieces).take(pa.array(np.argsort(order)))


def _first_metadata(dataset: Dataset, files: Iterable[Entry]) -> pq.FileMetaData:
    """Those of the newest Parquet file that can be read. Raises as the newest does if none can."""
    failed: FormatError | None = None
    for entry in sorted(files, key=lambda entry: entry.mtime_ns, reverse=True):
        try:
            with parsing_parquet(f"{dataset.location}/{entry.name}"):
                return pq.read_metadata(pa.BufferReader(dataset.footer(entry.name)))
        except FormatError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _empty_columns(metadata: pq.FileMetaData) -> frozenset[str]:
    """The columns of a Parquet file whose statistics say that every value is null."""
    counts: Counter[str] = Counter()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.statistics is not None and column.statistics.has_null_count:
                counts[column.path_in_schema] += column.statistics.null_count
    return frozenset(name for name, num in counts.items() if num == metadata.num_rows)


def _degrees_of(name: str) -> Callable[[pa.Table], pa.Array]:
    def degrees(rows: pa.Table) -> pa.Array:
        return pa.array(np.degrees(values_of(rows, name)), pa.float32(), from_pandas=True)

    return degrees
