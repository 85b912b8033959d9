"""Refine: shard i of a synthetic dataset becomes shard i of its child.

Same keys, same labels, new pixels. What is left to do is "the parent's committed shards minus
mine", so resuming, running on a schedule, running twice and running two at once are one operation.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import orjson
import torch

from factory.checkpoint import load_refiner
from factory.commit import Expected, commit_shard
from factory.dataset import Dataset
from factory.engine import RefinerEngine, TorchEngine
from factory.images import decode_png, encode_png
from factory.shards import PackedSample
from factory.work import MakeTask, Outcome
from schemas.base import digest_of
from schemas.dataset import DatasetCard, ParentRef, RefinerRef


class StaleShardsError(ValueError):
    """Shards were refined from a version of their parent that is no longer there."""


def refined_card(parent: Dataset, refiner: Path, name: str) -> DatasetCard:
    """The card of the dataset that a refiner makes of a parent.

    Raises:
        ValueError: the refiner is for other images than the parent's.
    """
    network, described = load_refiner(refiner)
    del network
    card = parent.card
    if card.kind != "synthetic" or not card.labelled:
        raise ValueError(f"{parent.location} is a {card.kind} dataset; refine reads synthetic ones")
    if described.domain != card.domain or described.image != card.image:
        raise ValueError(
            f"{refiner} refines {described.domain} images of {described.image}, "
            f"{parent.location} holds {card.domain} images of {card.image}"
        )
    config = {"refiner": described.sha256, "parent": card.config_digest}
    return DatasetCard(
        name=name,
        kind="refined",
        domain=card.domain,
        labelled=True,
        image=card.image,
        shard_size=card.shard_size,
        splits=card.splits,
        parent=ParentRef(location=parent.location, card=card.digest()),
        refiner=RefinerRef(
            sha256=described.sha256, config=digest_of(described.model_dump(mode="json"))
        ),
        config=dict(config),
        config_digest=digest_of(config),
    )


def missing_shards(parent: Dataset, child: Dataset) -> list[int]:
    """Shards that the parent has and the child lacks.

    Raises:
        StaleShardsError: the child has shards whose parent shard has changed since, or is gone.
    """
    stale = stale_shards(parent, child)
    if stale:
        raise StaleShardsError(
            f"{child.location}: shards {stale[:10]} were refined from versions of their parent "
            f"shards that {parent.location} no longer holds; refine into a new output"
        )
    return sorted(set(parent.committed()) - set(child.committed()))


def stale_shards(parent: Dataset, child: Dataset) -> list[int]:
    """Shards of the child whose parent shard has changed since, or is gone."""
    have = set(parent.committed())
    return [
        shard
        for shard in child.committed()
        if shard not in have or child.facts(shard).parent_sha256 != parent.facts(shard).tar_sha256
    ]


@dataclass
class ShardRefiner:
    """Refines one shard at a time."""

    parent: Dataset
    child: Dataset
    engine: RefinerEngine

    def __call__(self, shard: int) -> Outcome:
        """Read the parent's shard, refine its pixels, commit it with the labels it had."""
        started = time.perf_counter()
        assert self.child.card.refiner is not None
        parent_facts = self.parent.facts(shard)
        samples = list(self.parent.samples(shard))
        if samples:
            refined = self.engine(np.stack([decode_png(sample.png) for sample in samples]))
        refined_by = {
            "refiner": self.child.card.refiner.sha256,
            "parent": parent_facts.tar_sha256,
        }
        facts = commit_shard(
            self.child,
            Expected(
                shard=shard,
                split=parent_facts.split,
                keys=tuple(sample.key for sample in samples),
                may_reject=False,
                parent_sha256=parent_facts.tar_sha256,
                supersedes=_supersedes(self.parent, shard),
            ),
            [
                PackedSample(
                    sample.key,
                    encode_png(image),
                    orjson.dumps(orjson.loads(sample.json) | {"refined": refined_by}),
                )
                for sample, image in zip(samples, refined if samples else (), strict=True)
            ],
        )
        return Outcome(
            shard=shard,
            num_samples=facts.num_samples,
            seconds=time.perf_counter() - started,
        )


def _supersedes(parent: Dataset, shard: int) -> dict[str, str]:
    rows = parent.index(shard, ["key", "supersedes"]).to_pylist()
    return {row["key"]: row["supersedes"] for row in rows if row["supersedes"] is not None}


def refiner_task(
    parent: Dataset, child: Dataset, refiner: Path, *, batch_size: int, device: str
) -> MakeTask:
    """What a worker needs to make a `ShardRefiner`."""
    return partial(_make_refiner, parent, child, refiner, batch_size, device)


def _make_refiner(
    parent: Dataset, child: Dataset, refiner: Path, batch_size: int, device: str
) -> ShardRefiner:
    if device == "cpu":  # one single-threaded worker a core beats threads inside one
        torch.set_num_threads(1)
    network, described = load_refiner(refiner)
    assert child.card.refiner is not None
    if described.sha256 != child.card.refiner.sha256:
        raise ValueError(
            f"{refiner} changed while the job ran: {described.sha256[:12]}…, the dataset is made "
            f"with {child.card.refiner.sha256[:12]}…"
        )
    engine = TorchEngine(
        network, full_scale=described.full_scale, batch_size=batch_size, device=device
    )
    return ShardRefiner(parent, child, engine)
