"""Ingest: raw renders or camera images become shards, once.

Decoding an 800x600 JPEG costs far more than refining it on a GPU, so training, refining and
validating all read the small, uniform, labelled images that this makes.
"""

import time
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected
from factory.dataset.names import key_of
from factory.dataset.records import to_json
from factory.dataset.shard_tasks import MakeTask
from factory.dataset.tar import PackedSample
from factory.images.png import encode_png
from factory.ingestion.rejects import reason_class
from factory.sources.base import (
    VANISHED,
    BadRender,
    LeftOut,
    Loaded,
    Source,
    load_all,
)
from schemas.base import digest_of
from schemas.dataset import DatasetCard, Reject, ShardPlan
from schemas.kinds import SampleKind
from schemas.outcome import Outcome
from schemas.version import WRITER


class InputsGoneError(OSError):
    """No input of a shard exists: this node does not see their location, or it is not the one that
    was planned from. If the shard were committed, it would stay empty for ever."""


def ingested_card(
    kind: SampleKind,
    name: str,
    source: Source,
    *,
    shard_size: int,
    splits: Mapping[str, float],
) -> DatasetCard:
    """The card of a dataset made from a source; the location of the inputs is not in it."""
    options = source.options
    config = {"source": source.name, "options": options.model_dump(mode="json")}
    height, width = options.image_size
    image: dict[str, Any] = {"height": height, "width": width}
    if options.channels is not None:
        image["channels"] = options.channels
    return DatasetCard(
        name=name,
        kind=source.kind,
        domain=kind.name,
        labelled=source.labelled,
        image=kind.image.model_copy(update=image),
        shard_size=shard_size,
        splits=dict(splits),
        config=config,
        config_digest=digest_of(config),
    )


def ingest_task(dataset: Dataset, source: Source, *, may_be_gone: bool = False) -> MakeTask:
    """What a worker needs to make a `ShardIngester`, which opens the source for itself."""
    make_source = partial(type(source), source.location, source.options)
    return partial(_make_ingester, dataset, make_source, may_be_gone)


def _make_ingester(
    dataset: Dataset, make_source: Callable[[], Source], may_be_gone: bool
) -> "ShardIngester":
    return ShardIngester(dataset, make_source(), may_be_gone)


@dataclass
class ShardIngester:
    """Builds planned shards of one dataset from one source."""

    dataset: Dataset
    source: Source
    may_be_gone: bool = False
    """commit a shard, as an empty one, also where none of its inputs exists any more"""

    def __call__(self, shard: int) -> Outcome:
        """Read the plan of a shard, load its inputs, commit what survives.

        Raises:
            InputsGoneError: none of its inputs exists.
        """
        started = time.perf_counter()
        plan = self.dataset.plan(shard)
        self.source.expect({planned.id: planned.suffixes for planned in plan.inputs})
        samples, rejects = [], []
        ids = [planned.id for planned in plan.inputs]
        for index, loaded in enumerate(load_all(self.source, ids)):
            key = key_of(shard, index)
            if isinstance(loaded, BadRender):
                rejects.append(_reject(key, ids[index], loaded))
            else:
                samples.append(self._sample(key, ids[index], plan.split, loaded))
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

    def rejects_among(self, plan: ShardPlan, keys: Container[str]) -> list[Reject]:
        """Why some planned inputs do not become samples.

        Raises:
            ValueError: some of them do now.
        """
        ids = {key: id for key, id in expected_of(plan).source_ids.items() if key in keys}
        suffixes = {planned.id: planned.suffixes for planned in plan.inputs}
        self.source.expect({id: suffixes[id] for id in ids.values()})
        rejects, good = [], []
        for (key, source_id), loaded in zip(
            ids.items(), load_all(self.source, list(ids.values())), strict=True
        ):
            if isinstance(loaded, BadRender):
                rejects.append(_reject(key, source_id, loaded))
            else:
                good.append(source_id)
        if good:
            raise ValueError(
                f"{len(good)} of {len(ids)} inputs that became no samples would do so now, as "
                f"{good[0]}"
            )
        return rejects

    def _sample(self, key: str, source_id: str, split: str, loaded: Loaded) -> PackedSample:
        record: dict[str, Any] = record_of(
            loaded,
            key=key,
            schema=self.dataset.sample_kind.schema,
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
    """What the plan of a shard says of the committed shard."""
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


def record_of(
    loaded: Loaded, *, key: str, schema: str, source: str, source_id: str, split: str, made: Any
) -> dict[str, Any]:
    """The json member of an ingested sample, in the order of its schema."""
    return {
        "schema": schema,
        "key": key,
        "source": {
            "name": source,
            "id": source_id,
            "image_sha256": loaded.image_sha256,
            "label_sha256": loaded.label_sha256,
        },
        "identity": loaded.identity,
        "split": split,
        **loaded.labels,
        "crop_affine": loaded.crop_affine,
        "extra": loaded.extra,
        "made": made,
    }
