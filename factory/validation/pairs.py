"""A refined dataset, its parent and a real dataset, opened and checked to belong together.

Refined images and their parents' are paired by key.
"""

from collections.abc import Sequence

import numpy as np

from factory.dataset.dataset import Dataset
from factory.dataset.lineage import stale_shards
from factory.images.png import Pixels
from factory.validation.protocols import Trio


class NotComparableError(ValueError):
    """The datasets are not a refined one, its parent and a real one."""


def open_pair(refined: str, parent: str | None = None) -> tuple[Dataset, Dataset]:
    """A refined dataset and its parent, checked to belong together.

    Args:
        parent: where the parent is now; the location in the refined dataset's card when None.

    Raises:
        NotComparableError: they do not belong together, or a shard's parent has changed since.
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
    if camera.card.kind != "real" or camera.card.image != child.card.image:
        raise NotComparableError(
            f"{real} holds {camera.card.kind} images of {camera.card.image}, "
            f"expected real ones of {child.card.image}"
        )
    return Trio(child, synthetic, camera)


def parent_images(parent: Dataset, keys: Sequence[str]) -> Pixels:
    """The images of the parent that have the keys of some refined images, in the same order.

    Raises:
        NotComparableError: the parent has no image of one of these keys.
    """
    by_shard: dict[int, list[int]] = {}
    for position, key in enumerate(keys):
        by_shard.setdefault(int(key.split("-")[0]), []).append(position)
    empty = parent.no_images()
    images = np.empty((len(keys), *empty.shape[1:]), empty.dtype)
    for shard, positions in by_shard.items():
        parent_keys = parent.index(shard, ["key"])["key"].to_pylist()
        row_of = {key: row for row, key in enumerate(parent_keys)}
        missing = [keys[position] for position in positions if keys[position] not in row_of]
        if missing:
            raise NotComparableError(
                f"{parent.location} has no image {missing[0]}, from which the refined image of "
                f"that key should come ({len(missing)} such keys in shard {shard})"
            )
        rows = [row_of[keys[position]] for position in positions]
        images[positions] = parent.images(shard)[rows]
    return images
