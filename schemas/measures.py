"""Every sample's measurements: the Arrow schema of `measures/<how>/NNNNNN.parquet`.

A row compares one refined image with its parent image and with its labels. Null is what could not
be measured, or what no network was given for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from schemas.base import Model, Sha256

METADATA_KEY = b"simgan_measures"


def float_measure(name: str, meaning: str) -> pa.Field:
    """A column of measurements, with its meaning in the field's metadata."""
    return pa.field(name, pa.float32(), metadata={"meaning": meaning})


class MeasuredShard(Model):
    """What a file of measurements speaks of, in its Parquet metadata."""

    refined: Sha256
    """of the refined shard's tar"""
    parent: Sha256
    """of the parent shard's tar"""


@dataclass(frozen=True)
class DerivedMeasure:
    """A measure that is not stored, because it follows from others."""

    columns: tuple[str, ...]
    """the stored measures that it follows from"""
    of: Callable[[pa.Table], pa.Array]
    """gives it from a table with these columns"""


@dataclass(frozen=True)
class MeasureGuide:
    """What the measures of a domain's refined samples mean."""

    meanings: Mapping[str, str] = field(default_factory=dict)
    """by name, phrases without a full stop; the unit is the end of the name"""
    derived: Mapping[str, DerivedMeasure] = field(default_factory=dict)
    """by name"""
