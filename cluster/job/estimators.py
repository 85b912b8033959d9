"""What the jobs that train estimators share: options, labelled images, doing nothing twice."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pyarrow as pa
import torch
import tyro
from pydantic import Field
from torch import nn

from cluster.job.command import JobConfig
from cluster.job.progress import Progress
from cluster.job.start import logged_run
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.eye.validator import Grey
from factory.images.png import Pixels, grey
from factory.networks.estimators import UNSAVED, EstimatorDescription, save_estimator
from factory.store.open import open_store
from factory.training.inputs import lineage_of
from schemas.base import Model

log = logging.getLogger(__name__)


class EstimatorJob(JobConfig):
    """Where to learn, and where to write."""

    synthetic: str
    """dataset of labelled images: renders, or refined ones"""
    output: str
    """folder for the network, or s3://bucket/prefix"""
    split: str = "train"
    """to train on"""
    held_out: str = "test"
    """split that the error is measured on"""
    num_threads: Annotated[int | None, Field(ge=1), tyro.conf.arg(metavar="INT")] = None
    """CPU threads; default all cores"""

    def limit_threads(self) -> None:
        """As `num_threads` says, in this process."""
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)


@dataclass(frozen=True)
class Judged:
    """How good a trained network is."""

    errors: Mapping[str, Any]
    """what the kind of description adds to say so"""
    pictures: Mapping[str, bytes]
    """to look at, by the names of their files"""
    told: str
    """the errors in a line, for the log"""


Training = TypeVar("Training", bound=Model)
Labelled = TypeVar("Labelled")
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class EstimatorKind(Generic[Training, Labelled, Network]):
    """What differs between estimators."""

    domain: str
    """whose images it takes"""
    description: type[EstimatorDescription]
    training: type[Training]
    """the part of the job's options that decides the network"""
    load: Callable[[str | Path], tuple[Network, EstimatorDescription]]
    read: Callable[[Dataset, str], Labelled]
    """the images of a split and what to learn of them"""
    train: Callable[[Training, Labelled, Callable[[float], None]], Network]
    """calls its last argument with the loss of each update"""
    judge: Callable[[Network, Labelled, Labelled], Judged]
    """a network, what it was trained on, and what was held out"""
    loss: str
    """how a loss is shown: a format, with its unit"""


def train_estimator(job: EstimatorJob, kind: EstimatorKind[Training, Labelled, Network]) -> None:
    """Train a network into a job's output, unless the very same is there.

    Raises:
        ValueError: the dataset is of another domain, lacks a split or labels, or the output holds a
            network of another training.
    """
    dataset = Dataset.open(job.synthetic)
    if dataset.card.domain != kind.domain:
        raise ValueError(
            f"{dataset.location} is of the domain {dataset.card.domain}; "
            f"jobs/{kind.description.NAME}.py learns from images of the domain {kind.domain}"
        )
    dataset.require_splits(job.split, job.held_out)
    training = job.part(kind.training)
    made_of = {**training.model_dump(mode="json"), "lineage": lineage_of(dataset, job.split)}
    with logged_run(job, job.output):
        if already_trained(job.output, kind.load, made_of):
            log.info("%s: already trained", job.output)
            return
        job.limit_threads()
        labelled, held_out = kind.read(dataset, job.split), kind.read(dataset, job.held_out)
        progress = Progress(kind.description.NAME, made_of["steps"], "updates")
        try:
            network = kind.train(
                training,
                labelled,
                lambda loss: progress.advance(1, f"loss {kind.loss.format(loss)}"),
            )
        finally:
            progress.close()
        judged = kind.judge(network, labelled, held_out)
        store = open_store(job.output)
        for name, picture in judged.pictures.items():
            store.put(name, picture)
        described = kind.description(
            domain=dataset.card.domain,
            image=dataset.card.image,
            architecture=network.config,
            sha256=UNSAVED,
            train=made_of,
            **judged.errors,
        )
        save_estimator(job.output, network, described)
        log.info("held out, %s: %s", job.held_out, judged.told)


def already_trained(
    location: str | Path,
    load: Callable[[str | Path], tuple[nn.Module, EstimatorDescription]],
    train: dict[str, Any],
) -> bool:
    """Whether an output holds a network of this very training; False where it holds none.

    Raises:
        ValueError: it holds one of another training.
        FormatError: it is damaged.
    """
    try:
        _, description = load(location)
    except FileNotFoundError:
        return False
    if description.train != train:
        raise ValueError(f"{location} holds a network of another training; give another --output")
    return True


def labelled_images(
    dataset: Dataset, split: str, columns: Sequence[str]
) -> tuple[Pixels, pa.Table]:
    """A split's grey images, (n, H, W), and some columns of its index, in the same order.

    Raises:
        ValueError: there are none, or they are in colour.
    """
    shards = dataset.committed_in(split)
    if not dataset.card.labelled:
        raise ValueError(f"{dataset.location} has no labels to learn from; give renders")
    if dataset.card.image.channels != 1:
        raise ValueError(f"{dataset.location} is in colour; estimators are for grey images")
    return load_images(dataset, shards), load_index(dataset, list(columns), shards)


def labelled_eyes(dataset: Dataset, split: str, columns: Sequence[str]) -> tuple[Grey, pa.Table]:
    """`labelled_images` of 8 bits.

    Raises:
        ValueError: they have 16, as well.
    """
    images, index = labelled_images(dataset, split, columns)
    return grey(images), index
