"""Shards spread over Ray workers by Ray Data: one actor a core, one shard at a time each."""

import logging
import os
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import ray.data
import ray.exceptions
from ray.util.annotations import RayDeprecationWarning

from factory.work import MakeTask, Outcome

log = logging.getLogger(__name__)
MAX_RESTARTS = 3
"""times that a worker which died is replaced, and its shard begun again"""


def ensure_ray(*, dashboard: bool = False) -> None:
    """Connect to the cluster that this job runs in, or start one on this machine.

    Args:
        dashboard: start it with a dashboard, whose state API Ray Train asks.
    """
    if ray.is_initialized():
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=True, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            include_dashboard=dashboard,
            log_to_driver=True,
            logging_level=logging.ERROR,
        )


class ShardWorker:
    """The actor: builds its task once, then makes shards. Our own errors are not retried."""

    def __init__(self, make_task: MakeTask):
        self.task = make_task()

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        shard = int(row["shard"])
        try:
            outcome = self.task(shard)
        except Exception as error:  # noqa: BLE001 - one poison shard must not end the others
            log.error("shard %d:\n%s", shard, traceback.format_exc())
            outcome = Outcome(shard=shard, error=f"{type(error).__name__}: {error}")
        return {"outcome": outcome.model_dump_json()}


def run_on_ray(
    make_task: MakeTask, shards: Sequence[int], *, workers: int | None = None, use_gpu: bool = False
) -> Iterator[Outcome]:
    """Make shards in parallel; outcomes come as they are done, in no order.

    Args:
        workers: actors; None for one a core of the cluster, or one a GPU.
        use_gpu: give each actor a GPU.
    """
    ensure_ray()
    resource = "GPU" if use_gpu else "CPU"
    available = int(ray.cluster_resources().get(resource, 0))
    if workers is None:
        workers = available
    if workers < 1:
        raise RuntimeError(f"this Ray cluster has no {resource}: {ray.cluster_resources()}")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    with warnings.catch_warnings():
        # No named parameter bounds the restarts of an actor yet; these go in Ray 2.64.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        rows = ray.data.from_items(
            [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
        ).map(
            ShardWorker,
            fn_constructor_kwargs={"make_task": make_task},
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(shards)), max_tasks_in_flight_per_actor=2
            ),
            num_cpus=1,
            num_gpus=1 if use_gpu else None,
            max_restarts=MAX_RESTARTS,
            max_task_retries=MAX_RESTARTS,
        )
    try:
        for row in rows.iter_rows():
            yield Outcome.model_validate_json(row["outcome"])
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"the workers could not go on: {error}") from error
