"""What a user wants to know of a dataset, or to have done to it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Model
from schemas.place import Place, PlacePath


class Upkeep(Model):
    """What a user wants to know of a dataset or a release, and to have done to it."""

    input: Place
    """dataset, or one of its releases (DATASET/releases/NAME): a folder, or s3://bucket/prefix"""
    verify: bool = False
    """read everything and compare every part with the others; exit code 1 if anything is wrong"""
    gc: bool = False
    """list what is not part of the dataset: tars that no shard has any more, leftovers, foreign
    objects"""
    delete: bool = False
    """with --gc: delete what no shard, release, child or run needs; with --expire: do it"""
    older_than_hours: Annotated[float, Field(ge=0)] = 24.0
    """--gc deletes only what did not change for this long, and nothing while a run holds a lease"""
    repair: bool = False
    """verify, and say how damaged shards would be repaired"""
    apply: bool = False
    """with --repair: make damaged shards again, or withdraw them"""
    shards: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """verify and repair only these shards"""
    source_input: Place | None = None
    """with --repair of an ingested dataset: where its inputs are, to make shards again; without
    this, the next ingest makes them"""
    refiner: Place | None = None
    """with --repair of a refined dataset: its refiner, to make shards again; without this, the next
    refine makes them"""
    device: Literal["cpu", "cuda"] = "cpu"
    """what --repair refines on"""
    withdraw_stale: bool = False
    """with --repair: also make shards again, or withdraw them, that were refined from a parent
    shard that changed"""
    parent: Place | None = None
    """where the parent of a refined dataset is now, if it was moved"""
    children: tuple[Place, ...] = ()
    """datasets made from this one that did not register themselves in it, or were moved: their
    stale shards are named, and --gc keeps what they were made from"""
    ignore_unreachable: bool = False
    """go on where a registered child cannot be opened; without this, --apply and --gc --delete
    refuse"""
    expire: tuple[str, ...] = ()
    """releases to give up, so that --gc can remove the tars that only they name; says what that
    frees, and does it with --delete"""
    upgrade: bool = False
    """upgrade a dataset of an earlier format in place; safe to stop at any moment"""
    contact_sheet: PlacePath | None = None
    """write a page of images to this PNG file; a refined dataset's below their parent's"""
    num_images: Annotated[int, Field(gt=0)] = 48
    """number of images on the contact sheet"""
    draw_pupil: bool = False
    """mark the label's pupil centre on the contact sheet"""
    seed: Annotated[int, Field(ge=0)] = 0
    """seed of the choice of images on the contact sheet"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.delete and not (self.gc or self.expire):
            raise ValueError("--delete goes with --gc or --expire")
        for needed, given in (
            ("repair", "apply"),
            ("repair", "source_input"),
            ("repair", "refiner"),
            ("repair", "withdraw_stale"),
        ):
            if getattr(self, given) and not getattr(self, needed):
                raise ValueError(f"--{given.replace('_', '-')} goes with --{needed}")
        if self.shards and not (self.verify or self.repair):
            raise ValueError("--shards goes with --verify or --repair")
        if sum(map(bool, (self.gc, self.repair, self.expire, self.upgrade))) > 1:
            raise ValueError(
                "--gc, --repair, --expire and --upgrade are commands of their own: repair first, "
                "then clean up"
            )
        return self
