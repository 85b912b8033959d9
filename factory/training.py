"""A training run on disk: starts, goes on after a kill, and is a no-op once finished."""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from factory import strips
from factory.atomic import write_atomically
from factory.checkpoint import (
    DESCRIPTION_NAME,
    RefinerDescription,
    Snapshot,
    load_refiner,
    load_snapshot,
    save_refiner,
    save_snapshot,
)
from factory.history import History, HistoryBuffer
from factory.simgan import NonFiniteLoss, Peers, SimGAN
from factory.train_config import Phase, TrainConfig
from schemas.base import Versioned, differences_of, digest_of
from schemas.dataset import ImageSpec

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

METRICS_NAME = "metrics.jsonl"
RUN_NAME = "train.json"


class RunMismatchError(ValueError):
    """The output folder holds a run of another configuration, or on other images."""


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


class TrainRecord(Versioned):
    """`train.json`: what a run is. Written before anything else, compared on entry."""

    domain: str
    config: TrainConfig
    synthetic: str
    """digest of the synthetic images"""
    real: str
    num_workers: int = 1

    def content(self) -> dict[str, JsonValue]:
        """What a run and its resumption must agree on."""
        return {
            **self.model_dump(mode="json", exclude={"config", "format_version"}),
            "config": self.config.content(),
        }


def train(
    config: TrainConfig,
    synthetic: np.ndarray,
    real: np.ndarray,
    output: Path,
    history: History | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    lineage: Mapping[str, JsonValue] | None = None,
    *,
    domain: str = "eye",
    peers: Peers | None = None,
    device: torch.device | str | None = None,
) -> Path:
    """Train a refiner, or go on with a training that was stopped.

    `output` receives train.json, metrics.jsonl, strips/, checkpoints/, and at the end
    overview.png, losses.png, refiner.safetensors and, last, refiner.json. On the CPU with one
    worker and the same `num_threads`, a run that was killed and resumed makes the same refiner,
    bit for bit, as one that was not.

    Args:
        synthetic: (n, H, W) or (n, C, H, W) uint8 (uint16 with a matching `config.full_scale`).
        real: (m, H, W) or (m, C, H, W), same type and image size.
        history: where refined images of the past are kept; a `HistoryBuffer` when absent.
        on_progress: called after every pass of the schedule; what it raises stops the run.
        lineage: what the images are, kept in refiner.json.
        peers: the workers of a joint run. All call `train` with the same arguments but their own
            rank; `output` is a folder that all of them see, and rank 0 alone writes there.
        device: CUDA where there is one, else the CPU, when absent.

    Returns:
        `output`.

    Raises:
        ValueError: images that do not fit each other or the configuration.
        RunMismatchError: `output` holds another run; the message spells out the difference.
        NonFiniteLoss: the weights are as before the offending update; its batch is in `output`.
    """
    output = Path(output)
    peers = peers if peers is not None else Peers()
    image = _image_spec(config, synthetic, real)
    record = TrainRecord(
        domain=domain,
        config=config,
        synthetic=_digest(synthetic),
        real=_digest(real),
        num_workers=peers.size,
    )
    is_writer = peers.rank == 0
    if is_writer:
        _enter(output, record)
    if (output / DESCRIPTION_NAME).exists():
        load_refiner(output)
        log.info("%s: already trained", output)
        return output
    if history is None:
        shape = (image.channels, image.height, image.width)
        history = HistoryBuffer(config.buffer_size, shape, config.seed)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with _threads(config.num_threads):
        gan = SimGAN(config, synthetic, real, history, peers=peers, device=device)
        run = _Run(gan, output, is_writer)
        run.resume()
        run.go(on_progress)
        if is_writer:
            run.finish(record, image, lineage or {})
    return output


class _Run:
    """The loop and its files."""

    def __init__(self, gan: SimGAN, output: Path, is_writer: bool) -> None:
        self.gan = gan
        self.output = output
        self.is_writer = is_writer
        self.samples = strips.pick_samples(gan.images["synthetic"], gan.config.seed)
        self.seconds = 0.0

    @property
    def _metrics_path(self) -> Path:
        return self.output / METRICS_NAME

    def resume(self) -> None:
        """Take up the newest snapshot, and forget what was logged after it."""
        snapshot = load_snapshot(self.output / "checkpoints")
        if snapshot is not None:
            self.gan.load(snapshot.tensors, snapshot.counters)
            if self.is_writer:
                self.gan.history.load_state_dict(snapshot.history)
            self.seconds = float(str(snapshot.counters["seconds"]))
            phase, step = self.gan.config.place(self.gan.clock)
            log.info("going on after %s step %d", phase, step)
        if self.is_writer:
            kept = _lines_until(self._metrics_path, self.gan.clock)
            write_atomically(self._metrics_path, kept)
        self._agree_on_clock()

    def _agree_on_clock(self) -> None:
        """Stop where a worker does not see the checkpoints that the others went on from."""
        peers, clock = self.gan.peers, float(self.gan.clock)
        if peers.average is not None:
            mean = torch.tensor([clock], device=self.gan.device)
            peers.average([mean])
            if float(mean) != clock:
                raise RuntimeError(
                    f"worker {peers.rank} is at update {clock:.0f}, all of them on average at "
                    f"{float(mean):.2f}: {self.output} must be one folder that all workers share"
                )

    def go(self, on_progress: Callable[[Progress], None] | None) -> None:
        """All passes that are left."""
        config, gan = self.gan.config, self.gan
        total = config.total_clock
        values: dict[str, float] = {}
        num_before, since = gan.num_refined, time.perf_counter()
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
                values = {name: float(value) for name, value in metrics.items()}
                now = time.perf_counter()
                self.seconds += now - since
                values["images_per_s"] = (gan.num_refined - num_before) / max(now - since, 1e-9)
                values["seconds"] = self.seconds
                num_before, since = gan.num_refined, now
                self._log({"clock": clock, "phase": phase, "step": step, **values})
            if self.is_writer:
                if clock == config.pretrain_clock:
                    self._write_strip(0)
                elif phase == "adversarial" and (step % config.strip_every == 0 or clock == total):
                    self._write_strip(step)
                if clock % config.checkpoint_every == 0 or clock == total:
                    self._save_snapshot()
            if on_progress is not None:
                on_progress(Progress(clock, total, phase, step, values))

    def finish(
        self, record: TrainRecord, image: ImageSpec, lineage: Mapping[str, JsonValue]
    ) -> None:
        """The pictures, then the chosen refiner, whose description makes the run finished."""
        config = record.config
        found = {int(path.stem.split("-")[1]): path for path in self._strips.glob("step-*.png")}
        strips.write_overview(
            self.output / "overview.png",
            sorted(found.items()),
            self.samples,
            strips.pick_samples(self.gan.images["real"], config.seed),
            config.full_scale,
        )
        strips.write_losses(self.output / "losses.png", self._metrics_path)
        description = RefinerDescription(
            domain=record.domain,
            image=image,
            full_scale=config.full_scale,
            architecture=config.refiner,
            weights="last" if config.ema_decay is None else "ema",
            sha256="0" * 64,
            step=config.steps,
            train=config.model_dump(mode="json"),
            config=digest_of(record.content()),
            lineage=dict(lineage),
        )
        save_refiner(self.output, self.gan.chosen, description)

    @property
    def _strips(self) -> Path:
        return self.output / "strips"

    def _write_strip(self, step: int) -> None:
        full_scale = self.gan.config.full_scale
        refined = strips.refine_samples(self.gan.chosen, self.samples, full_scale)
        path = self._strips / f"step-{step:06d}.png"
        strips.write_strip(path, self.samples, refined, full_scale)

    def _save_snapshot(self) -> None:
        snapshot = Snapshot(
            self.gan.clock,
            self.gan.tensors(),
            self.gan.history.state_dict(),
            {**self.gan.counters(), "seconds": self.seconds},
        )
        save_snapshot(self.output / "checkpoints", snapshot)

    def _log(self, line: Mapping[str, object]) -> None:
        if self.is_writer:
            with self._metrics_path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _with_batch_saved(self, error: NonFiniteLoss) -> NonFiniteLoss:
        path = self.output / f"nonfinite-{self.gan.clock + 1:08d}-rank{self.gan.peers.rank}.npz"
        np.savez(path, **error.batch)  # type: ignore[arg-type]
        return NonFiniteLoss(
            f"{error}. Its batch is in {path}. Lower the learning rates, raise lambda_reg or look "
            "for broken images there; a new run needs another output folder",
            error.batch,
        )


def _image_spec(config: TrainConfig, synthetic: np.ndarray, real: np.ndarray) -> ImageSpec:
    """What the images are, after checking that they fit each other and the networks."""
    for name, images in (("synthetic", synthetic), ("real", real)):
        if images.ndim not in (3, 4) or images.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"{name} images must be (n, H, W) or (n, C, H, W) uint8 or uint16, "
                f"are {images.shape} {images.dtype}"
            )
        channels = 1 if images.ndim == 3 else images.shape[1]
        if channels != config.refiner.channels:
            raise ValueError(
                f"{name} images have {channels} channels, the refiner {config.refiner.channels}"
            )
        if len(images) == 0:
            raise ValueError(f"there are no {name} images to train on")
    if synthetic.shape[-2:] != real.shape[-2:] or synthetic.dtype != real.dtype:
        raise ValueError(
            "both domains must have one image size and type: synthetic "
            f"{synthetic.shape[-2:]} {synthetic.dtype}, real {real.shape[-2:]} {real.dtype}"
        )
    height, width = synthetic.shape[-2:]
    return ImageSpec.model_validate(
        {
            "height": height,
            "width": width,
            "channels": config.refiner.channels,
            "bits": 8 * synthetic.dtype.itemsize,
        }
    )


def _digest(images: np.ndarray) -> str:
    digest = hashlib.sha256(f"{images.shape} {images.dtype} ".encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def _enter(output: Path, record: TrainRecord) -> None:
    """Claim the folder for this run, or see that it is this run's already."""
    path = output / RUN_NAME
    if not path.exists():
        write_atomically(path, record.to_json())
        return
    there = TrainRecord.from_json(path.read_bytes(), where=str(path))
    differences = list(differences_of(there.content(), record.content()))
    if differences:
        raise RunMismatchError(
            f"{output} holds another training run: {'; '.join(differences)}. "
            "Train into another folder, or with the configuration that it was begun with"
        )


def _lines_until(path: Path, clock: int) -> bytes:
    """The whole lines of a metrics file up to a clock; a line cut short by a kill goes too."""
    if not path.exists():
        return b""
    kept = []
    for line in path.read_bytes().splitlines():
        try:
            if json.loads(line)["clock"] <= clock:
                kept.append(line + b"\n")
        except ValueError:
            break
    return b"".join(kept)


@contextlib.contextmanager
def _threads(num_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
