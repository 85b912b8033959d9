"""Verdicts on samples, found by shard."""

import pyarrow as pa
import pytest

from factory.validation.verdicts import Verdicts
from schemas.base import FormatError
from schemas.verdicts import VERDICT_SCHEMA


def verdicts_on(keys: list[str], failed: tuple[str, ...] = ()) -> Verdicts:
    reasons = [["x"] if key in failed else None for key in keys]
    columns = [keys, [key not in failed for key in keys], reasons]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, VERDICT_SCHEMA, strict=True)]
    return Verdicts(pa.table(arrays, schema=VERDICT_SCHEMA), "here")


def test_they_are_found_by_shard_also_past_the_millionth() -> None:
    keys = ["000001-000000", "000001-000007", "100000-000000", "1000000-000001"]
    verdicts = verdicts_on(keys, ("000001-000007",))
    assert verdicts.on(1)["key"].to_pylist() == keys[:2]
    assert verdicts.on(100000)["key"].to_pylist() == keys[2:3]
    assert verdicts.on(1000000)["key"].to_pylist() == keys[3:]
    assert verdicts.on(2).num_rows == 0 and len(verdicts) == 4
    asked = pa.chunked_array([["000001-000000", "000001-000003", "000001-000007"]])
    assert verdicts.is_kept(asked, 1).to_pylist() == [True, False, False]
    assert verdicts.is_kept(asked, 5).to_pylist() == [False, False, False]


def test_no_verdicts_are_on_no_shard() -> None:
    assert verdicts_on([]).on(0).num_rows == 0


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["000001-000000", "000002-000000", "000001-000001"], "not in order of key"),
        (["000001-000000", "what"], "not keys of samples"),
    ],
)
def test_other_keys_are_refused(keys: list[str], reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        verdicts_on(keys)
