"""Copies of a refined dataset in which some samples are damaged, committed like any other.

python tests/support/spoiled.py REFINED OUTPUT --damage "shift 3 px" --share 0.01
"""

import argparse
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from factory.dataset.dataset import Dataset
from factory.domains.eye.damage.kinds import DAMAGES
from factory.domains.eye.damage.measuring import EYE_DAMAGES
from factory.images.png import grey
from factory.refinement.shards import ShardCommitter, ShardReader
from factory.validation.power.damages import Damage


def damage_named(name: str) -> Damage:
    """Raises KeyError: no such damage."""
    return {damage.name: damage for damage in DAMAGES}[name]


def spoil(
    refined: Dataset,
    parent: Dataset,
    output: str,
    damage: Damage,
    share: float,
    *,
    shards: set[int] | None = None,
    seed: int = 0,
) -> Dataset:
    """The dataset again, with damage in a share of its samples.

    Args:
        shards: where the damage is; everywhere when None.
    """
    child = Dataset.enter(output, refined.card)
    read, commit = ShardReader(parent), ShardCommitter(parent, child)
    for shard in refined.committed():
        images = grey(refined.images(shard)).copy()
        if len(images) and (shards is None or shard in shards):
            rng = np.random.default_rng([seed, shard])
            rows = rng.permutation(len(images))[: max(2, round(share * len(images)))]
            images[rows] = _damaged(damage, refined, parent, shard, rows, rng)
        commit(replace(read(shard), images=images))
    return child


def _damaged(
    damage: Damage,
    refined: Dataset,
    parent: Dataset,
    shard: int,
    rows: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    labels = refined.index(shard).replace_schema_metadata().take(rows)
    images = parent.images(shard)[rows], refined.images(shard)[rows]
    result = EYE_DAMAGES.damaged(damage, labels, *images, rng)
    # Labels are the parent's: to swap them is to swap the images.
    return np.asarray(result.refined_NHW[result.label_rows_N])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("refined")
    parser.add_argument("output")
    parser.add_argument("--damage", required=True, choices=[damage.name for damage in DAMAGES])
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--shard", type=int, action="append", help="damage these shards alone")
    args = parser.parse_args()
    refined = Dataset.open(args.refined)
    assert refined.card.parent is not None
    parent = Dataset.open(refined.card.parent.location)
    shards = None if args.shard is None else set(args.shard)
    damage = damage_named(args.damage)
    spoil(refined, parent, args.output, damage, args.share, shards=shards)


if __name__ == "__main__":
    main()
