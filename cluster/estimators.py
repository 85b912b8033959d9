"""What the jobs that train estimators share: options, labelled images, doing nothing twice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import torch
import tyro
from pydantic import Field
from torch import nn

from cluster.command import JobConfig
from factory.dataset import Dataset, load_images, load_index
from factory.estimators import EstimatorDescription
from factory.eye_validation import Grey
from factory.images import grey


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


def labelled_eyes(dataset: Dataset, split: str, columns: Sequence[str]) -> tuple[Grey, pa.Table]:
    """A split's images, uint8 (n, H, W), and some columns of its index, in the same order.

    Raises:
        ValueError: there are none, or they are in colour.
    """
    shards = dataset.committed_in(split)
    if not dataset.card.labelled:
        raise ValueError(f"{dataset.location} has no labels to learn from; give renders")
    if dataset.card.image.channels != 1:
        raise ValueError(f"{dataset.location} is in colour; estimators are for grey images")
    return grey(load_images(dataset, shards)), load_index(dataset, list(columns), shards)
