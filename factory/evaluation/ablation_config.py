"""What an ablation trains, and what it compares the results on."""

from typing import Annotated, Literal

from pydantic import Field

from factory.measures.two_sample import TwoSampleTest
from schemas.base import Model
from schemas.place import Place
from schemas.shipped import ConfigFile


class AblationConfig(Model):
    """What is trained, and what it is compared on."""

    variants: ConfigFile
    """TOML file in which [train] is common to all variants, and [variants.NAME] is what one of them
    changes; or the name of one that comes with simgan-factory: ablation, precision"""
    synthetic: Place
    """dataset of labelled renders, with the splits below"""
    real: Place
    """dataset of camera images, with the splits below"""
    output: Place
    """folder of the ablation, or s3://bucket/prefix"""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2)
    """each variant is trained once with each of these"""
    split: str = "train"
    """split of both datasets to train on"""
    held_out: str = "test"
    """split of both datasets to score on"""
    num_held_out: Annotated[int, Field(ge=40)] = 1000
    """renders, and real images, to score on"""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu: each training has one core; cuda: each has a core and a GPU"""
    test: TwoSampleTest = TwoSampleTest()
    """the two-sample test"""
