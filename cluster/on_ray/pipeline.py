"""Stages that make shards, streamed through Ray Data.

A row is one shard. Ray Data holds a stage back while the next one is behind, so memory is bounded
however many shards there are. Shards are made in no order: what a shard becomes depends only on its
number.
"""

import logging
import math
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

import orjson
import ray
import ray.data
import ray.exceptions
import ray.util
from ray.util.annotations import RayDeprecationWarning
from ray.util.metrics import Counter, Histogram

from cluster.on_ray.connect import ensure_ray, ray_address
from factory.dataset.shard_tasks import (
    MakeTask,
    Stage,
    failed_outcome,
    stages_of,
)
from schemas.outcome import Outcome

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""attempts at one shard before it is set aside"""
RETRIES_IN_RAY = 1
"""how often Ray itself retries a shard whose worker died, within one attempt"""
LIGHT_CPUS = 0.1
"""cores that Ray reserves for a reader or writer, which shares the cores of the engines"""
ENGINES_A_LIGHT = 8
"""engines on CPU cores per reader and writer, which could keep up with twice as many"""
SHARDS_AHEAD = 4
"""shards per worker from which on each worker has its next shard queued; with fewer shards, queued
ones would leave other workers idle at the end"""
WORKER_NAME = "simgan-stage"
SECONDS_METRIC, SHARDS_METRIC, SAMPLES_METRIC = (
    "simgan_stage_seconds",
    "simgan_shards",
    "simgan_samples",
)
"""a histogram and two counters; Prometheus sees them as `ray_simgan_stage_seconds_bucket` etc.,
`ray_simgan_shards_total` and `ray_simgan_samples_total`"""
PAUSE_S = 5.0
"""seconds before shards that failed for a passing reason are tried again, times the attempt"""


@dataclass(frozen=True)
class Workers:
    """How many workers a run may use, and of which kind."""

    count: int | None = None
    """number of workers with a core (or GPU) each; None for one per core (or GPU) of the cluster"""
    use_gpu: bool = False

    def number(self) -> int:
        """The number of workers.

        Raises:
            RuntimeError: the cluster has no core (or GPU), and no number was given to grow to.
        """
        resource = "GPU" if self.use_gpu else "CPU"
        available = int(ray.cluster_resources().get(resource, 0))
        may_grow = self.count is not None and ray_address() is not None
        if available < 1 and not may_grow:
            raise RuntimeError(f"this Ray cluster has no {resource}: {ray.cluster_resources()}")
        return available if self.count is None else self.count


class StageWorker:
    """One stage on one worker. An exception becomes the outcome of its shard, and the other shards
    go on."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self._step: Callable[[Any], Any] | None = None
        self._seconds = Histogram(
            SECONDS_METRIC,
            description="Work on one shard in one stage.",
            boundaries=[0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000],
            tag_keys=("stage",),
        )
        self._shards = Counter(
            SHARDS_METRIC, description="Shards that left a stage.", tag_keys=("stage", "result")
        )
        self._samples = Counter(
            SAMPLES_METRIC, description="What became of inputs.", tag_keys=("result",)
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if "outcome" in row:  # an earlier stage failed
            return row
        shard = int(row["shard"])
        seconds = orjson.loads(row["seconds"]) if "seconds" in row else {}
        started = time.perf_counter()
        try:
            if self._step is None:
                self._step = self.stage.make()
            made = self._step(_given(self.stage, row))
        except Exception as error:  # noqa: BLE001 - one poison shard must not end the others
            log.error("shard %d, %s:\n%s", shard, self.stage.name, traceback.format_exc())
            made = failed_outcome(shard, error)
        seconds[self.stage.name] = time.perf_counter() - started
        self._count(made, seconds[self.stage.name])
        if isinstance(made, Outcome):
            timed = {"stage_seconds": seconds, "seconds": sum(seconds.values())}
            return {"shard": shard, "outcome": made.model_copy(update=timed).model_dump_json()}
        return {field.name: getattr(made, field.name) for field in fields(made)} | {
            "seconds": orjson.dumps(seconds)
        }

    def _count(self, made: Any, seconds: float) -> None:
        failed = isinstance(made, Outcome) and made.error is not None
        self._seconds.observe(seconds, {"stage": self.stage.name})
        result = "failed" if failed else "done"
        self._shards.inc(1, {"stage": self.stage.name, "result": result})
        if isinstance(made, Outcome):
            for result in ("samples", "rejected", "filtered"):
                if count := getattr(made, f"num_{result}"):
                    self._samples.inc(count, {"result": result})


def _given(stage: Stage, row: dict[str, Any]) -> Any:
    if stage.takes is None:
        return int(row["shard"])
    return stage.takes(**{field.name: row[field.name] for field in fields(stage.takes)})


def run_on_ray(
    task: MakeTask | Sequence[Stage], shards: Sequence[int], workers: Workers | None = None
) -> Iterator[Outcome]:
    """Make shards in parallel; each one's outcome comes once, in no order.

    A shard whose worker dies, or whose store fails, is tried up to `MAX_ATTEMPTS` times; after a
    death the last time on its own, so that it cannot be blamed for another's crash.
    """
    ensure_ray()
    stages, workers = stages_of(task), workers or Workers()
    left, lost = list(shards), list[int]()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        last = attempt == MAX_ATTEMPTS
        seen: dict[int, Outcome] = {}
        alone = lost if last else []
        groups = [[shard for shard in left if shard not in alone], *([shard] for shard in alone)]
        for group in filter(None, groups):
            for outcome in _attempt(stages, group, workers):
                seen[outcome.shard] = outcome
                if outcome.transient and not last:
                    log.warning("shard %d: %s; will be tried again", outcome.shard, outcome.error)
                    continue
                yield outcome.model_copy(update={"attempts": attempt})
        lost = [shard for shard in left if shard not in seen]
        if last:
            for shard in lost:
                error = f"its worker died in the last of {MAX_ATTEMPTS} attempts"
                yield Outcome(shard=shard, error=error, transient=True, attempts=attempt)
            return
        if attempt > 1 and len(lost) == len(left) > 1:
            raise RuntimeError(f"all workers died; shards {lost[:10]} were not made")
        left = [shard for shard in left if shard not in seen or seen[shard].transient]
        if not left:
            return
        log.warning("%d shards to try again: %s", len(left), left[:10])
        time.sleep(PAUSE_S * attempt)


def _attempt(stages: Sequence[Stage], shards: Sequence[int], workers: Workers) -> Iterator[Outcome]:
    """Try shards once; gives no outcome of those whose workers died."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a dead worker costs its shards this attempt, no others
    context.max_consecutive_actor_init_deaths = MAX_ATTEMPTS  # of a node that left just then
    beside = any(not stage.holds_core for stage in stages)
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        # No named parameter bounds the retries of an actor's tasks yet; these go in Ray 2.64.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        rows = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
        )
        for stage in stages:
            rows = _with_stage(rows, stage, len(shards), workers, beside)
    try:
        # Not `iter_rows`: every few seconds it sends what is known of all shards to an actor.
        for bundle in rows.iter_internal_ref_bundles():
            for block in ray.get(list(bundle.block_refs)):
                yield from map(Outcome.model_validate_json, block.column("outcome").to_pylist())
    except ray.exceptions.RayError as error:  # workers that do not even start, a node that left
        log.warning("the workers stopped: %s", error)
    finally:
        _end_workers()


def _with_stage(
    rows: ray.data.Dataset, stage: Stage, num_shards: int, workers: Workers, beside: bool
) -> ray.data.Dataset:
    """Every stage has actors: Ray ends the processes of tasks as soon as they idle beside those,
    and a new one for each shard would spend seconds on imports."""
    count = min(workers.number(), num_shards)
    if stage.holds_core:
        # The next shard waits at the worker, but for the last ones, which others may be free for.
        ahead = workers.use_gpu or num_shards >= SHARDS_AHEAD * count
        pool = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=1 + ahead)
        cpus = 0.0 if workers.use_gpu else 1 - 2 * LIGHT_CPUS if beside else 1.0
    elif workers.use_gpu:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=cores)
        cpus = min(1.0, cores / 2)  # a reader and a writer have to fit beside a GPU at least
    else:
        pool = ray.data.ActorPoolStrategy(size=math.ceil(count / ENGINES_A_LIGHT))
        cpus = LIGHT_CPUS
    return rows.map(
        StageWorker,
        fn_constructor_kwargs={"stage": stage},
        compute=pool,
        num_cpus=cpus,
        num_gpus=1 if workers.use_gpu and stage.holds_core else None,
        max_restarts=-1,
        max_task_retries=RETRIES_IN_RAY,
        ray_remote_args_fn=_named,
    )


def _named() -> dict[str, str]:
    return {"name": f"{WORKER_NAME}-{uuid.uuid4().hex}"}


def _end_workers() -> None:
    """End the workers of a finished attempt.

    Ray Data only drops its references, and one that was restarting just then would keep its core
    for good.
    """
    for name in ray.util.list_named_actors():
        if name.startswith(WORKER_NAME):
            with suppress(ValueError):  # ended by itself in between
                ray.kill(ray.get_actor(name))
