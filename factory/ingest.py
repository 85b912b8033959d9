"""Ingest: raw renders or camera images become shards, once.

Decoding an 800x600 JPEG costs far more than refining it on a GPU, so training, refining and
validating all read the small, uniform, labelled images that this makes.
"""

import logging
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from factory.commit import Expected, commit_shard
from factory.dataset import Dataset, key_of
from factory.domain import Domain, record_of, to_json
from factory.images import encode_png
from factory.shards import PackedSample
from factory.sources.base import BadRender, LeftOut, Source
from factory.sources.registry import SourceOptions, make_source
from factory.version import WRITER
from factory.work import MakeTask, Outcome
from schemas.base import digest_of
from schemas.dataset import DatasetCard, Reject, ShardPlan

log = logging.getLogger(__name__)


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


def ingest_task(dataset: Dataset, location: str | Path, options: SourceOptions) -> MakeTask:
    """What a worker needs to make a `ShardIngester`."""
    return partial(_make_ingester, dataset, location, options)


def _make_ingester(
    dataset: Dataset, location: str | Path, options: SourceOptions
) -> "ShardIngester":
    return ShardIngester(dataset, make_source(location, options))


@dataclass
class ShardIngester:
    """Builds planned shards of one dataset from one source."""

    dataset: Dataset
    source: Source

    def __call__(self, shard: int) -> Outcome:
        """Read the plan of a shard, load its inputs, commit what survives."""
        started = time.perf_counter()
        plan = self.dataset.plan(shard)
        samples, rejects = [], []
        for index, planned in enumerate(plan.inputs):
            key = key_of(shard, index)
            try:
                samples.append(self._sample(key, planned.id, plan.split))
            except BadRender as bad:
                rejects.append(_reject(key, planned.id, bad))
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


def _newest_shards(dataset: Dataset) -> dict[str, int]:
    """The shard that an input was planned into last, by the input's id."""
    return {
        planned.id: shard for shard in dataset.planned() for planned in dataset.plan(shard).inputs
    }


def check_reject_share(dataset: Dataset, max_share: float) -> tuple[int, int, int]:
    """Count what became of all planned inputs of a dataset.

    Returns:
        (kept, filtered, rejected).

    Raises:
        TooManyRejectsError: rejected / (kept + rejected) is above `max_share`; names the reasons.
            An input that was mended and planned again since counts by its newest version.
    """
    kept = filtered = rejected = mended = 0
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    newest: dict[str, int] = {}
    for shard in dataset.committed():
        facts = dataset.facts(shard)
        kept += facts.num_samples
        filtered += facts.num_filtered
        rejected += facts.num_rejected
        if facts.num_rejected:
            newest = newest or _newest_shards(dataset)
            for row in dataset.rejects(shard).to_pylist():
                if row["kind"] == "reject" and newest[row["source_id"]] != shard:
                    mended += 1
                elif row["kind"] == "reject":
                    reason = reason_class(row["reason"], row["kind"])
                    reasons[reason] += 1
                    examples.setdefault(reason, f"{row['source_id']}: {row['reason']}")
    bad = rejected - mended
    considered = kept + bad
    if considered and bad / considered > max_share:
        lines = "\n  ".join(
            f"{count} × {reason} (e.g. {examples[reason]})"
            for reason, count in reasons.most_common(8)
        )
        raise TooManyRejectsError(
            f"{bad} of {considered} inputs of {dataset.location} were rejected, "
            f"{bad / considered:.1%}, more than the {max_share:.1%} allowed:\n  {lines}\n"
            "All are listed in its rejected/ folder. Mend the inputs, or raise --max-reject-share."
        )
    return kept, filtered, rejected
