"""A training run in a folder or object store: starts, goes on after a kill, and is a no-op once
finished."""

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue

from factory.domains.eye.networks.landmarks import load_landmarks
from factory.images.scale import full_scale_for
from factory.networks.refiner_files import (
    DESCRIPTION_NAME,
    load_refiner,
    save_refiner,
)
from factory.store.base import Store
from factory.store.open import open_store
from factory.training import strips
from factory.training.alarms import Alarm, alarm_of
from factory.training.checkpoints import Checkpoint, Checkpoints
from factory.training.config import Phase, TrainConfig
from factory.training.history import History, HistoryBuffer
from factory.training.metrics_log import MetricsLog
from factory.training.record import (
    RunMismatchError,
    TrainRecord,
    digest_of_images,
    enter,
    image_spec,
)
from factory.training.scores import Scorer, Scores
from factory.training.simgan import NonFiniteLoss, SimGAN
from factory.training.tensorboard import Board
from factory.training.workers import Peers
from schemas.base import FormatError, digest_of
from schemas.dataset import ImageSpec
from schemas.refiner import RefinerDescription

__all__ = [
    "NonFiniteLoss",
    "Peers",
    "Progress",
    "RunMismatchError",
    "SimGAN",
    "TrainConfig",
    "train",
]

log = logging.getLogger(__name__)

STRIPS = "strips"


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    clock: int
    """passes of the schedule done, pre-training included"""
    total: int
    """passes of the whole schedule"""
    phase: Phase
    step: int
    """steps done in this phase; discriminator updates in the last one"""
    metrics: Mapping[str, float]
    """the newest that were measured; empty before the first"""


def train(
    config: TrainConfig,
    synthetic: np.ndarray,
    real: np.ndarray,
    output: str | Path,
    history: History | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    lineage: Mapping[str, JsonValue] | None = None,
    *,
    domain: str = "eye",
    peers: Peers | None = None,
    device: torch.device | str | None = None,
    scorer: Scorer | None = None,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Train a refiner, or go on with a training that was stopped.

    `output` receives train.json, metrics.jsonl, strips/, checkpoints/, and at the end
    overview.png, losses.png, refiner.safetensors and, last, refiner.json. On the CPU with one
    worker and the same `num_threads`, a run that was killed and resumed makes the same refiner,
    bit for bit, as one that was not.

    Args:
        synthetic: (n, H, W) or (n, C, H, W) uint8, or uint16 with a `config.full_scale`; of
            several workers, this one's part.
        real: (m, H, W) or (m, C, H, W), same type and image size.
        output: a folder, or `s3://bucket/prefix`.
        history: where refined images of the past are kept; a `HistoryBuffer` when absent.
        on_progress: called after every pass of the schedule; what it raises stops the run.
        lineage: what the images are, kept in refiner.json. A run goes on only with the same;
            without it, with the same pixels.
        peers: the workers of a joint run. All call `train` with the same arguments but their own
            rank and images; `output` is a place that all of them see, and rank 0 alone writes.
        device: CUDA where there is one, else the CPU, when absent.
        scorer: of refiners, every `config.validate_every` updates.
        weights: (n,), how often each synthetic image is drawn; None for all alike. `lineage` has
            to say what they come from.

    Raises:
        ValueError: images that do not fit each other or the configuration; no scorer for one that
            wants scores.
        FileNotFoundError: no landmark network where the configuration says.
        RunMismatchError: `output` holds another run; the message spells out the difference.
        NonFiniteLoss: the weights are as before the offending update; its batch is in `output`.
    """
    if config.validate_every and scorer is None:
        raise ValueError(f"validate_every = {config.validate_every} needs held-out images")
    store = open_store(output)
    peers = peers if peers is not None else Peers()
    image = image_spec(config, synthetic, real)
    full_scale = full_scale_for(config.full_scale, synthetic.dtype)
    config = config.model_copy(update={"full_scale": full_scale})
    landmarks, described = None, None
    if config.label_network is not None and config.label_weight > 0:
        landmarks, described = load_landmarks(config.label_network)
        described.require(image)
    of_images = {"synthetic": synthetic, "real": real}
    record = TrainRecord(
        domain=domain,
        config=config,
        label_network=described.sha256 if described is not None else None,
        **{name: digest_of_images(pixels, lineage, name) for name, pixels in of_images.items()},
    )
    is_writer = peers.rank == 0
    if is_writer:
        enter(store, record)
    if store.size(DESCRIPTION_NAME) is not None:
        load_refiner(output)
        log.info("%s: already trained", output)
        return
    if history is None and config.buffer_size:
        history = empty_history(config, image)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with _threads(config.num_threads):
        gan = SimGAN(
            config,
            synthetic,
            real,
            history,
            peers=peers,
            device=device,
            weights=weights,
            landmarks=landmarks,
        )
        describe = partial(_describe, record, image, lineage or {})
        run = _Run(gan, store, is_writer, describe, scorer if config.validate_every else None)
        try:
            run.resume()
            run.go(on_progress)
            if is_writer:
                run.finish()
        finally:
            run.close()


def _describe(
    record: TrainRecord, image: ImageSpec, lineage: Mapping[str, JsonValue], step: int
) -> RefinerDescription:
    config = record.config
    assert config.full_scale is not None
    return RefinerDescription(
        domain=record.domain,
        image=image,
        full_scale=config.full_scale,
        empty_below=config.empty_below,
        architecture=config.refiner,
        weights="last" if config.ema_decay is None else "ema",
        sha256="0" * 64,
        step=step,
        train=config.model_dump(mode="json"),
        config=digest_of(record.content()),
        lineage=dict(lineage),
    )


def empty_history(config: TrainConfig, image: ImageSpec) -> HistoryBuffer:
    """The history of a run that begins."""
    shape = history_shape(config, image)
    return HistoryBuffer(config.buffer_size, shape, config.seed)


def history_shape(config: TrainConfig, image: ImageSpec) -> tuple[int, int, int]:
    """(C, H, W) of what the history holds, of images like this."""
    return (image.channels, *config.trained_size(image.height, image.width))


class _Run:
    """The loop and its files."""

    def __init__(
        self,
        gan: SimGAN,
        store: Store,
        is_writer: bool,
        describe: Callable[[int], RefinerDescription],
        scorer: Scorer | None,
    ) -> None:
        """
        Args:
            describe: the description of a refiner after so many steps.
        """
        self.describe = describe
        self.scores = Scores(store, scorer) if scorer is not None and is_writer else None
        self.gan = gan
        self.store = store
        self.is_writer = is_writer
        self.samples = strips.pick_samples(gan.draws.stored["synthetic"], gan.config.seed)
        self.checkpoints = Checkpoints(store.location)
        self.metrics = MetricsLog(store)
        self.board: Board | None = None
        self.alarm: Alarm | None = None
        self.seconds = 0.0

    def resume(self) -> None:
        """Take up the newest checkpoint that is whole, and forget what was logged after it."""
        gan = self.gan
        found = self._newest() if self.is_writer else None
        clock = torch.tensor([found.clock if found else 0], dtype=torch.float64, device=gan.device)
        gan.peers.mean([clock])  # only the first worker looks: all go on from the same one
        agreed = round(float(clock) * gan.peers.size)
        if agreed and found is None:
            found = self._checkpoint_of_all(agreed)
        if found is not None:
            gan.load(found.tensors, found.counters)
            gan.resume_history()
            self.seconds = float(str(found.counters["seconds"]))
            log.info("going on after %s step %d", *gan.config.place(gan.clock))
        if self.is_writer:
            self.metrics.take_up(gan.clock)
            self.board = Board(self.store, gan.clock)
            self.alarm = alarm_of(self.metrics.lines)
        if self.scores is not None:
            self.scores.take_up(gan.clock)

    def _newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, restored into the history."""
        history, location = self.gan.history, self.store.location
        for clock in self.checkpoints.clocks():
            try:
                found = self.checkpoints.read(clock)
                if history is not None:
                    history.restore(location, found.history)
                return found
            except (FormatError, FileNotFoundError) as error:
                log.warning("passing over a checkpoint: %s", error)
        if history is not None:
            history.restore(location, {})
        return None

    def _checkpoint_of_all(self, clock: int) -> Checkpoint:
        try:
            return self.checkpoints.read(clock)
        except FileNotFoundError as error:
            raise RuntimeError(
                f"worker {self.gan.peers.rank} does not see the checkpoint that the first one goes "
                f"on from: {self.store.location} must be one place that all workers share"
            ) from error

    def go(self, on_progress: Callable[[Progress], None] | None) -> None:
        """All passes that are left."""
        config, gan = self.gan.config, self.gan
        total = config.total_clock
        values: dict[str, float] = {}
        meter = _Meter(gan)
        if self.is_writer and gan.clock == 0 and config.pretrain_clock == 0:
            self._write_strip(0)
        while gan.clock < total:
            try:
                metrics = gan.step()
            except NonFiniteLoss as error:
                raise self._with_batch_saved(error) from None
            clock = gan.clock
            phase, step = config.place(clock)
            is_phase_end = clock in (config.refiner_pretrain_steps, config.pretrain_clock, total)
            if clock % config.log_every == 0 or is_phase_end:
                gan.peers.mean(list(metrics.values()))
                values = {name: float(value) for name, value in metrics.items()}
                speed, spent_s = meter.read()
                self.seconds += spent_s
                values |= speed | {"seconds": self.seconds}
                if self.is_writer:
                    values |= gan.history_metrics()
                    self._log({"clock": clock, "phase": phase, "step": step, **values})
            if self.is_writer:
                if clock == config.pretrain_clock:
                    self._write_strip(0)
                elif phase == "adversarial" and (step % config.strip_every == 0 or clock == total):
                    self._write_strip(step)
            if self.scores is not None and phase == "adversarial":
                if clock % config.validate_every == 0 or clock == total:
                    self.scores.submit(clock, gan.chosen, self.describe(step))
                self._take_scores()
            if clock % config.checkpoint_every == 0 or clock == total:
                self._save_checkpoint()
            if on_progress is not None:
                on_progress(Progress(clock, total, phase, step, values))

    def finish(self) -> None:
        """The pictures, then the chosen refiner, whose description makes the run finished."""
        config, refiner, step = self.gan.config, self.gan.chosen, self.gan.config.steps
        if self.scores is not None:
            self._take_scores(wait=True)
            if config.keep == "best":
                best, refiner = self.scores.best()
                _, step = config.place(best.clock)
                log.info(
                    "of %d scored, the refiner of step %d is kept", len(self.scores.done), step
                )
        self.checkpoints.wait()
        self.metrics.flush()
        names = [entry.name for entry in self.store.entries(STRIPS)]
        found = sorted((int(name[:-4].rpartition("-")[2]), name) for name in names)
        overview = strips.overview_png(
            [(step, self.store.read(name)) for step, name in found],
            self.samples,
            strips.pick_samples(self.gan.draws.stored["real"], config.seed),
            self.gan.draws.full_scale,
        )
        self.store.put("overview.png", overview)
        self.store.put("losses.png", strips.losses_png(bytes(self.metrics.content)))
        save_refiner(self.store.location, refiner, self.describe(step))

    def _take_scores(self, *, wait: bool = False) -> None:
        """Show the scores that have come."""
        assert self.scores is not None
        for scored in self.scores.collect(wait=wait):
            if self.board is not None:
                self.board.add({"clock": scored.clock, **scored.metrics()})

    def close(self) -> None:
        """Leave nothing half written, however the run ended."""
        self.checkpoints.close()
        if self.board is not None:
            self.board.close()

    def _log(self, line: Mapping[str, object]) -> None:
        """One line of metrics, and an alarm where one begins or ends."""
        self.metrics.add(line)
        before, self.alarm = self.alarm, alarm_of(self.metrics.lines)
        if self.board is not None:
            self.board.add(line)
        name, where = self.alarm and self.alarm.name, f"{line['phase']} step {line['step']}"
        if name == (before and before.name):
            return
        if self.alarm is not None:
            log.warning("%s: ALARM, %s: %s", where, *self.alarm)
            if self.board is not None:
                self.board.add_text(self.gan.clock, "alarm", ": ".join(self.alarm))
        elif before is not None:
            log.info("%s: no longer: %s", where, before.name)

    def _write_strip(self, step: int) -> None:
        full_scale = self.gan.draws.full_scale
        refined = strips.refine_samples(
            self.gan.chosen, self.samples, full_scale, self.gan.config.empty_below
        )
        png = strips.strip_png(self.samples, refined, full_scale)
        self.store.put(f"{STRIPS}/step-{step:06d}.png", png)
        if self.board is not None:
            self.board.add_strip(self.gan.clock, png)

    def _save_checkpoint(self) -> None:
        """Of all workers' state; the others wait while the first one takes it down."""
        gan = self.gan
        gan.wait_for_history()
        if self.is_writer:
            self.metrics.flush()
            if self.board is not None:
                self.board.flush()
            counters = {**gan.counters(), "seconds": self.seconds}
            self.checkpoints.save(gan.clock, gan.tensors(), counters, gan.history)
        gan.peers.wait_for_all(gan.device)

    def _with_batch_saved(self, error: NonFiniteLoss) -> NonFiniteLoss:
        name = f"nonfinite-{self.gan.clock + 1:08d}-rank{self.gan.peers.rank}.npz"
        content = io.BytesIO()
        np.savez(content, **error.batch)  # type: ignore[arg-type]
        self.store.put(name, content.getvalue())
        return NonFiniteLoss(
            f"{error}. Its batch is in {self.store.location}/{name}. Lower the learning rates, "
            "raise lambda_reg or look for broken images there; a new run needs another output "
            "folder",
            error.batch,
        )


class _Meter:
    """Speed of the training since it was last read."""

    def __init__(self, gan: SimGAN) -> None:
        self.gan = gan
        self._mark = self._now()

    def read(self) -> tuple[dict[str, float], float]:
        """Speed, and seconds since the last call."""
        before, self._mark = self._mark, self._now()
        spent = {name: value - before[name] for name, value in self._mark.items()}
        spent_s = max(spent["seconds"], 1e-9)
        return {
            "images_per_s": spent["images"] / spent_s,
            "data_wait_share": spent["data"] / spent_s,
            "history_wait_share": spent["history"] / spent_s,
        }, spent_s

    def _now(self) -> dict[str, float]:
        gan = self.gan
        return {"seconds": time.perf_counter(), "images": gan.num_refined, **gan.waited_s}


@contextlib.contextmanager
def _threads(num_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
