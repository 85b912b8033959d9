"""A shard on its way from its parent to its child: read, then committed with the labels it had.

Apart from `factory.refinement.stages`, so that the workers which only read and write need no PyTorch.
"""

from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa

from factory.dataset.commit import Expected, commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.tar import PackedSample
from factory.images.png import Pixels, decode_png, encode_png
from schemas.outcome import Outcome


@dataclass(frozen=True)
class ShardPixels:
    """One shard on its way from its parent to its child."""

    shard: int
    split: str
    parent_sha256: str
    """of the parent shard's tar"""
    images: Pixels
    """(n, height, width[, 3]) of the parent, then refined"""
    keys: bytes
    """one a line, in the order of the images"""
    labels: bytes
    """the json members, one a line"""
    engine: str = ""
    """name of what refined them"""


@dataclass
class ShardReader:
    """Reads and decodes a parent's shards."""

    parent: Dataset

    def __call__(self, shard: int) -> ShardPixels:
        """Raises `DamagedShardError`: the parent's tar is not what was committed."""
        facts = self.parent.facts(shard)
        samples = list(self.parent.samples(shard))
        images = [decode_png(sample.png) for sample in samples]
        return ShardPixels(
            shard=shard,
            split=facts.split,
            parent_sha256=facts.tar_sha256,
            images=np.asarray(np.stack(images)) if images else self.parent.no_images(),
            keys=b"\n".join(sample.key.encode() for sample in samples),
            labels=b"\n".join(sample.json for sample in samples),
        )


@dataclass
class ShardCommitter:
    """Encodes refined images, verifies the shard and commits it with the labels it had."""

    parent: Dataset
    child: Dataset

    def __call__(self, pixels: ShardPixels) -> Outcome:
        assert self.child.card.refiner is not None
        refined_by = {
            "refiner": self.child.card.refiner.sha256,
            "parent": pixels.parent_sha256,
        }
        # Labels are carried as the bytes they are; what refined them is appended to each object.
        ending = b',"refined":' + orjson.dumps(refined_by) + b"}"
        samples = [
            PackedSample(key.decode(), encode_png(image), line[:-1] + ending)
            for key, line, image in zip(
                pixels.keys.splitlines(), pixels.labels.splitlines(), pixels.images, strict=True
            )
        ]
        facts = commit_shard(
            self.child,
            carried(
                self.parent.index(pixels.shard, ["key", "supersedes"]),
                shard=pixels.shard,
                split=pixels.split,
                parent_sha256=pixels.parent_sha256,
                refined_from=pixels.parent_sha256,
            ),
            samples,
            carried=True,
        )
        return Outcome(
            shard=pixels.shard, num_samples=facts.num_samples, engine=pixels.engine or None
        )


def carried(
    rows: pa.Table,
    *,
    shard: int,
    split: str,
    parent_sha256: str | None,
    refined_from: str | None,
) -> Expected:
    """A shard of the samples that some index rows name, in their order, and of no others."""
    keys, older_keys = rows["key"].to_pylist(), rows["supersedes"].to_pylist()
    return Expected(
        shard=shard,
        split=split,
        keys=tuple(keys),
        may_reject=False,
        parent_sha256=parent_sha256,
        refined_from=refined_from,
        supersedes={key: older for key, older in zip(keys, older_keys, strict=True) if older},
    )
