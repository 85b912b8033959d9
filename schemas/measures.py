"""Every sample's measurements: the Arrow schema of `measures/<how>/NNNNNN.parquet`.

A row compares one refined image with its parent image and with its labels. Null is what could not
be measured, or what no network was given for.
"""

import pyarrow as pa

from schemas.base import Model, Sha256

METADATA_KEY = b"simgan_measures"


def _float(name: str, meaning: str) -> pa.Field:
    return pa.field(name, pa.float32(), metadata={"meaning": meaning})


class MeasuredShard(Model):
    """What a file of measurements speaks of, in its Parquet metadata."""

    refined: Sha256
    """of the refined shard's tar"""
    parent: Sha256
    """of the parent shard's tar"""
