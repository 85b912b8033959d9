"""Refine: shard i of a synthetic dataset becomes shard i of its child.

The child has the same keys, the same labels and new pixels. The work left is every shard that the
parent has committed and the child has not, so resuming, running on a schedule, running twice and
two runs at once are all the same operation.

This is not part of `factory.refinement.stages`, so that workers which only read and write do not
import PyTorch.
"""

from dataclasses import dataclass

import numpy as np
import orjson

from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected
from factory.dataset.known_facts import known_facts
from factory.dataset.lineage import StaleShardsError, stale_among
from factory.dataset.tar import DamagedShardError, PackedSample
from factory.images.png import Pixels, decode_png, encode_png
from schemas.outcome import Outcome
from schemas.version import WRITER


def missing_shards(parent: Dataset, child: Dataset) -> list[int]:
    """Numbers of the shards that the parent has and the child lacks, in order.

    Raises:
        StaleShardsError: the child has shards whose parent shard has changed since, or is gone.
    """
    theirs, made = known_facts(parent, save=True), known_facts(child, save=True)
    stale = stale_among(theirs, made)
    if stale:
        raise StaleShardsError(
            f"{child.location}: shards {stale[:10]} were refined from versions of their parent "
            f"shards that {parent.location} no longer holds; refine into a new output, or withdraw "
            "them with jobs/repair.py --withdraw-stale --apply"
        )
    return [shard for shard in theirs if shard not in made]


@dataclass(frozen=True)
class ShardPixels:
    """The content of one shard after it is read from the parent, until the child commits it."""

    shard: int
    split: str
    parent_sha256: str
    """sha256 of the parent shard's tar"""
    images: Pixels
    """(n, height, width[, 3]) uint8 or uint16: the parent's images, after refining the child's"""
    keys: bytes
    """keys of the samples, one in each line, in the order of the images"""
    labels: bytes
    """json members of the samples, one in each line, in the same order"""
    engine: str = ""
    """name of the engine that refined the images; empty before that"""


@dataclass
class ShardReader:
    """Reads and decodes shards of a parent."""

    parent: Dataset

    def __call__(self, shard: int) -> ShardPixels:
        """Read one shard.

        Raises:
            DamagedShardError: the parent's tar is not the one that was committed.
        """
        facts = self.parent.facts(shard)
        samples = list(self.parent.samples(shard, facts))
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
    """Encodes refined images, verifies the shard, and commits it with the labels of its parent."""

    parent: Dataset
    child: Dataset

    def __call__(self, pixels: ShardPixels) -> Outcome:
        """Commit one shard.

        Raises:
            DamagedShardError: a repair has replaced the parent's shard since it was read.
        """
        rows, facts = self.parent.index_and_facts(pixels.shard, ["key", "supersedes"])
        if facts.tar_sha256 != pixels.parent_sha256:
            raise DamagedShardError(
                f"{self.parent.location}: shard {pixels.shard} was replaced while it was refined; "
                "run the same command again"
            )
        assert self.child.card.refiner is not None
        refined_by = {
            "refiner": self.child.card.refiner.sha256,
            "parent": pixels.parent_sha256,
        }
        # The bytes of each label stay as they are; the field `refined` is appended to its object.
        ending = b',"refined":' + orjson.dumps(refined_by) + b"}"
        samples = [
            PackedSample(key.decode(), encode_png(image), line[:-1] + ending)
            for key, line, image in zip(
                pixels.keys.splitlines(), pixels.labels.splitlines(), pixels.images, strict=True
            )
        ]
        committed = commit_shard(
            self.child,
            Expected.of_rows(
                rows,
                shard=pixels.shard,
                split=pixels.split,
                parent_sha256=pixels.parent_sha256,
                refined_from=pixels.parent_sha256,
            ),
            samples,
            labels_checked=True,
            writer=f"{WRITER} ({pixels.engine})",
        )
        return Outcome(
            shard=pixels.shard, num_samples=committed.num_samples, engine=pixels.engine or None
        )
