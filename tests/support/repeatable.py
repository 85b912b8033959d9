"""What lets actors be run from the beginning again and again, thousands of times."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from factory.dataset import commit, inspection
from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected
from factory.upkeep import records_anew, verify
from schemas.dataset import Reject
from support.exploration import attempt


@pytest.fixture
def repeatable(monkeypatch) -> None:
    """Names of attempts are the same each time, and what has no effect beside its result is
    computed once: the rows of a tar, and the files of rows."""
    of_tars: dict[Any, pa.Table] = {}
    of_rejects: dict[Any, bytes] = {}
    of_rows: dict[Any, list[tuple[pa.Table, bytes]]] = defaultdict(list)
    rejects_bytes, parquet_bytes = commit.rejects_bytes, commit.parquet_bytes

    def rows_once(
        dataset: Dataset, expected: Expected, tar: bytes, *, where: str, packed: Any = None
    ) -> pa.Table:
        key = (repr(dataset.card), repr(expected), tar, where, packed and (*packed,))
        if key not in of_tars:
            rows = inspection.inspect_tar(dataset, expected, tar, where=where, packed=packed)
            of_tars[key] = rows
        return of_tars[key]

    def rejects_once(keys: Sequence[str], rejects: Sequence[Reject]) -> bytes:
        key = ((*keys,), (*rejects,))
        if key not in of_rejects:
            of_rejects[key] = rejects_bytes(keys, rejects)
        return of_rejects[key]

    def bytes_once(table: pa.Table, repeated: Sequence[str] | None = None) -> bytes:
        known = of_rows[repr((table.schema.metadata, repeated))]
        for other, raw in known:
            if other.equals(table):
                return raw
        known.append((table, parquet_bytes(table, repeated)))
        return known[-1][1]

    for module in (commit, verify, records_anew):
        monkeypatch.setattr(module, "inspect_tar", rows_once)
    for module in (commit, records_anew):
        monkeypatch.setattr(module, "new_attempt", attempt)
        monkeypatch.setattr(module, "rejects_bytes", rejects_once)
    monkeypatch.setattr(commit, "parquet_bytes", bytes_once)
