"""`train.json` of a training run."""

from typing import Generic, TypeVar

from schemas.base import Model, Sha256, Versioned

Config = TypeVar("Config", bound=Model)


class TrainRecord(Versioned, Generic[Config]):
    """`train.json`: what a run is. It is written before anything else and compared on entry."""

    domain: str
    config: Config
    """the whole configuration of the run"""
    synthetic: str
    """digest of the synthetic images"""
    real: str
    """digest of the real images"""
    label_network: Sha256 | None = None
    """of the weights of the network that holds labels in place, where one takes part"""
