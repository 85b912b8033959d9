"""Validate: compare a refined dataset with its parent, key by key, and with a real one as a
distribution.

Every sample is measured shard by shard, in parallel (`factory.validation.shard_measures`). Calibration and realism
are measured on a seeded sample of the dataset.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.lineage import stale_shards
from factory.dataset.loading import load_images, load_index
from factory.images.png import Pixels
from factory.measures.statistics import MIN_CLUSTERS
from factory.measures.two_sample import MIN_IMAGES
from factory.validation.protocols import Trio
from schemas.dataset import DatasetKind


class NotComparableError(ValueError):
    """The datasets are not a refined one, its parent and a real one."""


def open_pair(refined: str, parent: str | None = None) -> tuple[Dataset, Dataset]:
    """A refined dataset and its parent, checked to belong together.

    Args:
        parent: where the parent lies now; the place in the refined dataset's card when None.

    Raises:
        NotComparableError: they do not, or a shard's parent has changed since.
    """
    child = Dataset.open(refined)
    if child.card.parent is None:
        raise NotComparableError(f"{refined} is a {child.card.kind} dataset, not a refined one")
    if child.card.kept is not None:
        raise NotComparableError(
            f"{refined} holds what report {child.card.kept.report} kept; validate its parent, "
            f"{child.card.parent.location}"
        )
    synthetic = Dataset.open(parent if parent is not None else child.card.parent.location)
    if synthetic.card.digest() != child.card.parent.card:
        raise NotComparableError(f"{synthetic.location} is not the parent of {refined}")
    stale = stale_shards(synthetic, child)
    if stale:
        raise NotComparableError(
            f"{refined}: shards {stale[:10]} were refined from other versions of their parent "
            f"shards than {synthetic.location} holds"
        )
    return child, synthetic


def open_trio(refined: str, real: str, parent: str | None = None) -> Trio:
    """`open_pair`, and the real dataset.

    Raises:
        NotComparableError: they do not belong together.
    """
    child, synthetic = open_pair(refined, parent)
    camera = Dataset.open(real)
    wanted: DatasetKind = "real"
    if camera.card.kind != wanted or camera.card.image != child.card.image:
        raise NotComparableError(
            f"{real} holds {camera.card.kind} images of {camera.card.image}, "
            f"expected {wanted} ones of {child.card.image}"
        )
    return Trio(child, synthetic, camera)


def new_report_id() -> str:
    """Sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{token_hex(3)}"


# --- on a sample of the dataset -----------------------------------------------------------------


class Sampled(NamedTuple):
    """A seeded choice of pairs, in a random order that has nothing to do with keys."""

    index: pa.Table
    synthetic: Pixels
    refined: Pixels


def shards_of(dataset: Dataset, split: str | None) -> list[int]:
    """Committed shards of a split, or of all where it is None.

    Raises:
        ValueError: no such split, or no images in it.
    """
    shards = dataset.committed() if split is None else dataset.committed_in(split)
    if not any(dataset.facts(shard).num_samples for shard in shards):
        raise ValueError(f"{dataset.location} holds no images yet")
    return shards


def check_enough(trio: Trio, shards: Sequence[int], split: str | None) -> None:
    """See that there are images enough for the two-sample tests, before hours are spent.

    Raises:
        ValueError: there are not; says how many there are.
    """
    real = shards_of(trio.real, split if split in trio.real.card.splits else None)
    for dataset, numbers, needed in (
        (trio.refined, shards, MIN_IMAGES),
        (trio.real, real, 2 * MIN_IMAGES),
    ):
        num = sum(dataset.facts(shard).num_samples for shard in numbers)
        if num < needed:
            raise ValueError(
                f"{dataset.location} has {num} images to validate with, at least {needed} needed"
            )


def sample_pairs(trio: Trio, shards: Sequence[int], count: int, seed: int) -> Sampled:
    """About `count` pairs out of as few of the shards as hold them."""
    index, refined = sample_labelled(trio.refined, shards, count, seed)
    _, synthetic = sample_labelled(trio.parent, shards, count, seed)
    return Sampled(index, synthetic, refined)


def sample_labelled(
    dataset: Dataset, shards: Sequence[int], count: int, seed: int
) -> tuple[pa.Table, Pixels]:
    """About `count` samples, index rows and images, out of as few of the shards as hold them."""
    rng = np.random.default_rng(seed)
    shards = _some_shards(dataset, shards, count, rng)
    index = load_index(dataset, shards=shards)
    chosen = rng.permutation(len(index))[:count]
    return index.take(pa.array(chosen)), load_images(dataset, shards)[chosen]


def sample_images(dataset: Dataset, split: str | None, count: int, seed: int) -> Pixels:
    """About `count` images of a dataset in random order; of a split, where it has that."""
    rng = np.random.default_rng(seed)
    shards = shards_of(dataset, split if split in dataset.card.splits else None)
    images = load_images(dataset, _some_shards(dataset, shards, count, rng))
    return images[rng.permutation(len(images))[:count]]


def _some_shards(
    dataset: Dataset, shards: Sequence[int], count: int, rng: np.random.Generator
) -> list[int]:
    chosen, reached = [], 0
    for shard in rng.permutation(np.array(shards)).tolist():
        chosen.append(shard)
        reached += dataset.facts(shard).num_samples
        if reached >= count:
            break
    return sorted(chosen)


def identities_of(sampled: Sampled) -> list[str] | None:
    """Who each sample shows; None where that is not known of all, or there are too few people."""
    names = sampled.index["identity"].to_pylist()
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
