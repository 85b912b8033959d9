"""A kind of sample: its labels and pixels, all that a dataset on disk has to know of eyes or hands.

A domain (`factory.domains`) adds where samples come from and how they are judged.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from schemas.base import FormatError
from schemas.dataset import BYTES_FULL_SCALE, DatasetCard, ImageSpec
from schemas.index import index_schema
from schemas.sample import Envelope


def scale_of_bytes(card: DatasetCard) -> float:
    """The pixel value that becomes 1 in the networks, for 8-bit images."""
    return BYTES_FULL_SCALE


def scale_of_depth(card: DatasetCard) -> float:
    """The pixel value that becomes 1 in the networks, for depth in whole mm that a cube cuts out:
    stored values go from 0, the background, to the side of the cube plus 1.

    Raises:
        FormatError: the card names no cube, or its images are not of 16 bits.
    """
    options = card.config.get("options")
    cube_mm = options.get("cube_mm") if isinstance(options, dict) else None
    if not isinstance(cube_mm, int | float) or card.image.bits != 16:
        raise FormatError(
            f"dataset {card.name!r} should hold 16-bit depth and name the cube that it was cut by, "
            f"config.options.cube_mm; it has {card.image.bits} bits and cube_mm = {cube_mm!r}"
        )
    return float(cube_mm) + 1.0


@dataclass(frozen=True)
class SampleKind:
    """The labels and images of one kind of sample."""

    name: str
    """the `domain` of a dataset card"""
    schema: str
    """name and version of the json member, its `schema` field"""
    labelled: type[Envelope]
    """model of the json member of a labelled sample"""
    unlabelled: type[Envelope]
    """model of the json member of a sample without labels"""
    label_columns: tuple[pa.Field, ...]
    """columns of the index for the labels, by the names of the json member"""
    image: ImageSpec
    shard_size: int
    """samples planned into one shard unless asked otherwise: about 100 MB"""
    unlabelled_columns: tuple[pa.Field, ...] = ()
    """columns of the index that samples without labels have too, beyond the envelope"""
    repeated_columns: tuple[str, ...] = ()
    """label columns that hold few different values, which Parquet stores as a dictionary"""
    full_scale: Callable[[DatasetCard], float] = scale_of_bytes
    """gives the pixel value that becomes 1 in the networks, for a dataset with a given card"""

    def columns(self, labelled: bool) -> tuple[pa.Field, ...]:
        """Columns of the index that this kind adds to the envelope."""
        return self.unlabelled_columns + (self.label_columns if labelled else ())

    def index_schema(self, labelled: bool) -> pa.Schema:
        """All columns of the index of a dataset of this kind."""
        return index_schema(self.columns(labelled))
