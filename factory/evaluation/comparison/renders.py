"""The renders of an evaluation, which all arms but those of real images are made of."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.images.png import Pixels
from factory.networks.evaluation_kinds import Examples, Quantity
from schemas.base import digest_of


class Rows(NamedTuple):
    """Labelled renders."""

    examples: Examples
    index: pa.Table
    """their rows of the index: the key, the identity and labels"""

    @property
    def keys(self) -> NDArray[np.str_]:
        """(N,) keys of the renders."""
        return np.asarray(self.index["key"].to_pylist())

    def first(self, num: int) -> "Rows":
        """The first so many of them, or all where there are fewer."""
        rows = np.arange(min(num, len(self.index)))
        return Rows(self.examples.take(rows), self.index[:num])


@dataclass(frozen=True)
class Renders:
    """Where the renders and the unlabelled real images of an evaluation are. It travels to
    workers."""

    renders: str
    real: str | None
    split: str
    held_out: str
    num_held_out: int

    def rows(
        self,
        split: str,
        quantity: Quantity,
        num: int | None,
        seed: int,
        *,
        all_labels: bool = False,
    ) -> Rows:
        """Renders of a split with their labels, in a random order.

        Args:
            num: how many; None for all.
            seed: of their choice.
            all_labels: read every column of the index, not those of the quantity alone.

        Raises:
            ValueError: there are fewer, or a label is missing.
        """
        dataset = Dataset.open(self.renders)
        shards = dataset.committed_in(split)
        columns = list(dict.fromkeys(["key", "identity", *quantity.columns]))
        index = load_index(dataset, None if all_labels else columns, shards)
        if num is not None and num > len(index):
            raise ValueError(
                f"{self.renders} has {len(index)} renders in its split {split}, not {num}"
            )
        order = np.random.default_rng(seed).permutation(len(index))[:num]
        index = index.take(pa.array(order))
        examples = Examples(
            load_images(dataset, shards)[order], quantity.read(index), groups_of(index)
        )
        return Rows(examples, index)

    def real_images(self) -> Pixels:
        """The unlabelled real images of the split that is trained on.

        Raises:
            ValueError: the evaluation names none.
        """
        if self.real is None:
            raise ValueError("an arm is fitted to real images, and the setup names none (real)")
        dataset = Dataset.open(self.real)
        return load_images(dataset, dataset.committed_in(self.split))


def groups_of(index: pa.Table) -> NDArray[np.str_]:
    """(N,) identities of the rows of an index; an image without one is a group of its own."""
    pairs = zip(index["identity"].to_pylist(), index["key"].to_pylist(), strict=True)
    return np.asarray([identity if identity is not None else key for identity, key in pairs])


def digest_of_dataset(location: str, *splits: str) -> str:
    """Digest of the shards of some splits, or of all shards, by content."""
    dataset = Dataset.open(location)
    shards = [s for split in splits for s in dataset.committed_in(split)] or dataset.committed()
    return digest_of([facts.tar_sha256 for facts in dataset.all_facts(shards)])
