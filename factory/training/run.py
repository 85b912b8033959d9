"""A training run in a folder or object store: it starts, resumes after a kill, and does nothing
once it is finished."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, get_args

import torch
from pydantic import JsonValue

from factory.dataset.dataset import Dataset, DatasetPlace, location_of
from factory.images.scale import full_scale_for
from factory.measures.threads import threads_kept
from factory.networks.precision import require_hardware, resolved
from factory.networks.refiner_files import load_refiner
from factory.networks.stored_refiner import DESCRIPTION_NAME, WEIGHTS_NAME, read_refiner
from factory.store.base import Store
from factory.store.open import open_store
from factory.tracking.options import NO_MLFLOW, MlflowOptions
from factory.training.checked import CheckedTraining
from factory.training.config import TrainConfig
from factory.training.history import History, HistoryBuffer
from factory.training.inputs import TrainingInputs
from factory.training.loop import Progress, TrainingLoop
from factory.training.memory import keep_freed_memory
from factory.training.metrics_log import MetricsLog
from factory.training.mlflow_log import MlflowLog
from factory.training.pictures import draw_pictures
from factory.training.record import (
    content_of,
    enter,
    image_spec,
    record_of,
    recorded,
    scaled_for,
)
from factory.training.scores import Scorer, ScorerHere
from factory.training.simgan import SimGAN
from factory.training.trackers import OpenTracker
from factory.training.workers import WorkerGroup
from schemas.base import digest_of
from schemas.dataset import ImageSpec
from schemas.refiner import Device, Precision, RefinerDescription
from schemas.training import TrainRecord

log = logging.getLogger(__name__)


class Trainer(Protocol):
    """Trains a refiner somewhere: in this process, or in workers of a cluster."""

    def __call__(
        self,
        config: TrainConfig,
        synthetic: str,
        real: str,
        output: str | Path,
        *,
        split: str,
        device: Device,
        held_out: str,
        num_held_out: int,
        tracking: MlflowOptions,
    ) -> None:
        """`train`, whose arguments these are, on datasets at two locations.

        Args:
            tracking: whether MLflow is told, and where; the same in every process.
        """


def train_here(
    config: TrainConfig,
    synthetic: str,
    real: str,
    output: str | Path,
    *,
    split: str,
    device: Device,
    held_out: str,
    num_held_out: int,
    tracking: MlflowOptions,
) -> None:
    """The `Trainer` in this process. Refiners are scored between updates, by the same process."""
    checked = CheckedTraining.of(
        config, synthetic, real, split=split, held_out=held_out, num_held_out=num_held_out
    )
    train_on_datasets(
        checked.config.located(),
        checked.synthetic.location,
        checked.real.location,
        output,
        split=split,
        device=device,
        scorer=None if checked.scoring is None else ScorerHere(checked.scoring),
        tracking=tracking,
    )
    log.info("the refiner is %s/%s", open_store(output).location, WEIGHTS_NAME)


def train(
    synthetic: DatasetPlace,
    real: DatasetPlace,
    *,
    output: str | Path,
    config: TrainConfig | str | Path,
    split: str = "train",
    device: Device = "cpu",
    held_out: str = "test",
    num_held_out: int = 600,
    mlflow: str | None = None,
    mlflow_experiment: str = NO_MLFLOW.mlflow_experiment,
    trainer: Trainer = train_here,
) -> RefinerDescription:
    """Train a refiner that makes renders look like camera images (SimGAN).

    The same call again resumes a stopped run from its newest checkpoint, and does nothing once it
    is finished.

        refiner = train("data/eyes", "data/camera", output="out/refiner", config="eye-small")

    Args:
        synthetic: the dataset of labelled renders, or where it is.
        real: the dataset of camera images, or where it is.
        output: folder of the run, or s3://bucket/prefix; `train_on_images` says what it receives.
        config: what decides the training; or a TOML file with a table `[train]` of it, or the name
            of a configuration that comes with simgan-factory. `TrainConfig.from_file` makes one
            that differs from a file.
        split: of both datasets, to train on.
        device: `cpu` or `cuda`.
        held_out: split of both datasets that refiners are scored on, for a configuration with
            `validate_every`.
        num_held_out: renders, and real images, of it.
        mlflow: an MLflow server or a local folder that is told of the run too; one that cannot be
            reached never stops the training.
        mlflow_experiment: name of the experiment in MLflow.
        trainer: where the training is done. `cluster.on_ray.training.train_on_ray` has several
            workers: `trainer=partial(train_on_ray, workers=4)`.

    Returns:
        What refiner.json says of the refiner in `output`.

    Raises:
        MissingHookError: the domain lacks what the configuration asks for.
        FileNotFoundError: there is no such dataset, or no network where the configuration says.
        ValueError: datasets that do not fit each other or the configuration; there is no such
            configuration; or `mlflow` is neither a server nor a folder.
        MissingExtraError: MLflow is to be told, and is not installed.
        RunMismatchError: `output` holds another run; the message spells out the difference.
        NonFiniteLoss: a loss is not finite; the weights are as before the offending update.
        RuntimeError: in other processes, the training failed; the message is its own.
    """
    if device not in get_args(Device):
        raise ValueError(f"device {device!r}: expected one of {', '.join(get_args(Device))}")
    tracking = MlflowOptions(mlflow=mlflow, mlflow_experiment=mlflow_experiment)
    tracking.require()
    trainer(
        config if isinstance(config, TrainConfig) else TrainConfig.from_file(config),
        location_of(synthetic),
        location_of(real),
        output,
        split=split,
        device=device,
        held_out=held_out,
        num_held_out=num_held_out,
        tracking=tracking.located(),
    )
    return read_refiner(output).description


def train_on_datasets(
    config: TrainConfig,
    synthetic: str,
    real: str,
    output: str | Path,
    *,
    split: str,
    device: str,
    workers: WorkerGroup | None = None,
    history: History | None = None,
    scorer: Scorer | None = None,
    tracking: MlflowOptions = NO_MLFLOW,
) -> None:
    """`train_on_images` in this process, on this worker's part of a split of two datasets.

    Args:
        synthetic: location of the labelled renders.
        real: location of the camera images.

    Raises:
        MissingHookError: the domain lacks what the configuration asks for.
        others: as `train_on_images`.
    """
    renders, camera = Dataset.open(synthetic), Dataset.open(real)
    config = scaled_for(config, renders.card, camera.card)
    workers = workers if workers is not None else WorkerGroup()
    inputs = TrainingInputs.of_datasets(config, renders, camera, split, workers)
    train_on_images(
        config,
        inputs,
        output,
        history,
        workers=workers,
        device=device,
        scorer=scorer,
        tracking=tracking,
    )


def train_on_images(
    config: TrainConfig,
    inputs: TrainingInputs,
    output: str | Path,
    history: History | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    *,
    workers: WorkerGroup | None = None,
    device: torch.device | str | None = None,
    scorer: Scorer | None = None,
    tracking: MlflowOptions = NO_MLFLOW,
) -> None:
    """Train a refiner, or resume a training that was stopped.

    `output` receives train.json, metrics.jsonl, strips/, checkpoints/, mlflow.json where MLflow is
    told, at the end refiner.safetensors and refiner.json, and after these overview.png and
    losses.png. On the CPU with one worker and the same `num_threads`, a run that was killed and
    resumed makes the same refiner, bit for bit, as one that was not.

    Args:
        inputs: of several workers, this one's part.
        output: a folder, or `s3://bucket/prefix`.
        history: where refined images of the past are kept; None for a `HistoryBuffer` in this
            process.
        on_progress: called after every pass of the schedule; what it raises stops the run.
        workers: the workers of a joint run; None for one alone. All call this function with the
            same arguments but their own rank and images. All of them see `output`, and worker 0
            alone writes to it.
        device: None for CUDA where there is a GPU, else the CPU.
        scorer: of refiners, every `config.validate_every` updates.
        tracking: whether worker 0 tells MLflow of the run.

    Raises:
        ValueError: images that do not fit each other or the configuration, or a configuration that
            wants scores or a network for labels without them.
        RunMismatchError: `output` holds another run; the message spells out the difference.
        SlowPrecisionError: the device has no hardware for the precision of the run.
        NonFiniteLoss: the weights are as before the offending update; its batch is in `output`.
    """
    if config.validate_every and scorer is None:
        raise ValueError(f"validate_every = {config.validate_every} needs held-out images")
    store = open_store(output)
    workers = workers if workers is not None else WorkerGroup()
    image = image_spec(config, inputs)
    full_scale = full_scale_for(config.full_scale, inputs.synthetic.dtype)
    config = config.model_copy(update={"full_scale": full_scale})
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    is_writer = workers.rank == 0
    if config.precision == "auto":
        config = _with_precision(config, store, workers, torch.device(device), image.bits)
    record = record_of(config, inputs)
    if is_writer:
        enter(store, record)
    require_hardware(record.config.precision, device, what=f"the training run {store.location}")
    trackers: list[OpenTracker] = []
    if tracking.mlflow is not None:
        trackers.append(partial(MlflowLog, tracking, store, record))
    draw = partial(draw_pictures, store, inputs.images(), seed=config.seed, full_scale=full_scale)
    if store.size(DESCRIPTION_NAME) is not None:
        load_refiner(output)
        log.info("%s: already trained", output)
        if is_writer:
            draw()
            for open_tracker in trackers:
                _tell_finished(open_tracker, store, config.total_clock)
        return
    if history is None and config.buffer_size:
        history = HistoryBuffer(config.buffer_size, history_shape(config, image), config.seed)
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    with threads_kept(config.num_threads):
        gan = SimGAN(config, inputs, history, workers=workers, device=device)
        describe = partial(_describe, record, image, inputs.lineage or {})
        scorer = scorer if config.validate_every else None
        loop = TrainingLoop(gan, store, describe, scorer, trackers)
        try:
            loop.resume()
            loop.run(on_progress)
            if is_writer:
                loop.finish()
                draw()
                loop.tell_result()
        finally:
            loop.close()


def _tell_finished(open_tracker: OpenTracker, store: Store, clock: int) -> None:
    """Tell a tracker of a run that was finished before, for it may have been out of reach then."""
    metrics = MetricsLog(store)
    tracker = open_tracker(clock, metrics.stored())
    if tracker is not None:
        tracker.add_result()
        tracker.close()


def _with_precision(
    config: TrainConfig, store: Store, workers: WorkerGroup, device: torch.device, bits: int
) -> TrainConfig:
    """The configuration with the precision that worker 0 takes `auto` for: that of the run which
    the output holds, else what its device computes."""
    is_bfloat16 = torch.zeros(1, device=device)
    if workers.rank == 0:
        earlier = recorded(store)
        choice = config.precision if earlier is None else earlier.config.precision
        is_bfloat16 += resolved(choice, device, bits=bits) == "bfloat16"
    workers.mean([is_bfloat16])  # of all workers, of which only worker 0 said anything
    precision: Precision = "bfloat16" if float(is_bfloat16) > 0 else "float32"
    return config.model_copy(update={"precision": precision})


def _describe(
    record: TrainRecord[TrainConfig],
    image: ImageSpec,
    lineage: Mapping[str, JsonValue],
    step: int,
) -> RefinerDescription:
    config = record.config
    assert config.full_scale is not None
    return RefinerDescription(
        domain=record.domain,
        image=image,
        full_scale=config.full_scale,
        empty_below=config.empty_below,
        empty_beyond=config.empty_beyond,
        architecture=config.refiner,
        weights="last" if config.ema_decay is None else "ema",
        sha256="0" * 64,
        step=step,
        train=config.model_dump(mode="json"),
        config=digest_of(content_of(record)),
        lineage=dict(lineage),
    )


def history_shape(config: TrainConfig, image: ImageSpec) -> tuple[int, int, int]:
    """(C, H, W) of what the history holds, of images like this."""
    return (image.channels, *config.trained_size(image.height, image.width))
