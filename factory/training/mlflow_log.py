"""A training run in MLflow: losses, scores, strips, the configuration, and the refiner."""

import logging
import re
import time
from collections.abc import Mapping, Sequence

from factory.networks.stored_refiner import DESCRIPTION_NAME, WEIGHTS_NAME
from factory.store.base import Store
from factory.store.open import name_of
from factory.tracking.delivery import Delivery
from factory.tracking.mlflow_run import (
    TAG,
    MlflowRun,
    Status,
    deferred,
    flat,
    is_passing,
    now_ms,
)
from factory.tracking.options import MlflowOptions
from factory.training.config import TrainConfig
from factory.training.metrics_log import METRICS_NAME, grouped
from factory.training.pictures import LOSSES, OVERVIEW, STRIPS
from factory.training.trackers import Tracker
from schemas.base import FormatError
from schemas.refiner import RefinerDescription
from schemas.training import RUN_NAME, MlflowRecord, TrainRecord
from schemas.version import WRITER

log = logging.getLogger(__name__)
MLFLOW_NAME = "mlflow.json"
FLUSH_S = 5.0
"""seconds for which lines of metrics are gathered into one request"""
_STEP = re.compile(r"step-(\d+)\.png")
_Point = tuple[str, float, int, int]


class MlflowLog(Tracker):
    """Tells MLflow of one training run, in a thread of its own, which the training never waits for.

    The run in MLflow gets what it lacks, from the files of the training where need be. So a
    training that is resumed goes on with the same run, whose id is in `mlflow.json`, and one whose
    server was away fills its gaps. MLflow cannot forget: numbers that a killed training had logged
    after its newest checkpoint stay as they are.
    """

    def __init__(
        self,
        options: MlflowOptions,
        store: Store,
        record: TrainRecord[TrainConfig],
        clock: int,
        lines: Sequence[Mapping[str, object]],
    ) -> None:
        """
        Args:
            options: with a place.
            store: of the training.
            record: of the training.
            clock: the training goes on after this.
            lines: of metrics until then.
        """
        self.options, self.store, self.record = options, store, record
        self._run = deferred(self._open)
        self._delivery = Delivery(
            f"MLflow at {options.mlflow}", f"{store.location} has all of it", is_passing
        )
        self._points: list[_Point] = []
        self._flushed = time.monotonic()
        self._is_done = False
        params = flat(record.config.model_dump(mode="json")) | {
            "synthetic": record.synthetic,
            "real": record.real,
        }
        self._delivery.give(lambda: self._run().log_params(params))
        for line in lines:
            self._points += _points_of(line)
        self.flush()
        for entry in list(store.entries(STRIPS)):
            if (match := _STEP.fullmatch(entry.name.rpartition("/")[2])) is not None:
                at = int(match[1]) + record.config.pretrain_clock
                if at <= clock:
                    self._give_strip(at, entry.name)

    def add(self, line: Mapping[str, object]) -> None:
        """As `Tracker.add`."""
        self._points += _points_of(line)
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def add_score(self, clock: int, metrics: Mapping[str, float]) -> None:
        """As `Tracker.add_score`."""
        now = now_ms()
        self._points += [(f"validation/{name}", x, clock, now) for name, x in metrics.items()]

    def add_strip(self, clock: int, name: str, png: bytes) -> None:
        """As `Tracker.add_strip`; the file is read when its turn comes, so that an hour without a
        server costs no memory."""
        self._give_strip(clock, name)

    def add_text(self, clock: int, name: str, text: str) -> None:
        """As `Tracker.add_text`."""
        file = f"{name}-{clock:08d}.txt"
        self._delivery.give(lambda: self._run().log_file(file, text.encode(), "notes"))

    def add_result(self) -> None:
        """As `Tracker.add_result`."""
        self._is_done = True
        for name in (DESCRIPTION_NAME, WEIGHTS_NAME, RUN_NAME, METRICS_NAME, OVERVIEW, LOSSES):
            self._give_file(name, "refiner" if name in (DESCRIPTION_NAME, WEIGHTS_NAME) else None)
        raw = self.store.read(DESCRIPTION_NAME)
        described = RefinerDescription.from_json(raw, where=DESCRIPTION_NAME)
        self._delivery.give(lambda: self._run().set_tag("refiner", described.sha256))

    def flush(self) -> None:
        """Hand the gathered numbers over; this does not wait for MLflow."""
        points, self._points = self._points, []
        self._flushed = time.monotonic()
        if points:
            self._delivery.give(lambda: self._run().log_metrics(points))

    def close(self) -> None:
        """As `Tracker.close`; it waits for MLflow, but not for long."""
        self.flush()
        status: Status = "FINISHED" if self._is_done else "FAILED"
        self._delivery.give(lambda: self._run().end(status))
        self._delivery.close()

    def _open(self) -> MlflowRun:
        """The run of this training, which is made unless `mlflow.json` names one of this place."""
        known = self._recorded()
        return MlflowRun(
            self.options,
            name=name_of(self.store.location),
            tags={
                "mlflow.source.name": "simgan-factory train",
                f"{TAG}.version": WRITER,
                f"{TAG}.output": self.store.location,
                f"{TAG}.domain": self.record.domain,
            },
            known_id=known.run_id if known is not None else None,
            on_made=self._keep,
        )

    def _recorded(self) -> MlflowRecord | None:
        """The run that this training began at the place it is told to now; None without one."""
        try:
            raw = self.store.read(MLFLOW_NAME)
            known = MlflowRecord.from_json(raw, where=f"{self.store.location}/{MLFLOW_NAME}")
        except FileNotFoundError:
            return None
        except FormatError as error:
            log.warning("MLflow gets a new run of this training: %s", error)
            return None
        return known if known.place == self.options.mlflow else None

    def _keep(self, run_id: str) -> None:
        assert self.options.mlflow is not None
        record = MlflowRecord(place=self.options.mlflow, run_id=run_id)
        self.store.put(MLFLOW_NAME, record.to_json())

    def _give_strip(self, clock: int, name: str) -> None:
        self._delivery.give(lambda: self._run().log_image("strip", self.store.read(name), clock))

    def _give_file(self, name: str, below: str | None) -> None:
        """Have a file of the training logged, if it is there: pictures may be missing."""
        if self.store.size(name) is not None:
            self._delivery.give(lambda: self._run().log_file(name, self.store.read(name), below))


def _points_of(line: Mapping[str, object]) -> list[_Point]:
    clock, now = int(str(line["clock"])), now_ms()
    return [(name, value, clock, now) for name, value in grouped(line).items()]
