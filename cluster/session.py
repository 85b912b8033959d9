"""One run of a job: its log, its saved configuration, its progress, and Ray when it is needed."""

import logging
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from cluster.command import JobConfig
from cluster.every import every
from cluster.local import ensure_ray
from cluster.pipeline import Workers, run_on_ray
from cluster.runs import RunFolder, open_run
from cluster.summary import summarise
from factory.lease import lease
from factory.store import open_store
from factory.version import WRITER
from factory.work import MakeTask, Outcome, Stage, collect
from schemas.dataset import RunRecord

log = logging.getLogger(__name__)
SILENCE_S = 120.0
"""without a shard, after which the log says what the cluster has"""
LINE_EVERY_S = 10.0
"""between progress lines where there is no terminal"""


class Progress:
    """A bar on a terminal, plain lines in a log."""

    def __init__(self, what: str, total: int, unit: str):
        self.what, self.total, self.unit = what, total, unit
        self.done, self.started = 0, time.monotonic()
        self._last_line = self.started
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", disable=None, dynamic_ncols=True)

    def advance(self, count: int, note: str = "") -> None:
        """`count` more units are done."""
        self.done += count
        self._bar.update(count)
        if note and not self._bar.disable:
            self._bar.set_postfix_str(note)
        now = time.monotonic()
        if self._bar.disable and now - self._last_line > LINE_EVERY_S:
            self._last_line = now
            rate = self.done / (now - self.started)
            shown = f"{self.done} of {self.total} {self.unit}, {rate:.1f}/s"
            log.info("%s: %s %s", self.what, shown, note)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Session:
    """What a running job may use."""

    def __init__(self, run: RunFolder, workers: Workers):
        self.run = run
        """`runs/<id>/` of the output"""
        self.workers = workers

    def make_shards(
        self,
        what: str,
        work: MakeTask | Sequence[Stage],
        shards: Sequence[int],
        num_samples: int,
    ) -> list[Outcome]:
        """Make shards in parallel Ray workers, with progress, and a summary at the end.

        Args:
            what: for the progress bar, e.g. `refine`.
            num_samples: expected in all shards together, for the bar.

        Raises:
            ShardsFailedError: some shards could not be made; all others were.
        """
        if not shards:
            return []
        ensure_ray()
        workers = self.workers.number()
        progress = Progress(what, num_samples, "images")
        outcomes: list[Outcome] = []

        def on_outcome(outcome: Outcome) -> None:
            outcomes.append(outcome)
            progress.advance(outcome.num_inputs, f"shard {outcome.shard}")

        started = time.perf_counter()
        try:
            stages = (Stage(what, work),) if callable(work) else work
            with _saying_when_nothing_comes(what, lambda: len(outcomes)):
                return collect(run_on_ray(stages, shards, self.workers), on_outcome)
        finally:
            progress.close()
            wall_s = time.perf_counter() - started
            summary = summarise(what, outcomes, wall_s, min(workers, len(shards)))
            self.run.write(f"{what}.json", summary.to_json())
            for line in summary.lines():
                log.info("%s", line)

    def side_by_side(
        self, calls: Sequence[Callable[[], Any]], what: str | None = None, *, use_gpu: bool = False
    ) -> list[Any]:
        """Results of several calls, each made in a Ray worker of one core.

        Args:
            what: for a progress bar; none where it is absent.
            use_gpu: give each a GPU as well.
        """
        ensure_ray()
        remote = ray.remote(call_it).options(num_gpus=1 if use_gpu else 0)
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
def alone(what: str, output: str | Path, *, overlap: bool) -> Iterator[bool]:
    """Whether this run may go on: no other run of the job is at work on the output, or the user
    lets them overlap."""
    if overlap:
        yield True
        return
    with lease(open_store(output), what) as is_ours:
        if not is_ours:
            log.info("nothing done; --overlap works beside the other run, without harm")
        yield is_ours


@contextmanager
def _saying_when_nothing_comes(what: str, count: Callable[[], int]) -> Iterator[None]:
    """Say what the cluster has while shards are waited for that do not come.

    A cluster may be about to grow, or to get a lost node back, so waiting is right; but who looks
    at the log has to see what for.
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
    """What there is to work with, for the log."""
    try:
        alive = sum(node["Alive"] for node in ray.nodes())
        cores, gpus = (ray.cluster_resources().get(name, 0) for name in ("CPU", "GPU"))
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        return f"the cluster does not answer ({error})"
    return f"the cluster has {alive} nodes with {cores:.0f} cores and {gpus:.0f} GPUs"


def call_it(call: Callable[[], Any]) -> Any:
    """A remote function for any picklable call."""
    return call()


@contextmanager
def start(
    job: JobConfig,
    output: str | Path,
    *,
    runs: str = "runs",
    workers: int | None = None,
    use_gpu: bool = False,
) -> Iterator[Session]:
    """Open a run in `<output>/<runs>/<id>/`: log to the terminal and there, save the configuration.

    Args:
        output: what the job writes to, a folder or a place in an object store.
        runs: folder of the runs in it.
        workers: parallel workers; None for one a core (or GPU).
    """
    now = datetime.now(UTC)
    name = f"{runs}/{now:%Y%m%dT%H%M%SZ}-{job.command()}-{secrets.token_hex(2)}"
    record = RunRecord(
        job=type(job).__name__,
        started=now.isoformat(timespec="seconds"),
        version=WRITER,
        config=job.model_dump(mode="json"),
    )
    with open_run(output, name) as run:
        run.write("config.json", record.to_json())
        with _logging_to(run.log), logging_redirect_tqdm():
            try:
                yield Session(run, Workers(workers, use_gpu))
            except Exception:
                with run.log.open("a") as file:
                    traceback.print_exc(file=file)
                raise


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    root = logging.getLogger()
    lines = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    terminal, file = logging.StreamHandler(), logging.FileHandler(path)
    terminal.setLevel(logging.INFO)
    for handler in (terminal, file):
        handler.setFormatter(lines)
        root.addHandler(handler)
    before = root.level
    root.setLevel(logging.INFO)
    for chatty in ("ray", "ray.data"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in (terminal, file):
            root.removeHandler(handler)
            handler.close()
