"""What a comparison of content is told on the command line."""

from typing import Annotated

from pydantic import Field

from schemas.base import Model
from schemas.place import Place

MIN_RENDERS = 50
"""fewer cannot say what can be read off them"""


class ContentConfig(Model):
    """Which renders are compared with which real images."""

    synthetic: Place
    """dataset of labelled renders"""
    real: Place
    """dataset of camera images of the same layout; their labels, if any, are not looked at"""
    output: Place
    """folder for content.json and figures/content.svg, or s3://bucket/prefix"""
    split: str | None = "train"
    """split of both datasets to look at; None for all of their images"""
    max_images: Annotated[int, Field(ge=MIN_RENDERS)] = 4000
    """images of each dataset to look at, at most"""
    seed: Annotated[int, Field(ge=0)] = 0
    """decides which images are looked at, how they are shifted, and which identities share a
    model"""
