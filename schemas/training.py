"""`train.json` and the checkpoints of a training run."""

from typing import Generic, TypeVar

from pydantic import Field

from schemas.base import Float, Model, Sha256, Versioned

Config = TypeVar("Config", bound=Model)
RUN_NAME = "train.json"


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


class MlflowRecord(Versioned):
    """`mlflow.json` of a training that MLflow was told of: the run to go on with. Runs from before
    MLflow could be told have none."""

    place: str
    """the server, or the absolute path of the folder, that has the run"""
    run_id: str


class Counters(Model):
    """Where a training stands, beside the tensors of its networks and optimisers."""

    clock: int = Field(ge=0)
    """passes of the schedule that were done"""
    num_draws: int = Field(ge=0)
    """batches that were drawn from the images"""
    num_refiner_updates: int = Field(ge=0)
    seconds: Float = Field(ge=0)
    """that the training has run, all sittings together"""


class CheckpointState(Model):
    """`checkpoints/step-<clock>.json`: it is written last, so the checkpoint is complete."""

    counters: Counters
    networks: Sha256
    """of the safetensors file of networks and optimisers"""
    history: dict[str, Sha256]
    """of the history's files, by their names in the store"""
