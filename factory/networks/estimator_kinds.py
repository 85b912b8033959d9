"""A kind of network that reads labels off images, and its training into a folder.

A domain brings its kinds (`Domain.estimators`). Each says how labels are read, how its network is
trained and how it is judged; everything else is the same for all and is here. The options of a kind
are read without PyTorch: each method imports what it needs.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.images.png import Pixels
from factory.store.open import open_store
from schemas.base import Model
from schemas.dataset import ImageSpec
from schemas.estimator import EstimatorDescription

if TYPE_CHECKING:
    from torch import nn

    from factory.networks.estimator_training import OnUpdate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """How large the errors of a trained network are."""

    errors: Mapping[str, Any]
    """the fields that the kind's description adds for them"""
    pictures: Mapping[str, bytes]
    """PNGs for people to look at, by the names of their files"""
    summary: str
    """the errors in one line, for the log"""


Training = TypeVar("Training", bound=Model)
Labelled = TypeVar("Labelled")
Network = TypeVar("Network", bound="nn.Module")


class EstimatorKind(ABC, Generic[Training, Labelled, Network]):
    """One kind of estimator. The docstring of a subclass explains it in `--help` of its job."""

    domain: ClassVar[str]
    """domain of the images that it takes"""
    description: ClassVar[type[EstimatorDescription]]
    """what is written beside its weights"""
    training: type[Training]
    """its training options"""
    loss_format: ClassVar[str] = "{:.4f}"
    """format that shows a loss, with its unit"""

    @property
    def name(self) -> str:
        """The name of its files, and for `jobs/estimator.py`."""
        return self.description.NAME

    def check(self, training: Training, image: ImageSpec) -> None:
        """Raises ValueError where a network of these options cannot take such images."""

    @abstractmethod
    def load(self, location: str | Path) -> tuple[Network, EstimatorDescription]:
        """Read a trained network back, as `load_estimator` does."""

    @abstractmethod
    def read(self, dataset: Dataset, split: str) -> Labelled:
        """The images of a split with what is to be learnt of them. Raises ValueError where the
        labels are missing."""

    @abstractmethod
    def train(self, training: Training, labelled: Labelled, on_update: "OnUpdate") -> Network:
        """Train a network. Raises RuntimeError where a loss is not finite."""

    @abstractmethod
    def judge(self, network: Network, labelled: Labelled, held_out: Labelled) -> Judged:
        """Compare what the network finds in held-out images with their labels.

        Args:
            labelled: what it was trained on, whose mean label is the answer to beat.
        """


def check_dataset(
    kind: EstimatorKind[Training, Labelled, Network],
    training: Training,
    dataset: Dataset,
    splits: Sequence[str],
) -> None:
    """Raises ValueError where a dataset is of another domain, lacks a split, or has images that
    the network cannot take."""
    if dataset.card.domain != kind.domain:
        raise ValueError(
            f"{dataset.location} is of the domain {dataset.card.domain}; "
            f"jobs/estimator.py {kind.name} learns from images of the domain {kind.domain}"
        )
    dataset.require_splits(*splits)
    kind.check(training, dataset.card.image)


def train_estimator(
    kind: EstimatorKind[Training, Labelled, Network],
    training: Training,
    dataset: Dataset,
    output: str | Path,
    *,
    split: str,
    held_out: str,
    lineage: Mapping[str, Any],
    progress: "AbstractContextManager[OnUpdate]",
) -> None:
    """Train a network and write it with its errors and pictures, unless the very same is there.

    Args:
        dataset: labelled images that `check_dataset` accepts.
        output: a folder, made if it is missing, or `s3://bucket/prefix`.
        split: the split to train on.
        held_out: the split that the errors are measured on.
        lineage: the shards of `split`, by content, for the description.
        progress: is entered when training begins; gives what each loss is reported to.

    Raises:
        ValueError: the dataset has no labels or is in colour, or the output holds a network of
            another training.
        RuntimeError: a loss is not finite.
    """
    from factory.networks.estimators import UNSAVED, save_estimator

    train = {**training.model_dump(mode="json"), "lineage": dict(lineage)}
    if _is_trained(kind, output, train):
        log.info("%s: already trained", output)
        return
    labelled, others = kind.read(dataset, split), kind.read(dataset, held_out)
    with progress as on_update:
        network = kind.train(training, labelled, on_update)
    judged = kind.judge(network, labelled, others)
    store = open_store(output)
    for name, picture in judged.pictures.items():
        store.put(name, picture)
    description = kind.description.model_validate(
        {
            "domain": dataset.card.domain,
            "image": dataset.card.image,
            "architecture": network.config,
            "sha256": UNSAVED,
            "train": train,
            **judged.errors,
        }
    )
    save_estimator(output, network, description)
    log.info("held out, %s: %s", held_out, judged.summary)


def _is_trained(
    kind: EstimatorKind[Training, Labelled, Network], output: str | Path, train: dict[str, Any]
) -> bool:
    """Whether an output holds the network of this very training; False where it holds none.

    Raises:
        ValueError: it holds a network of another training.
        FormatError: it is damaged.
    """
    try:
        _, description = kind.load(output)
    except FileNotFoundError:
        return False
    if description.train != train:
        raise ValueError(f"{output} holds a network of another training; give another --output")
    return True


def labelled_images(
    dataset: Dataset, split: str, columns: Sequence[str]
) -> tuple[Pixels, pa.Table]:
    """The grey images of a split, (N, H, W), and columns of its index, in the same order.

    Raises:
        ValueError: the split is missing, or the images have no labels or are in colour.
    """
    shards = dataset.committed_in(split)
    if not dataset.card.labelled:
        raise ValueError(f"{dataset.location} has no labels to learn from; give renders")
    if dataset.card.image.channels != 1:
        raise ValueError(f"{dataset.location} is in colour; estimators are for grey images")
    return load_images(dataset, shards), load_index(dataset, list(columns), shards)
