"""Inputs that did not become samples: reasons, their share, and vanished ones that may be back."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.dataset.plans import read_plans
from factory.sources.base import VANISHED
from factory.store.base import READERS
from schemas.base import FormatError
from schemas.index import ShardFacts

log = logging.getLogger(__name__)
Facts = Mapping[int, ShardFacts]
"""by shard"""


class TooManyRejectsError(RuntimeError):
    """More inputs were malformed than the job allows."""


def reason_class(reason: str, kind: str) -> str:
    """A reason without its numbers and quoted values, so that alike ones are counted together.

    What follows a colon outside of parentheses is left out where it quotes something in
    parentheses, as points are quoted: `iris_2d: expected "(x, y, ...)", found "(1"`.
    """
    if kind == "filtered":
        return reason
    start = _quote_start(reason)
    end = start if "(" in reason[start:] else len(reason)
    return re.sub(r"-?\d+(\.\d+)?", "#", reason[:end])


def _quote_start(reason: str) -> int:
    """Where the first ": " outside of parentheses is; the end where there is none."""
    depth = 0
    for index, character in enumerate(reason):
        if depth == 0 and reason.startswith(": ", index):
            return index
        depth += (character == "(") - (character == ")")
    return len(reason)


def vanished_inputs(dataset: Dataset, facts: Facts) -> dict[str, str]:
    """Inputs that did not exist when their shard was built, and have no newer version.

    Returns:
        Id to key. They may have come back since.
    """
    vanished = {
        row["source_id"]: (shard, row["key"])
        for shard, rows in _rejects_of(dataset, [n for n, f in facts.items() if f.num_rejected])
        for row in rows
        if row["reason"] == VANISHED
    }
    newest = _newest_shards(dataset, {id: shard for id, (shard, _) in vanished.items()})
    return {id: key for id, (shard, key) in vanished.items() if newest[id] == shard}


def _rejects_of(
    dataset: Dataset, shards: Sequence[int]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The recorded rejects of shards; none where they cannot be read, which a check reports."""

    def rows_of(shard: int) -> list[dict[str, Any]]:
        try:
            return list(dataset.rejects(shard).to_pylist())
        except (FileNotFoundError, FormatError) as error:
            log.warning("shard %d: its rejects cannot be read: %s", shard, error)
            return []

    with ThreadPoolExecutor(READERS) as pool:
        yield from zip(shards, pool.map(rows_of, shards), strict=True)


def check_reject_share(dataset: Dataset, facts: Facts, max_share: float) -> tuple[int, int, int]:
    """Count what became of the inputs of all committed shards.

    Inputs that had vanished are not malformed, and do not count in the share.

    Returns:
        (number of samples, number filtered, number rejected).

    Raises:
        TooManyRejectsError: rejected / (samples + rejected) is above `max_share`; names the
            reasons. An input that was repaired and planned again counts by its newest version.
    """
    num_samples = sum(fact.num_samples for fact in facts.values())
    num_filtered = sum(fact.num_filtered for fact in facts.values())
    num_rejected = sum(fact.num_rejected for fact in facts.values())
    if _is_above(num_rejected, num_samples, max_share):  # inputs repaired since may bring it down
        with_rejects = [shard for shard, fact in facts.items() if fact.num_rejected]
        _check_newest(dataset, with_rejects, num_samples, max_share)
    return num_samples, num_filtered, num_rejected


def _is_above(num_rejected: int, num_samples: int, max_share: float) -> bool:
    # Not `>`: a limit that is NaN allows nothing.
    return num_rejected > 0 and not num_rejected / (num_samples + num_rejected) <= max_share


def _check_newest(
    dataset: Dataset, shards: Sequence[int], num_samples: int, max_share: float
) -> None:
    """Check the share of inputs whose newest version was rejected.

    Args:
        shards: that have rejects.
    """
    rows = [
        row | {"shard": shard}
        for shard, recorded in _rejects_of(dataset, shards)
        for row in recorded
        if row["kind"] == "reject" and row["reason"] != VANISHED
    ]
    newest = _newest_shards(dataset, {row["source_id"]: row["shard"] for row in rows})
    rows = [row for row in rows if newest[row["source_id"]] == row["shard"]]
    if not _is_above(len(rows), num_samples, max_share):
        return
    reasons = Counter(reason_class(row["reason"], row["kind"]) for row in rows)
    examples = {reason_class(r["reason"], r["kind"]): r for r in reversed(rows)}
    lines = "\n  ".join(
        f"{count} × {reason} (e.g. {examples[reason]['source_id']}: {examples[reason]['reason']})"
        for reason, count in reasons.most_common(8)
    )
    considered = num_samples + len(rows)
    raise TooManyRejectsError(
        f"{len(rows)} of {considered} inputs of {dataset.location} were rejected, "
        f"{len(rows) / considered:.1%}, more than the {max_share:.1%} allowed:\n  {lines}\n"
        "All are listed in its rejected/ folder. Repair the inputs, or raise --max-reject-share."
    )


def _newest_shards(dataset: Dataset, ids: Mapping[str, int]) -> dict[str, int]:
    """The shard that each of some inputs was planned into last.

    Args:
        ids: with a shard that each was planned into, before which there is nothing to look at.
    """
    newest = dict(ids)
    if ids:
        wanted, first = pa.array(list(ids), pa.string()), min(ids.values())
        for table in read_plans(dataset, [n for n in dataset.planned() if n > first]):
            rows = table.filter(pc.is_in(table["id"], wanted)).select(["id", "shard"])
            newest |= {row["id"]: row["shard"] for row in rows.to_pylist()}
    return newest
