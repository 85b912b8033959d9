"""Training on Ray Train: one worker here, with retries that resume from our own checkpoints."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train.torch import TorchTrainer

from cluster.local import ensure_ray
from cluster.session import Progress
from factory.dataset import Dataset, load_images
from factory.training import METRICS_NAME, TrainConfig, train

log = logging.getLogger(__name__)
POLL_S = 1.0
SHOWN = ("mean_abs_delta", "realism_loss", "discriminator_loss")
ERROR_NAME = "train-error.txt"


def train_on_ray(
    config: TrainConfig,
    synthetic: str,
    real: str,
    output: Path,
    *,
    split: str,
    use_gpu: bool,
    cpus: int | None,
    max_failures: int = 3,
) -> None:
    """Train in a Ray Train worker; a worker that dies is replaced and goes on.

    Args:
        synthetic, real: locations of the datasets, readable from the worker.
        split: of both datasets, to train on.
        output: folder of the run, on storage that driver and worker share.
        cpus: cores for the worker; None for all of the largest node.
        max_failures: lost workers to replace before giving up.

    Raises:
        RuntimeError: the training itself failed; the message is its own.
    """
    ensure_ray(dashboard=True)
    cpus = _cpus_of_one_node(use_gpu, cpus)
    errors = output / ERROR_NAME
    errors.unlink(missing_ok=True)
    trainer = TorchTrainer(
        _train_here,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "synthetic": synthetic,
            "real": real,
            "output": str(output),
            "split": split,
            "device": "cuda" if use_gpu else "cpu",
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=1,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cpus} | ({"GPU": 1} if use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name="ray-train",
            storage_path=str(output.absolute() / "runs"),
            failure_config=ray.train.FailureConfig(max_failures=max_failures),
        ),
    )
    with _progress(config, output):
        trainer.fit()
    if errors.exists():
        raise RuntimeError(errors.read_text())


def _cpus_of_one_node(use_gpu: bool, cpus: int | None) -> int:
    """Cores for the worker on a node that can hold it.

    Raises:
        RuntimeError: no node can.
    """
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = [int(have.get("CPU", 0)) for have in resources if not use_gpu or have.get("GPU", 0)]
    if use_gpu and not fit:
        raise RuntimeError("no node of this Ray cluster has a GPU; train with --device cpu")
    most = max(fit, default=0)
    if most < (cpus or 1):
        raise RuntimeError(f"no node has {cpus or 1} cores for the training worker, at most {most}")
    return cpus if cpus is not None else most


def _train_here(loop: dict[str, Any]) -> None:
    """The worker's side. Only a lost worker is retried: an error of ours would come again."""
    output, split = Path(loop["output"]), loop["split"]
    try:
        synthetic, real = Dataset.open(loop["synthetic"]), Dataset.open(loop["real"])
        train(
            TrainConfig.model_validate(loop["config"]),
            load_images(synthetic, synthetic.committed_in(split)),
            load_images(real, real.committed_in(split)),
            output,
            lineage={"synthetic": lineage_of(synthetic, split), "real": lineage_of(real, split)},
            domain=synthetic.card.domain,
            device=loop["device"],
        )
    except Exception as error:
        log.exception("training stopped")
        (output / ERROR_NAME).write_text(f"{type(error).__name__}: {error}")


def lineage_of(dataset: Dataset, split: str) -> dict[str, Any]:
    """What a refiner was trained on, by content."""
    return {
        "location": dataset.location,
        "card": dataset.card.digest(),
        "split": split,
        "shards": [f.tar_sha256 for f in dataset.all_facts(dataset.committed_in(split))],
    }


@contextmanager
def _progress(config: TrainConfig, output: Path) -> Iterator[None]:
    """A bar that follows the metrics file, which the worker writes as it goes."""
    progress = Progress("train", config.total_clock, "steps")
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(POLL_S):
            _advance(progress, output / METRICS_NAME)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        _advance(progress, output / METRICS_NAME)
        progress.close()


def _advance(progress: Progress, metrics: Path) -> None:
    try:
        lines = metrics.read_bytes().splitlines()
    except FileNotFoundError:
        return
    if not lines:
        return
    try:
        newest = json.loads(lines[-1])
    except json.JSONDecodeError:  # the worker is in the middle of writing it
        return
    shown = ", ".join(f"{name} {newest[name]:.3f}" for name in SHOWN if name in newest)
    progress.advance(max(0, newest["clock"] - progress.done), f"{newest['phase']} {shown}")
