"""What an evaluation is told on the command line."""

from typing import Literal

from schemas.base import Model
from schemas.place import Place
from schemas.shipped import ConfigFile


class EvaluationConfig(Model):
    """What is compared, and where the results go."""

    setup: ConfigFile
    """TOML file of arms, models and test sets, like configs/evaluation.toml"""
    output: Place
    """folder of the evaluation, or s3://bucket/prefix"""
    only: tuple[str, ...] = ()
    """arms to train on in this run; the report has all that are finished. Default: all"""
    device: Literal["cpu", "cuda"] = "cpu"
    """cpu: each training has one core; cuda: each has a core and a GPU, which the networks that are
    made for it use"""
