"""Training on Ray Train: any number of workers, which go on from our own checkpoints."""

import json
import logging
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.job.every import every
from cluster.job.progress import Progress
from cluster.on_ray.connect import ensure_ray
from cluster.on_ray.history import SharedHistory
from factory.dataset.dataset import Dataset
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.validator import crop_of
from factory.measures.two_sample import TwoSampleTest
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.open import open_store
from factory.training.metrics_log import METRICS_NAME
from factory.training.record import scaled_for
from factory.training.run import (
    NonFiniteLoss,
    TrainConfig,
    history_shape,
)
from factory.training.run_on_datasets import train_on_datasets
from factory.training.scores import Scorer, score_refiner
from factory.training.workers import Peers, average_over_process_group
from factory.validation.held_out import HeldOut, require_scorable
from factory.validation.sampling import shards_of
from schemas.score import Score

log = logging.getLogger(__name__)
SHOWN = ("mean_abs_delta", "realism_loss", "discriminator_loss")
ERROR_NAME = "train-error.txt"
PROCESS_GROUP_TIMEOUT_S = 300
"""that workers wait for each other; the longest they do is while a checkpoint is taken down"""


def train_on_ray(
    config: TrainConfig,
    synthetic: str,
    real: str,
    output: str | Path,
    *,
    split: str,
    use_gpu: bool = False,
    workers: int = 1,
    cpus: int | None = None,
    history_actors: int = 1,
    max_failures: int = 3,
    held_out: str = "test",
    num_held_out: int = 600,
) -> None:
    """Train in Ray Train workers. Where a worker, the history or a node is lost, all start again
    from the newest checkpoint.

    One worker is the plain loop, with its history in its own process. Several share the batch,
    each with its own part of the images, and the history in actors of its own.

    Args:
        synthetic, real: locations of the datasets, readable from the workers.
        output: place of the run, which all workers see.
        split: of both datasets, to train on.
        workers: with a GPU each, if `use_gpu`.
        cpus: cores for each worker; None for as many as there are.
        history_actors: that several workers share the history in.
        max_failures: losses to survive before giving up.
        held_out: split of both datasets to score refiners on, where the configuration wants that.
        num_held_out: images of it.

    Raises:
        RuntimeError: the training itself failed; the message is its own.
    """
    pair = Dataset.open(synthetic), Dataset.open(real)
    config = scaled_for(config, pair[0].card, pair[1].card)
    ensure_ray(dashboard=True)
    cpus = _cpus_of_a_worker(workers, use_gpu, cpus)
    store = open_store(output)
    store.delete(ERROR_NAME)
    loop = {
        "config": config.model_dump(mode="json"),
        "synthetic": synthetic,
        "real": real,
        "output": store.location,
        "split": split,
        "device": "cuda" if use_gpu else "cpu",
        "history": None,
        "scorer": None,
    }
    if config.validate_every:
        loop["scorer"] = RemoteScorer(synthetic, real, held_out, num_held_out)
    if workers > 1 and config.buffer_size:
        shape = history_shape(config, pair[0].card.image)
        loop["history"] = SharedHistory.start(
            config.buffer_size, shape, config.seed, actors=history_actors
        )
    with _scratch(store) as folder:
        trainer = TorchTrainer(
            _train_here,
            train_loop_config=loop,
            torch_config=ray.train.torch.TorchConfig(timeout_s=PROCESS_GROUP_TIMEOUT_S),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers,
                use_gpu=use_gpu,
                resources_per_worker={"CPU": cpus} | ({"GPU": 1} if use_gpu else {}),
            ),
            run_config=ray.train.RunConfig(
                name="ray-train",
                storage_path=str(folder),
                failure_config=ray.train.FailureConfig(max_failures=max_failures),
            ),
        )
        progress = Progress("train", config.total_clock, "steps")
        advance = partial(_advance, progress, store)
        try:
            with every(1.0 if isinstance(store, LocalStore) else 10.0, advance):
                failure = _fit_in_this_cluster(trainer)
        finally:
            advance()
            progress.close()
    if (error := _error_of(store)) is not None:
        raise RuntimeError(error)
    if failure is not None:
        raise RuntimeError(f"the training failed: {failure}")


def _fit_in_this_cluster(trainer: TorchTrainer) -> str | None:
    """Run a trainer; what went wrong, or None.

    An actor of Ray Train looks after the trainer through Ray's state API, which without
    RAY_ADDRESS asks the newest cluster of the machine (Ray 2.60). Where that is another one, it
    finds the trainer dead and takes the workers' resources away. So all of Ray Train runs in a
    task that has the address of its own cluster.
    """
    here = ray.get_runtime_context()
    fit = ray.remote(_fit).options(
        num_cpus=0,
        max_retries=0,
        runtime_env={"env_vars": {"RAY_ADDRESS": here.gcs_address}},
        scheduling_strategy=NodeAffinitySchedulingStrategy(here.get_node_id(), soft=False),
    )
    failure: str | None = ray.get(fit.remote(trainer))
    return failure


def _fit(trainer: TorchTrainer) -> str | None:
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        return str(error)
    return None


def _cpus_of_a_worker(workers: int, use_gpu: bool, cpus: int | None) -> int:
    """Cores for each worker, so that the nodes can hold them all.

    Raises:
        RuntimeError: they cannot.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [int(node.get("GPU", 0)) if use_gpu else workers for node in nodes]
    for count in [cpus] if cpus is not None else range(max(cores, default=0), 0, -1):
        fit = sum(min(c // count, g) for c, g in zip(cores, gpus, strict=True))
        if fit >= workers:
            return count
    wanted = f"{workers} workers of {cpus or 1} cores" + (" and a GPU" if use_gpu else "")
    raise RuntimeError(
        f"this Ray cluster cannot hold {wanted}: its nodes have {cores} cores"
        + (f" and {gpus} GPUs; train with --device cpu, or fewer --workers" if use_gpu else "")
    )


@contextmanager
def _scratch(store: Store) -> Iterator[Path]:
    """Where Ray Train keeps its own state, of which a run that goes on needs nothing."""
    if isinstance(store, LocalStore):
        yield store.root / "runs"
        return
    with tempfile.TemporaryDirectory(prefix="simgan-train-") as folder:
        yield Path(folder)


def _train_here(loop: dict[str, Any]) -> None:
    """One worker's side.

    What is lost may come back: such an error ends the worker, and Ray Train starts all of them
    again. One of ours would come again: it is written down, and nobody tries.
    """
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    store = open_store(loop["output"])
    if store.size(ERROR_NAME) is not None:  # another worker found one before it ended
        return
    try:
        train_on_datasets(
            TrainConfig.model_validate(loop["config"]),
            loop["synthetic"],
            loop["real"],
            store.location,
            split=loop["split"],
            peers=Peers(rank, size, average_over_process_group if size > 1 else None),
            history=loop["history"],
            device=loop["device"],
            scorer=loop["scorer"],
        )
    except (ValueError, FileNotFoundError, NonFiniteLoss) as error:
        log.exception("training stopped")
        store.put(ERROR_NAME, f"{type(error).__name__}: {error}".encode())
        if size > 1:  # the others may be waiting for this one
            raise


class RemoteScorer(Scorer):
    """Scores refiners in tasks of the cluster, beside the training on whatever cores it has."""

    def __init__(self, synthetic: str, real: str, split: str, count: int) -> None:
        """
        Raises:
            ValueError: the datasets are not of eyes, have no such split, or no images in it.
        """
        for location in (synthetic, real):
            dataset = Dataset.open(location)
            require_scorable(dataset)
            try:
                dataset.require_splits(split)
            except ValueError as error:
                raise ValueError(
                    f"nothing to score on: {error}; or set validate_every to 0"
                ) from error
            shards_of(dataset, split)
        self.where = synthetic, real, split, count
        self.eye_width_px = crop_of(Dataset.open(synthetic)).eye_width_px

    def __call__(self, location: str) -> "Future[Score]":
        # No core is asked for: the workers may hold them all, and would wait for this at the end.
        remote = ray.remote(_score).options(num_cpus=0, max_retries=3)
        future: Future[Score] = remote.remote(location, *self.where).future()
        return future


def _score(location: str, synthetic: str, real: str, split: str, count: int) -> Score:
    torch.set_num_threads(1)
    held_out = HeldOut.sample(Dataset.open(synthetic), Dataset.open(real), split, count, seed=0)
    return score_refiner(location, held_out, PupilFinder(), TwoSampleTest(seeds=(0,)))


def _error_of(store: Store) -> str | None:
    if store.size(ERROR_NAME) is None:
        return None
    return store.read(ERROR_NAME).decode()


def _advance(progress: Progress, store: Store) -> None:
    """Follow the metrics, which a worker writes as it goes."""
    try:
        lines = store.read_tail(METRICS_NAME, 4096).splitlines()
    except FileNotFoundError:
        return
    try:
        newest = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):  # none yet, or one that is just being written
        return
    shown = ", ".join(f"{name} {newest[name]:.3f}" for name in SHOWN if name in newest)
    progress.advance(max(0, newest["clock"] - progress.done), f"{newest['phase']} {shown}")
