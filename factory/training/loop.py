"""The loop of a training run: passes of the schedule, and the files that they leave."""

import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from factory.networks.refiner_files import save_refiner
from factory.refinement.engines.base import PixelCodec
from factory.store.base import Store
from factory.store.extras import MissingExtraError
from factory.training import strips
from factory.training.alarms import Alarm, alarm_of
from factory.training.checkpoints import FOLDER, Checkpoint, Checkpoints
from factory.training.config import Phase
from factory.training.metrics_log import MetricsLog
from factory.training.pictures import STRIPS
from factory.training.scores import Scorer, Scores
from factory.training.simgan import NonFiniteLoss, SimGAN
from factory.training.tensorboard import TensorBoardLog
from factory.training.trackers import OpenTracker, Tracker
from schemas.base import FormatError
from schemas.refiner import RefinerDescription

log = logging.getLogger(__name__)


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


class TrainingLoop:
    """One worker's loop. Worker 0 writes the files of the run."""

    def __init__(
        self,
        gan: SimGAN,
        store: Store,
        describe: Callable[[int], RefinerDescription],
        scorer: Scorer | None,
        open_trackers: Sequence[OpenTracker] = (),
    ) -> None:
        """
        Args:
            store: of the run, which all workers see.
            describe: gives the description of a refiner after so many steps.
            scorer: of refiners, for a configuration with `validate_every`.
            open_trackers: what worker 0 tells of the run, beside TensorBoard.
        """
        is_writer = gan.workers.rank == 0
        self.describe = describe
        self.scores = Scores(store, scorer) if scorer is not None and is_writer else None
        self.gan = gan
        self.store = store
        self.is_writer = is_writer
        self.samples = strips.pick_samples(gan.draws.stored["synthetic"], gan.config.seed)
        self.checkpoints = Checkpoints(store.location)
        self.metrics = MetricsLog(store)
        self.open_trackers: tuple[OpenTracker, ...] = (
            partial(_tensorboard_of, store),
            *open_trackers,
        )
        self.trackers: list[Tracker] = []
        self.alarm: Alarm | None = None
        self.seconds = 0.0

    def resume(self) -> None:
        """Load the newest complete checkpoint, and drop what was logged after it."""
        gan = self.gan
        checkpoint = self._newest() if self.is_writer else None
        newest_clock = checkpoint.clock if checkpoint is not None else 0
        clock = torch.tensor([newest_clock], dtype=torch.float64, device=gan.device)
        gan.workers.mean([clock])  # only worker 0 looks, so that all resume from the same one
        agreed = round(float(clock) * gan.workers.size)
        if agreed and checkpoint is None:
            checkpoint = self._checkpoint_of_all(agreed)
        if checkpoint is not None:
            gan.load(checkpoint.tensors, checkpoint.counters)
            gan.resume_history()
            self.seconds = checkpoint.counters.seconds
            log.info("resuming after %s step %d", *gan.config.phase_at(gan.clock))
        if self.is_writer:
            self.metrics.resume_after(gan.clock)
            opened = (make(gan.clock, self.metrics.lines) for make in self.open_trackers)
            self.trackers = [tracker for tracker in opened if tracker is not None]
            self.alarm = alarm_of(self.metrics.lines)
        if self.scores is not None:
            self.scores.resume_after(gan.clock)

    def _newest(self) -> Checkpoint | None:
        """The newest usable checkpoint, whose history is restored; None where there is none.

        Raises:
            FormatError: there are checkpoints, and all of them are damaged.
        """
        history, location = self.gan.history, self.store.location
        clocks = self.checkpoints.clocks()
        for clock in clocks:
            try:
                checkpoint = self.checkpoints.read(clock)
                if history is not None:
                    history.restore(location, checkpoint.history)
                return checkpoint
            except (FormatError, FileNotFoundError) as error:
                log.warning("a checkpoint cannot be used, trying the one before it: %s", error)
        if clocks:
            raise FormatError(
                f"none of the {len(clocks)} checkpoints of {location} can be used, for the reasons "
                f"in the log; restore their files from a copy, or delete {location}/{FOLDER} to "
                "begin the training again"
            )
        if history is not None:
            history.restore(location, {})
        return None

    def _checkpoint_of_all(self, clock: int) -> Checkpoint:
        try:
            return self.checkpoints.read(clock)
        except FileNotFoundError as error:
            raise RuntimeError(
                f"worker {self.gan.workers.rank} does not see the checkpoint that worker 0 resumes "
                f"from: {self.store.location} must be one folder that all workers share"
            ) from error

    def run(self, on_progress: Callable[[Progress], None] | None) -> None:
        """Make all passes of the schedule that are left."""
        config, gan = self.gan.config, self.gan
        total = config.total_clock
        values: dict[str, float] = {}
        meter = _SpeedMeter(gan)
        if self.is_writer and gan.clock == 0 and config.pretrain_clock == 0:
            self._write_strip(0)
        while gan.clock < total:
            try:
                metrics = gan.step()
            except NonFiniteLoss as error:
                raise self._with_batch_saved(error) from None
            clock = gan.clock
            phase, step = config.phase_at(clock)
            is_phase_end = clock in (config.refiner_pretrain_steps, config.pretrain_clock, total)
            if clock % config.log_every == 0 or is_phase_end:
                gan.workers.mean(list(metrics.values()))
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
        """Save the chosen refiner, whose description marks the run as done."""
        config, refiner, step = self.gan.config, self.gan.chosen, self.gan.config.steps
        if self.scores is not None:
            self._take_scores(wait=True)
            if config.keep == "best":
                best, refiner = self.scores.best(config.keep_by)
                _, step = config.phase_at(best.clock)
                log.info(
                    "the refiner of step %d is the best of %d scored ones and becomes the result",
                    step,
                    len(self.scores.done),
                )
        self.checkpoints.wait()
        self.metrics.flush()
        save_refiner(self.store.location, refiner, self.describe(step))

    def _take_scores(self, *, wait: bool = False) -> None:
        """Log the scores that have come."""
        assert self.scores is not None
        for scored in self.scores.collect(wait=wait):
            for tracker in self.trackers:
                tracker.add_score(scored.clock, scored.score.metrics())

    def tell_result(self) -> None:
        """Tell the trackers that the refiner and its pictures are there."""
        for tracker in self.trackers:
            tracker.add_result()

    def close(self) -> None:
        """Finish what is being written, however the run ended."""
        self.checkpoints.close()
        for tracker in self.trackers:
            tracker.close()

    def _log(self, line: Mapping[str, object]) -> None:
        """Write one line of metrics, and log an alarm where one begins or ends."""
        self.metrics.add(line)
        before, self.alarm = self.alarm, alarm_of(self.metrics.lines)
        for tracker in self.trackers:
            tracker.add(line)
        name, moment = self.alarm and self.alarm.name, f"{line['phase']} step {line['step']}"
        if name == (before and before.name):
            return
        if self.alarm is not None:
            log.warning("%s: ALARM, %s: %s", moment, *self.alarm)
            for tracker in self.trackers:
                tracker.add_text(self.gan.clock, "alarm", ": ".join(self.alarm))
        elif before is not None:
            log.info("%s: the alarm is over: %s", moment, before.name)

    def _write_strip(self, step: int) -> None:
        full_scale = self.gan.draws.full_scale
        config = self.gan.config
        codec = PixelCodec(full_scale, config.empty_below, config.empty_beyond)
        refined = strips.refine_samples(self.gan.chosen, self.samples, codec)
        png = strips.strip_png(self.samples, refined, full_scale)
        name = f"{STRIPS}/step-{step:06d}.png"
        self.store.put(name, png)
        for tracker in self.trackers:
            tracker.add_strip(self.gan.clock, name, png)

    def _save_checkpoint(self) -> None:
        """Save the state of all workers; the others wait while worker 0 copies it."""
        gan = self.gan
        gan.wait_for_history()
        if self.is_writer:
            self.metrics.flush()
            for tracker in self.trackers:
                tracker.flush()
            counters = gan.counters(self.seconds)
            self.checkpoints.save(gan.clock, gan.tensors(), counters, gan.history)
        gan.workers.wait_for_all(gan.device)

    def _with_batch_saved(self, error: NonFiniteLoss) -> NonFiniteLoss:
        name = f"nonfinite-{self.gan.clock + 1:08d}-rank{self.gan.workers.rank}.npz"
        content = io.BytesIO()
        np.savez(content, **error.batch)  # type: ignore[arg-type]
        self.store.put(name, content.getvalue())
        return NonFiniteLoss(
            f"{error}. Its batch is in {self.store.location}/{name}. Lower the learning rates, "
            "raise lambda_reg or look for broken images there; a new run needs another output "
            "folder",
            error.batch,
        )


def _tensorboard_of(
    store: Store, clock: int, _: Sequence[Mapping[str, object]]
) -> TensorBoardLog | None:
    """An `OpenTracker`: the log for TensorBoard; None, with a warning, where it is missing."""
    try:
        return TensorBoardLog(store, clock)
    except MissingExtraError as error:
        log.warning("the TensorBoard log is left out: %s", error)
        return None


class _SpeedMeter:
    """The speed of a training between two readings."""

    def __init__(self, gan: SimGAN) -> None:
        self.gan = gan
        self._mark = self._now()

    def read(self) -> tuple[dict[str, float], float]:
        """The speed since the last call, by name, and the seconds since then."""
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
