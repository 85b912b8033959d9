"""Ingest: raw renders or camera images become shards, once.

Decoding an 800x600 JPEG costs far more than refining it on a GPU, so training, refining and
validating all read the small, uniform, labelled images that this makes.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from factory.commit import Expected, commit_shard
from factory.dataset import Dataset, key_of
from factory.domain import Domain, record_of, to_json
from factory.images import encode_png
from factory.plans import read_plans
from factory.shards import PackedSample
from factory.sources.base import VANISHED, BadRender, LeftOut, Source
from factory.sources.registry import SourceOptions, make_source
from factory.version import WRITER
from factory.work import MakeTask, Outcome
from schemas.base import FormatError, digest_of
from schemas.dataset import DatasetCard, Reject, ShardPlan

log = logging.getLogger(__name__)


class InputsGoneError(OSError):
    """No input of a shard is there: a place that this node does not see, or another place than the
    one that was planned from. Committed, such a shard would be an empty one for ever."""


class TooManyRejectsError(RuntimeError):
    """More inputs were malformed than the job allows."""


def ingested_card(
    domain: Domain,
    name: str,
    options: SourceOptions,
    *,
    shard_size: int,
    splits: Mapping[str, float],
) -> DatasetCard:
    """The card of a dataset made from a source with these options."""
    source = make_source("", options)
    config = {"source": source.name, "options": options.model_dump(mode="json")}
    crop = options.crop
    return DatasetCard(
        name=name,
        kind=source.kind,
        domain=domain.name,
        labelled=source.labelled,
        image=domain.image.model_copy(update={"height": crop.height, "width": crop.width}),
        shard_size=shard_size,
        splits=dict(splits),
        config=config,
        config_digest=digest_of(config),
    )


def ingest_task(
    dataset: Dataset, location: str | Path, options: SourceOptions, *, may_be_gone: bool = False
) -> MakeTask:
    """What a worker needs to make a `ShardIngester`."""
    return partial(_make_ingester, dataset, location, options, may_be_gone)


def _make_ingester(
    dataset: Dataset, location: str | Path, options: SourceOptions, may_be_gone: bool
) -> "ShardIngester":
    return ShardIngester(dataset, make_source(location, options), may_be_gone)


@dataclass
class ShardIngester:
    """Builds planned shards of one dataset from one source."""

    dataset: Dataset
    source: Source
    may_be_gone: bool = False
    """commit a shard also where no input of it is there any more"""

    def __call__(self, shard: int) -> Outcome:
        """Read the plan of a shard, load its inputs, commit what survives.

        Raises:
            InputsGoneError: none of its inputs is there.
        """
        started = time.perf_counter()
        plan = self.dataset.plan(shard)
        self.source.expect({planned.id: planned.suffixes for planned in plan.inputs})
        samples, rejects = [], []
        for index, planned in enumerate(plan.inputs):
            key = key_of(shard, index)
            try:
                samples.append(self._sample(key, planned.id, plan.split))
            except BadRender as bad:
                rejects.append(_reject(key, planned.id, bad))
        num_gone = sum(reject.reason == VANISHED for reject in rejects)
        if num_gone == len(plan.inputs) > 0 and not self.may_be_gone:
            raise InputsGoneError(
                f"none of its {num_gone} inputs is in {self.source.location}, as "
                f"{plan.inputs[0].id}. Does this machine see that place, and is it the one that "
                "was planned from? If they are gone for good: --give-up-vanished"
            )
        facts = commit_shard(self.dataset, expected_of(plan), samples, rejects)
        return Outcome(
            shard=shard,
            num_samples=facts.num_samples,
            num_rejected=facts.num_rejected,
            num_filtered=facts.num_filtered,
            reasons=Counter(reason_class(reject.reason, reject.kind) for reject in rejects),
            seconds=time.perf_counter() - started,
        )

    def _sample(self, key: str, source_id: str, split: str) -> PackedSample:
        loaded = self.source.load(source_id)
        record: dict[str, Any] = record_of(
            loaded,
            key=key,
            schema=self.dataset.domain.schema,
            source=self.source.name,
            source_id=source_id,
            split=split,
            made={"config": self.dataset.card.config_digest, "writer": WRITER},
        )
        return PackedSample(key, encode_png(loaded.image), to_json(record))


def _reject(key: str, source_id: str, bad: BadRender) -> Reject:
    image_sha256, label_sha256 = bad.digests
    return Reject(
        key=key,
        source_id=source_id,
        kind="filtered" if isinstance(bad, LeftOut) else "reject",
        reason=bad.reason,
        image_sha256=image_sha256,
        label_sha256=label_sha256,
    )


def expected_of(plan: ShardPlan) -> Expected:
    """What an ingested shard has to be."""
    keys = tuple(key_of(plan.shard, index) for index in range(len(plan.inputs)))
    return Expected(
        shard=plan.shard,
        split=plan.split,
        keys=keys,
        may_reject=True,
        source_ids={key: planned.id for key, planned in zip(keys, plan.inputs, strict=True)},
        supersedes={
            key: planned.supersedes
            for key, planned in zip(keys, plan.inputs, strict=True)
            if planned.supersedes is not None
        },
    )


def reason_class(reason: str, kind: str) -> str:
    """A reason without its numbers and quoted values, so that alike ones are counted together."""
    if kind == "filtered":
        return reason
    return re.sub(r"-?\d+(\.\d+)?", "#", reason.split(": ")[0] if "(" in reason else reason)


def vanished_inputs(dataset: Dataset) -> dict[str, str]:
    """Inputs that were gone when their shard was built, of which there is no newer version.

    Returns:
        Id to key. They may have come back since.
    """
    found = {}
    try:
        facts = dataset.all_facts(dataset.committed())
    except FormatError as error:  # no reason to hold up what is new
        log.warning("which inputs had vanished cannot be told: %s", error)
        return {}
    for fact in facts:
        for row in _rejects_in(dataset, fact.shard) if fact.num_rejected else ():
            if row["reason"] == VANISHED:
                found[row["source_id"]] = fact.shard, row["key"]
    newest = _newest_shards(dataset, found) if found else {}
    return {id: key for id, (shard, key) in found.items() if newest[id] == shard}


def _rejects_in(dataset: Dataset, shard: int) -> list[dict[str, Any]]:
    """What is recorded of a shard; nothing where that is lost, which an integrity check tells."""
    try:
        return list(dataset.rejects(shard).to_pylist())
    except (FileNotFoundError, FormatError) as error:
        log.warning("shard %d: its rejects cannot be read: %s", shard, error)
        return []


def check_reject_share(dataset: Dataset, max_share: float) -> tuple[int, int, int]:
    """Count what became of all planned inputs of a dataset.

    Returns:
        (kept, filtered, rejected).

    Raises:
        TooManyRejectsError: rejected / (kept + rejected) is above `max_share`; names the reasons.
            An input that was mended and planned again since counts by its newest version.
    """
    facts = dataset.all_facts(dataset.committed())
    kept = sum(fact.num_samples for fact in facts)
    filtered = sum(fact.num_filtered for fact in facts)
    rejected = sum(fact.num_rejected for fact in facts)
    if _is_above(rejected, kept, max_share):  # those mended since may yet bring it down
        _check_newest(dataset, [f.shard for f in facts if f.num_rejected], kept, max_share)
    return kept, filtered, rejected


def _is_above(bad: int, kept: int, max_share: float) -> bool:
    return bad > 0 and bad / (kept + bad) > max_share


def _check_newest(dataset: Dataset, shards: Sequence[int], kept: int, max_share: float) -> None:
    """Check the share of inputs whose newest version was rejected.

    Args:
        shards: that have rejects.
    """
    rows = [
        row | {"shard": shard}
        for shard in shards
        for row in dataset.rejects(shard).to_pylist()
        if row["kind"] == "reject"
    ]
    newest = _newest_shards(dataset, {row["source_id"] for row in rows})
    rows = [row for row in rows if newest[row["source_id"]] == row["shard"]]
    if not _is_above(len(rows), kept, max_share):
        return
    reasons = Counter(reason_class(row["reason"], row["kind"]) for row in rows)
    examples = {reason_class(r["reason"], r["kind"]): r for r in reversed(rows)}
    lines = "\n  ".join(
        f"{count} × {reason} (e.g. {examples[reason]['source_id']}: {examples[reason]['reason']})"
        for reason, count in reasons.most_common(8)
    )
    considered = kept + len(rows)
    raise TooManyRejectsError(
        f"{len(rows)} of {considered} inputs of {dataset.location} were rejected, "
        f"{len(rows) / considered:.1%}, more than the {max_share:.1%} allowed:\n  {lines}\n"
        "All are listed in its rejected/ folder. Mend the inputs, or raise --max-reject-share."
    )


def _newest_shards(dataset: Dataset, ids: Iterable[str]) -> dict[str, int]:
    """The shard that each of some inputs was planned into last."""
    wanted, found = pa.array(list(ids), pa.string()), {}
    for table in read_plans(dataset, dataset.planned()):
        for row in table.filter(pc.is_in(table["id"], wanted)).select(["id", "shard"]).to_pylist():
            found[row["id"]] = row["shard"]
    return found
