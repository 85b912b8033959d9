"""A seeded choice of samples: what calibration and realism are measured on.

Every sample of a dataset is measured shard by shard (`factory.validation.shard_measures`); what
takes longer is measured on such a choice.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index, superseded_keys
from factory.images.png import Pixels
from factory.measures.statistics import MIN_CLUSTERS
from factory.measures.two_sample import MIN_IMAGES
from factory.validation.pairs import parent_images
from factory.validation.protocols import Trio
from schemas.options import OptionError


def new_report_id() -> str:
    """Sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{token_hex(3)}"


class Sampled(NamedTuple):
    """A seeded choice of pairs, in a random order that has nothing to do with keys."""

    index: pa.Table
    synthetic: Pixels
    refined: Pixels


def shards_of(dataset: Dataset, split: str | None, leave_out: Collection[int] = ()) -> list[int]:
    """Committed shards of a split, or of all where it is None.

    Args:
        leave_out: shards that do not count.

    Raises:
        OptionError: a shard that is left out is not there.
        ValueError: the dataset has no such split, or no images in it.
    """
    shards = dataset.committed() if split is None else dataset.committed_in(split)
    if leave_out:
        unknown = sorted(set(leave_out) - set(dataset.committed()))
        if unknown:
            raise OptionError(f"--leave-out {unknown[0]}: {dataset.location} has no such shard")
        shards = [shard for shard in shards if shard not in set(leave_out)]
    if not any(dataset.facts(shard).num_samples for shard in shards):
        raise ValueError(f"{dataset.location} holds no images yet")
    return shards


def check_enough(trio: Trio, shards: Sequence[int], split: str | None) -> None:
    """See that there are enough images for the two-sample tests, before hours are spent.

    Args:
        shards: of the refined dataset.
        split: of the real dataset; all of it when None.

    Raises:
        ValueError: there are not enough, and the message says how many there are; or the real
            dataset has no such split.
    """
    for dataset, numbers, needed in (
        (trio.refined, shards, MIN_IMAGES),
        (trio.real, shards_of(trio.real, split), 2 * MIN_IMAGES),
    ):
        superseded = superseded_keys(dataset, numbers)
        num = sum(dataset.facts(shard).num_samples for shard in numbers)
        num -= 0 if superseded is None else len(superseded)
        if num < needed:
            raise ValueError(
                f"{dataset.location} has {num} images to validate with, at least {needed} needed"
            )


def sample_pairs(trio: Trio, shards: Sequence[int], count: int, seed: int) -> Sampled:
    """About `count` pairs of a refined image and its parent's, out of as few of the shards as hold
    them.

    Raises:
        NotComparableError: the parent has no image of one of the refined images' keys.
    """
    index, refined = sample_labelled(trio.refined, shards, count, seed)
    synthetic = parent_images(trio.parent, index["key"].to_pylist())
    return Sampled(index, synthetic, refined)


def sample_labelled(
    dataset: Dataset, shards: Sequence[int], count: int, seed: int
) -> tuple[pa.Table, Pixels]:
    """About `count` samples, index rows and images, out of as few of the shards as hold them.

    Samples that others of `shards` supersede are left out, also where the newer ones are in shards
    that are not read.
    """
    rng = np.random.default_rng(seed)
    chosen = _some_shards(dataset, shards, count, rng)
    index, images = load_index(dataset, shards=chosen), load_images(dataset, chosen)
    superseded = superseded_keys(dataset, shards)
    if superseded is not None:
        is_newest = pc.invert(pc.is_in(index["key"], superseded))
        index, images = index.filter(is_newest), images[is_newest.to_numpy()]
    rows = rng.permutation(len(index))[:count]
    return index.take(pa.array(rows)), images[rows]


def sample_images(dataset: Dataset, split: str | None, count: int, seed: int) -> Pixels:
    """About `count` images of a split in random order, or of the whole dataset when it is None.

    Raises:
        ValueError: the dataset has no such split. Others of its images are no substitute: the
            refiner may have been trained on them.
    """
    return sample_labelled(dataset, shards_of(dataset, split), count, seed)[1]


def _some_shards(
    dataset: Dataset, shards: Sequence[int], count: int, rng: np.random.Generator
) -> list[int]:
    chosen, num_samples = [], 0
    for shard in rng.permutation(np.array(shards)).tolist():
        chosen.append(shard)
        num_samples += dataset.facts(shard).num_samples
        if num_samples >= count:
            break
    return sorted(chosen)


def identities_of(index: pa.Table) -> list[str] | None:
    """Who each row shows; None where that is not known of all, or there are too few people."""
    names = index["identity"].to_pylist()
    return None if None in names or len(set(names)) < MIN_CLUSTERS else names


def calibration_part(sampled: Sampled, num: int) -> Sampled:
    """Samples for the calibration: of other splits than `train`, where there are enough of them.

    A network trained on the split `train` of the parent would flatter itself on it.
    """
    others = np.flatnonzero(np.asarray(sampled.index["split"].to_pylist()) != "train")
    chosen = (others if len(others) >= MIN_IMAGES else np.arange(len(sampled.index)))[:num]
    return Sampled(
        sampled.index.take(pa.array(chosen)), sampled.synthetic[chosen], sampled.refined[chosen]
    )
