"""One run in MLflow: it is made or found again, and gets what it lacks.

Only MLflow's client is used, with its tracking part: no model is logged, so nothing is pickled.
"""

import logging
import os
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import cv2
import numpy as np
from pydantic import JsonValue

from factory.images.png import decode
from factory.store.open import open_store
from factory.tracking.options import ARTIFACTS, DATABASE, MlflowOptions, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient

_Value = TypeVar("_Value")
Status = Literal["RUNNING", "FINISHED", "FAILED"]
TAG = "simgan_factory"
"""the first part of the names of our tags"""
REFINER_TAG = f"{TAG}.refiner"
"""of a training: the SHA-256 of the weights that it made, by which its reports find it"""
_METRICS_A_REQUEST, _PARAMS_A_REQUEST, _PARAM_LENGTH = 1000, 100, 6000
"""what MLflow takes at most"""
_IMAGE = re.compile(r"images/(?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+.*\.png")
"""the file of a picture with a step, as `MlflowClient.log_image` names it"""
_PASSING = frozenset(
    ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED")
)
"""error codes of a server that is away or overloaded; MLflow gives the first one also where nobody
answers"""


def client_of(options: MlflowOptions) -> "MlflowClient":
    """A client for the place that the options name. A server is not asked anything yet.

    Raises:
        OSError: a local folder cannot be made.
    """
    assert options.mlflow is not None
    # MLflow reads these when it is imported. Usage data is never sent; what a user has set of the
    # other two stays. Its own defaults keep a call waiting for minutes where nobody answers.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    from mlflow import MlflowClient

    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    if is_server(options.mlflow):
        return MlflowClient(options.mlflow)
    folder = Path(options.mlflow)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / DATABASE).exists():
        _make_database(folder)
    return MlflowClient(f"sqlite:///{folder / DATABASE}")


def _make_database(folder: Path) -> None:
    """Make MLflow's database under another name, and put it in its place whole.

    MLflow makes its tables one after another. If it were killed between two of them, or if two
    processes made them at once, no later process could use the database.
    """
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as made_in:
        made = Path(made_in) / DATABASE
        MlflowClient(f"sqlite:///{made}")
        with suppress(FileExistsError):  # another process was faster
            open_store(folder).put_new(DATABASE, made.read_bytes())


def is_passing(error: Exception) -> bool:
    """Whether an error of MLflow means that the same call may succeed later."""
    code = getattr(error, "error_code", None)
    return code in _PASSING if code is not None else isinstance(error, OSError)


class MlflowRun:
    """A run of an experiment. Every method asks MLflow and waits for it."""

    def __init__(
        self,
        options: MlflowOptions,
        *,
        name: str,
        tags: Mapping[str, str],
        known_id: str | None = None,
        parent: Callable[["MlflowRun"], str | None] | None = None,
        on_made: Callable[[str], None] | None = None,
    ) -> None:
        """
        Args:
            name: of a run that is made.
            tags: of a run that is made.
            known_id: the run to go on with; where it is gone, a new one is made.
            parent: gives the id of the run that a new one belongs to, if there is one.
            on_made: is told the id of a run that was made.
        """
        self.options, self.name, self.tags = options, name, dict(tags)
        self.known_id, self.parent, self.on_made = known_id, parent, on_made
        self.client: MlflowClient = client_of(options)
        self.experiment_id = self._experiment()
        self.is_new = False
        self.id = self._id()
        self._steps: dict[str, set[int]] = {}
        self._image_steps: dict[str, set[int]] | None = None

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log parameters that the run lacks; those that it has cannot change."""
        from mlflow.entities import Param

        has = {} if self.is_new else self.client.get_run(self.id).data.params
        lacking = [
            Param(name, value[:_PARAM_LENGTH]) for name, value in params.items() if name not in has
        ]
        for part in _parts(lacking, _PARAMS_A_REQUEST):
            self.client.log_batch(self.id, params=part)

    def log_metrics(self, points: Iterable[tuple[str, float, int, int]]) -> None:
        """Log metrics at steps where the run lacks them: MLflow would keep both values.

        Args:
            points: (name, value, step, milliseconds since 1970 UTC).
        """
        from mlflow.entities import Metric

        lacking = []
        for name, value, step, timestamp_ms in points:
            if step not in self._steps_of(name):
                lacking.append(Metric(name, value, timestamp_ms, step))
        for part in _parts(lacking, _METRICS_A_REQUEST):
            self.client.log_batch(self.id, metrics=part)
            for metric in part:
                self._steps_of(metric.key).add(metric.step)

    def log_image(self, key: str, png: bytes, step: int) -> None:
        """Log a picture of one step, unless the run has it."""
        if self._image_steps is None:
            self._image_steps = defaultdict(set)
            for file in [] if self.is_new else self.client.list_artifacts(self.id, "images"):
                if (match := _IMAGE.fullmatch(file.path)) is not None:
                    self._image_steps[match["key"]].add(int(match["step"]))
        if step in self._image_steps[key]:
            return
        bgr = decode(png, cv2.IMREAD_COLOR)
        assert bgr is not None
        rgb = np.ascontiguousarray(np.asarray(bgr)[..., ::-1])
        self.client.log_image(self.id, rgb, key=key, step=step, synchronous=True)
        self._image_steps[key].add(step)

    def log_file(self, name: str, content: bytes, below: str | None = None) -> None:
        """Log an artifact.

        Args:
            name: of the file, without folders.
            below: the folder of artifacts that it is put into.
        """
        with tempfile.TemporaryDirectory(prefix="simgan-mlflow-") as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            self.client.log_artifact(self.id, str(path), below)

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag of ours."""
        self.client.set_tag(self.id, f"{TAG}.{name}", value)

    def end(self, status: Status) -> None:
        """Mark the run as ended."""
        self.client.set_terminated(self.id, status)

    def trained(self, refiner: str) -> str | None:
        """The id of the newest training of this experiment which made a refiner; None where the
        experiment has none.

        Args:
            refiner: SHA-256 of its weights.
        """
        runs = self.client.search_runs(
            [self.experiment_id], f"tags.`{REFINER_TAG}` = '{refiner}'", max_results=1
        )
        return runs[0].info.run_id if runs else None

    def _experiment(self) -> str:
        """The id of the experiment, which is made if need be."""
        from mlflow.exceptions import MlflowException

        name, place = self.options.mlflow_experiment, self.options.mlflow
        assert place is not None
        where = None if is_server(place) else (Path(place) / ARTIFACTS).absolute().as_uri()
        if (experiment := self.client.get_experiment_by_name(name)) is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=where))
            except MlflowException:  # another job made it meanwhile
                if (experiment := self.client.get_experiment_by_name(name)) is None:
                    raise
        return str(experiment.experiment_id)

    def _id(self) -> str:
        """The id of the run, which is made if need be."""
        if self.known_id is not None and self._goes_on(self.known_id):
            return self.known_id
        tags = self.tags
        above = None if self.parent is None else self.parent(self)
        if above is not None:
            tags = tags | {"mlflow.parentRunId": above}
        run = self.client.create_run(self.experiment_id, tags=tags, run_name=self.name)
        self.is_new = True
        made = str(run.info.run_id)
        if self.on_made is not None:
            self.on_made(made)
        return made

    def _goes_on(self, run_id: str) -> bool:
        """Whether a run is there to go on with; then it is marked as running."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        if run.info.lifecycle_stage != "active":
            return False
        self.client.update_run(run_id, status="RUNNING")
        return True

    def _steps_of(self, name: str) -> set[int]:
        """The steps at which the run has a metric."""
        if name not in self._steps:
            history = [] if self.is_new else self.client.get_metric_history(self.id, name)
            self._steps[name] = {metric.step for metric in history}
        return self._steps[name]


def now_ms() -> int:
    """Milliseconds since 1970 UTC, as MLflow counts."""
    return time.time_ns() // 1_000_000


def flat(content: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    """A configuration as MLflow's parameters: dotted names, and values as text; a list is one
    value."""
    params: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, dict) and value:
            params |= flat(value, f"{prefix}{name}.")
        else:
            params[f"{prefix}{name}"] = str(value)
    return params


def deferred(make: Callable[[], MlflowRun]) -> Callable[[], MlflowRun]:
    """The same run at each call; it is made at the first one that succeeds."""
    made: list[MlflowRun] = []

    def run() -> MlflowRun:
        if not made:
            made.append(make())
        return made[0]

    return run


def _parts(values: list[_Value], size: int) -> Iterable[list[_Value]]:
    return (values[first : first + size] for first in range(0, len(values), size))
