"""Training on Ray Train: any number of workers, which resume from the run's own checkpoints."""

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
from factory.networks.stored_refiner import WEIGHTS_NAME
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.open import open_store
from factory.tracking.options import NO_MLFLOW, MlflowOptions
from factory.training.checked import CheckedTraining
from factory.training.config import TrainConfig
from factory.training.metrics_log import METRICS_NAME
from factory.training.run import history_shape, train_on_datasets
from factory.training.scores import HeldOutScorer, HeldOutScoring
from factory.training.simgan import NonFiniteLoss
from factory.training.workers import WorkerGroup, average_over_process_group
from schemas.refiner import Device
from schemas.score import Score

log = logging.getLogger(__name__)
SHOWN = ("mean_abs_delta", "realism_loss", "discriminator_loss")
ERROR_NAME = "train-error.txt"
PROCESS_GROUP_TIMEOUT_S = 300
"""that workers wait for each other before they fail; the longest wait is for the copy of the state
that a checkpoint is written from"""


def train_on_ray(
    config: TrainConfig,
    synthetic: str,
    real: str,
    output: str | Path,
    *,
    split: str,
    device: Device = "cpu",
    workers: int = 1,
    cpus: int | None = None,
    history_actors: int = 1,
    max_failures: int = 3,
    held_out: str = "test",
    num_held_out: int = 600,
    tracking: MlflowOptions = NO_MLFLOW,
) -> None:
    """A `factory.training.run.Trainer` in Ray Train workers. When a worker, a history actor or a
    node is lost, all workers start again from the newest checkpoint.

    One worker runs the plain loop, with the history in its own process. Several workers share the
    batch, each with its own part of the images, and the history is in one or more actors.

    Args:
        synthetic, real: locations of the datasets, readable from the workers.
        output: folder or object-store prefix of the run, which all workers see.
        split: of both datasets, to train on.
        device: `cuda` gives each worker a GPU.
        workers: processes that share each batch.
        cpus: cores for each worker; None for as many as there are.
        history_actors: actors that hold the history of several workers, at most one a worker.
        max_failures: failures (worker, history actor, node) to tolerate before giving up.
        held_out: split of both datasets to score refiners on, for a configuration with
            `validate_every`.
        num_held_out: renders, and real images, of it.
        tracking: whether worker 0 tells MLflow of the run, and where: a server that the nodes
            reach, or a folder that they share.

    Raises:
        MissingHookError: refiners are to be scored, and their domain does not say how.
        ValueError: datasets that do not fit each other, or more workers than images.
        RuntimeError: the training itself failed; the message is its own.
    """
    if history_actors > workers:
        raise ValueError(
            f"{history_actors} history actors for {workers} workers: each worker asks one "
            f"actor, so the others would stay empty; give at most --history-actors {workers}"
        )
    checked = CheckedTraining.of(
        config,
        synthetic,
        real,
        split=split,
        held_out=held_out,
        num_held_out=num_held_out,
        num_workers=workers,
    )
    config = checked.config
    scorer = None if checked.scoring is None else RemoteScorer(checked.scoring)
    ensure_ray(dashboard=True)
    use_gpu = device == "cuda"
    cpus = _cpus_of_a_worker(workers, use_gpu, cpus)
    store = open_store(output)
    store.delete(ERROR_NAME)
    loop = {
        # All locations are absolute: a worker runs in a folder of its own.
        "config": config.located().model_dump(mode="json"),
        "synthetic": checked.synthetic.location,
        "real": checked.real.location,
        "output": store.location,
        "split": split,
        "device": device,
        "history": None,
        "scorer": scorer,
        "tracking": tracking.located().model_dump(mode="json"),
    }
    if workers > 1 and config.buffer_size:
        shape = history_shape(config, checked.synthetic.card.image)
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
        before = _newest_metrics(store)
        progress = Progress(
            "train", config.total_clock, "steps", done=before["clock"] if before else 0
        )
        advance = partial(_advance, progress, store)
        try:
            with every(1.0 if isinstance(store, LocalStore) else 10.0, advance):
                failure = _fit_in_this_cluster(trainer)
        finally:
            advance()
            progress.close()
    if store.size(ERROR_NAME) is not None:
        raise RuntimeError(store.read(ERROR_NAME).decode())
    if failure is not None:
        raise RuntimeError(f"the training failed: {failure}")
    log.info("the refiner is %s/%s", store.location, WEIGHTS_NAME)


def _fit_in_this_cluster(trainer: TorchTrainer) -> str | None:
    """Run a trainer, and return what went wrong, or None.

    An actor of Ray Train watches the trainer through Ray's state API, which without RAY_ADDRESS
    asks the newest cluster of the machine (Ray 2.60). Where that is another cluster, the actor
    takes the trainer for dead and takes the workers' resources away. So all of Ray Train runs in a
    task that has the address of its own cluster.
    """
    context = ray.get_runtime_context()
    fit = ray.remote(_fit).options(
        num_cpus=0,
        max_retries=0,
        runtime_env={"env_vars": {"RAY_ADDRESS": context.gcs_address}},
        scheduling_strategy=NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False),
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
    """Cores for each worker, so that the nodes can hold all workers.

    Raises:
        RuntimeError: the nodes cannot hold them.
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
    """A folder for Ray Train's own state, of which a resumed run needs nothing."""
    if isinstance(store, LocalStore):
        yield store.root / "runs"
        return
    with tempfile.TemporaryDirectory(prefix="simgan-train-") as folder:
        yield Path(folder)


def _train_here(loop: dict[str, Any]) -> None:
    """Train in this process, which is a Ray Train worker.

    An error because something was lost ends the worker, and Ray Train starts all of them again. An
    error of the training itself would happen again: it is written to a file, and training stops.
    """
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    store = open_store(loop["output"])
    if store.size(ERROR_NAME) is not None:  # another worker had one
        return
    try:
        train_on_datasets(
            TrainConfig.model_validate(loop["config"]),
            loop["synthetic"],
            loop["real"],
            store.location,
            split=loop["split"],
            workers=WorkerGroup(rank, size, average_over_process_group if size > 1 else None),
            history=loop["history"],
            device=loop["device"],
            scorer=loop["scorer"],
            tracking=MlflowOptions.model_validate(loop["tracking"]),
        )
    except (ValueError, FileNotFoundError, NonFiniteLoss) as error:
        log.exception("training stopped")
        store.put(ERROR_NAME, f"{type(error).__name__}: {error}".encode())
        if size > 1:  # the others may be waiting for this one
            raise


class RemoteScorer(HeldOutScorer):
    """Scores refiners in tasks of the cluster, beside the training."""

    def __call__(self, location: str) -> "Future[Score]":
        # A task that asks for a core would wait for ever: the workers may hold all cores, and wait
        # for the scores at the end.
        remote = ray.remote(_score).options(num_cpus=0, max_retries=3)
        future: Future[Score] = remote.remote(location, self.scoring).future()
        return future


def _score(location: str, scoring: HeldOutScoring) -> Score:
    torch.set_num_threads(1)
    return scoring(location)


def _newest_metrics(store: Store) -> dict[str, Any] | None:
    """The last line that worker 0 wrote; None before there is one, and while it is written."""
    try:
        newest: dict[str, Any] = json.loads(store.read_tail(METRICS_NAME, 4096).splitlines()[-1])
    except (FileNotFoundError, IndexError, json.JSONDecodeError):
        return None
    return newest


def _advance(progress: Progress, store: Store) -> None:
    """Show the newest metrics."""
    newest = _newest_metrics(store)
    if newest is None:
        return
    shown = ", ".join(f"{name} {newest[name]:.3f}" for name in SHOWN if name in newest)
    progress.advance(max(0, newest["clock"] - progress.done), f"{newest['phase']} {shown}")
