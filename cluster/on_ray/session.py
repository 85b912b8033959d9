"""A run with Ray behind it: shards made in parallel, calls made side by side.

Ray is imported when the first of them is needed: with its data library that takes longer than most
runs which find nothing to do.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cluster.job.command import JobConfig
from cluster.job.every import every
from cluster.job.progress import Progress, progress_of
from cluster.job.runs import RunFolder
from cluster.job.start import logged_run
from cluster.job.summary import summarise
from factory.dataset.session import BeginSession
from factory.dataset.shard_tasks import MakeTask, Stage, collect, stages_of
from factory.dataset.shard_tasks import Progress as ShowProgress
from schemas.outcome import Outcome

log = logging.getLogger(__name__)
SILENCE_S = 120.0
"""seconds without a finished shard after which the log says how large the cluster is"""


class Session:
    """A `factory.dataset.session.Session` on Ray: a run's folder and its parallel workers."""

    def __init__(self, run: RunFolder | None, workers: int | None = None, use_gpu: bool = False):
        """
        Args:
            run: `runs/<id>/` of the output; None where no files are kept of a run.
            workers: number of parallel workers; None for one per core (or GPU).
            use_gpu: whether each worker has a GPU.
        """
        self.run, self.num_workers, self.use_gpu = run, workers, use_gpu

    def make_shards(
        self, what: str, task: MakeTask | Sequence[Stage], shards: Sequence[int], num_samples: int
    ) -> list[Outcome]:
        """`factory.dataset.shard_tasks.MakeShards` in parallel Ray workers, with progress, and with
        a summary in the run's folder at the end."""
        if not shards:
            return []
        from cluster.on_ray.connect import ensure_ray
        from cluster.on_ray.pipeline import Workers, run_on_ray

        ensure_ray()
        workers = Workers(self.num_workers, self.use_gpu)
        num_workers = workers.number()
        progress = Progress(what, num_samples, "images")
        outcomes: list[Outcome] = []

        def on_outcome(outcome: Outcome) -> None:
            outcomes.append(outcome)
            progress.advance(outcome.num_inputs, f"shard {outcome.shard}")

        started = time.perf_counter()
        try:
            with _reporting_silence(what, lambda: len(outcomes)):
                return collect(run_on_ray(stages_of(task, what), shards, workers), on_outcome)
        finally:
            progress.close()
            wall_s = time.perf_counter() - started
            summary = summarise(what, outcomes, wall_s, min(num_workers, len(shards)))
            self.keep(f"{what}.json", summary.to_json())
            for line in summary.lines():
                log.info("%s", line)

    def keep(self, name: str, content: bytes) -> None:
        """Put a file into the folder of the run, if there is one."""
        if self.run is not None:
            self.run.write(name, content)

    def progress(self, what: str, unit: str) -> ShowProgress:
        """A bar, or lines in the log, for work that is done in this process."""
        return partial(progress_of, what, unit)

    def side_by_side(
        self, calls: Sequence[Callable[[], Any]], what: str | None = None, *, use_gpu: bool = False
    ) -> list[Any]:
        """`factory.dataset.shard_tasks.SideBySide`, each call in a Ray worker of one core."""
        import ray

        from cluster.on_ray.connect import ensure_ray

        ensure_ray()
        remote = ray.remote(_call).options(num_gpus=1 if use_gpu else 0)
        handles = [remote.remote(call) for call in calls]
        progress = Progress(what, len(calls), "runs") if what else None
        pending = list(handles)
        try:
            while pending and progress is not None:
                done, pending = ray.wait(pending)
                ray.get(done)  # an error ends the others early
                progress.advance(len(done))
            return list(ray.get(handles))
        except ray.exceptions.RayTaskError as error:
            for handle in handles:
                ray.cancel(handle)
            raise error.cause from None
        finally:
            if progress is not None:
                progress.close()


@contextmanager
def start(
    job: JobConfig,
    output: str | Path,
    *,
    runs: str = "runs",
    workers: int | None = None,
    use_gpu: bool = False,
) -> Iterator[Session]:
    """`logged_run`, with parallel workers. Ray starts when the first of them is needed.

    Args:
        job: its options, which are saved in the folder of the run.
        output: what the job writes to, a folder or s3://bucket/prefix.
        runs: name of the folder of all runs in the output.
        workers: number of parallel workers; None for one per core (or GPU).
        use_gpu: whether each worker has a GPU.
    """
    with logged_run(job, output, runs=runs) as run:
        yield Session(run, workers, use_gpu)


def on_ray(workers: int | None = None) -> BeginSession:
    """For a call from a program of one's own: its shards are made in parallel Ray workers. It logs
    as the program does, and keeps no `runs/<id>/`.

        refine("data/eyes", refiner="out/refiner", output="data/refined", on=on_ray(workers=8))

    Args:
        workers: number of parallel workers; None for one per core (or GPU) of the cluster.
    """

    @contextmanager
    def begin(*, use_gpu: bool = False) -> Iterator[Session]:
        yield Session(None, workers, use_gpu)

    return begin


def _call(call: Callable[[], Any]) -> Any:
    """A remote function for any picklable call."""
    return call()


@contextmanager
def _reporting_silence(what: str, count: Callable[[], int]) -> Iterator[None]:
    """Log how large the cluster is while no shard comes back.

    The cluster may be about to grow, or to get a lost node back, so the run waits; the log has to
    show what it waits for.
    """
    before = count()

    def watch() -> None:
        nonlocal before
        if count() == before:
            log.warning("%s: no shard came back in %.0f s; %s", what, SILENCE_S, _cluster())
        before = count()

    with every(SILENCE_S, watch):
        yield


def _cluster() -> str:
    """How large the cluster is, in words."""
    import ray

    try:
        alive = sum(node["Alive"] for node in ray.nodes())
        cores, gpus = (ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU"))
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        return f"the cluster does not answer ({error})"
    return f"the cluster has {alive} nodes with {cores:.0f} cores and {gpus:.0f} GPUs"
