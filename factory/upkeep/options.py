"""Options of the jobs that look after a dataset: what a user wants to know, or to have done."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Model
from schemas.place import Place, PlacePath


class OfDataset(Model):
    """Which dataset."""

    input: Place
    """the dataset: a folder, or s3://bucket/prefix"""


class OfDatasetOrRelease(OfDataset):
    """Which dataset or release."""

    input: Place
    """dataset, or one of its releases (DATASET/releases/NAME): a folder, or s3://bucket/prefix"""


class WithParent(Model):
    """Where what a dataset was made from is."""

    parent: Place | None = None
    """where the parent of a refined dataset is now, if it was moved"""


class WithChildren(Model):
    """Where what was made from a dataset is."""

    children: tuple[Place, ...] = ()
    """datasets made from this one that did not register themselves in it, or were moved"""
    ignore_unreachable: bool = False
    """go on where a registered child cannot be opened, which else refuses every change"""


class DescribeOptions(OfDatasetOrRelease, WithParent):
    """What is to be shown of a dataset or a release."""

    contact_sheet: PlacePath | None = None
    """write a page of images to this PNG file; a refined dataset's below their parent's"""
    num_images: Annotated[int, Field(gt=0)] = 48
    """number of images on the contact sheet"""
    draw_pupil: bool = False
    """mark the label's pupil centre on the contact sheet"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seed of the choice of images on the contact sheet"""


class VerifyOptions(OfDatasetOrRelease, WithParent):
    """What is to be verified."""

    shards: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """only these shards of a dataset; default all"""


class GarbageOptions(OfDataset, WithChildren):
    """What becomes of the objects that are not part of a dataset."""

    delete: bool = False
    """remove what no shard, release, child or run needs; without this, it is only listed"""
    older_than_hours: Annotated[float, Field(ge=0)] = 24.0
    """remove only what did not change for this long, and nothing while a run holds a lease"""


class RepairOptions(OfDataset, WithParent, WithChildren):
    """How damaged shards are repaired."""

    apply: bool = False
    """make damaged shards again, or withdraw them; without this, it is only said what would be
    done"""
    shards: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """verify and repair only these shards; default all"""
    source_input: Place | None = None
    """of an ingested dataset: where its inputs are, to make shards again; without this, the next
    ingest makes them"""
    refiner: Place | None = None
    """of a refined dataset: its refiner, to make shards again; without this, the next refine makes
    them"""
    device: Literal["cpu", "cuda"] = "cpu"
    """what refines"""
    withdraw_stale: bool = False
    """also make shards again, or withdraw them, that were refined from a parent shard that
    changed"""


class ExpireOptions(OfDataset):
    """Which releases are given up."""

    releases: Annotated[tuple[str, ...], Field(min_length=1)]
    """names of the releases to give up"""
    delete: bool = False
    """do it; without this, it is only said what that frees"""
