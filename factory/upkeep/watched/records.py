"""What an operator watches of a dataset, read from its own records: names, times of change and the
summaries of runs. No shard is read, so it costs a few listings.

The records outlast the jobs: a night that never began, a job that was killed, and a tar that was
removed show in them, and in no number that a running job could report.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median

from factory.dataset.dataset import Dataset
from factory.dataset.lost_tars import lost_tars
from factory.release.latest import latest_or_none, seen_nothing_newer
from factory.release.state import MANIFEST, release_names
from factory.validation.verdicts import report_name
from schemas.base import Model
from schemas.dataset import RunId
from schemas.report import Report
from schemas.summary import RunSummary

SUMMARY_OF = {"ingest": "ingest", "refine": "refine", "validate": "validate", "publish": "filter"}
"""job -> the summary that it keeps of the shards that it made, `runs/<id>/<name>.json`"""
RUNS_LOOKED_AT = 40
"""the newest runs of each job"""
LEAST_RUNS = 3
"""earlier runs that made shards, below which no share is the usual one"""


class WatchedRun(Model):
    """What the newest runs of one job on a dataset say."""

    job: str
    started: float
    """of the newest run, seconds since 1970 UTC, whether or not it found anything to do"""
    summary: RunSummary | None = None
    """of the newest run that made shards; None where none did"""
    rejected_share: float | None = None
    """of that run's inputs; None where it had none"""
    usual_rejected_share: float | None = None
    """the median of the runs before it; None where they are too few"""


class WatchedDataset(Model):
    """What the records of one dataset say."""

    location: str
    num_committed: int
    num_lost_tars: int
    """committed shards without their tar"""
    num_releases: int
    released: float | None = None
    """when the latest release was published, seconds since 1970 UTC; None without one"""
    release_confirmed: float | None = None
    """when that was, or when a night last found nothing newer to release, if that was later"""
    reported: float | None = None
    """when the newest report was written, seconds since 1970 UTC; None without one"""
    report_passed: bool | None = None
    """whether it passed its gate; None without a report or a gate"""
    runs: tuple[WatchedRun, ...] = ()


def watch(location: str) -> WatchedDataset:
    """Read what an operator watches.

    Args:
        location: of the dataset.

    Raises:
        FileNotFoundError: there is no such dataset.
        OSError: the store is out of reach.
        FormatError: a record cannot be read.
    """
    dataset = Dataset.open(location)
    releases = release_names(dataset)
    released, confirmed = _latest_release(dataset, releases)
    reported, passed = _newest_report(dataset)
    return WatchedDataset(
        location=dataset.location,
        num_committed=len(dataset.committed()),
        num_lost_tars=len(lost_tars(dataset)),
        num_releases=len(releases),
        released=released,
        release_confirmed=confirmed,
        reported=reported,
        report_passed=passed,
        runs=tuple(_runs(dataset)),
    )


def _latest_release(dataset: Dataset, releases: Sequence[str]) -> tuple[float | None, float | None]:
    """When the latest release was published, and when it was last known to be the newest.

    The pointer `releases/latest.json` says the first, also where a filtered dataset has the
    release; a night that found nothing newer noted the second beside it.
    Datasets from before there was one have the times of their manifests.
    """
    latest = latest_or_none(dataset.store)
    if latest is None:
        times = [_changed(dataset, f"releases/{name}", MANIFEST) for name in releases]
        return max(times, default=None), max(times, default=None)
    published = datetime.fromisoformat(latest.published).timestamp()
    seen = seen_nothing_newer(dataset.store)
    return published, published if seen is None else max(published, seen.timestamp())


def _changed(dataset: Dataset, folder: str, name: str) -> float:
    """When an object was last changed, seconds since 1970 UTC.

    A manifest and a report have no time that a gate or a release could depend on, and are never
    changed, so the store's own time is when they were finished.
    """
    for entry in dataset.store.entries(folder):
        if entry.name == f"{folder}/{name}":
            return entry.mtime_ns / 1e9
    raise FileNotFoundError(f"{dataset.location}/{folder}/{name}")


def _newest_report(dataset: Dataset) -> tuple[float | None, bool | None]:
    """When the newest finished report was written, and whether it passed its gate."""
    for report_id in sorted(dataset.store.folders("reports"), reverse=True):
        name = report_name(report_id)
        try:
            raw = dataset.store.read(name)
        except FileNotFoundError:  # it is being written, or was stopped
            continue
        report = Report.from_json(raw, where=f"{dataset.location}/{name}")
        folder, _, file = name.rpartition("/")
        return _changed(dataset, folder, file), report.passed
    return None, None


def _runs(dataset: Dataset) -> Iterator[WatchedRun]:
    ids = [run for name in dataset.store.folders("runs") if (run := RunId.of(name)) is not None]
    for job in SUMMARY_OF:
        newest = sorted((run for run in ids if run.job == job), reverse=True)[:RUNS_LOOKED_AT]
        if newest:
            yield _watched_run(dataset, job, newest)


def _watched_run(dataset: Dataset, job: str, runs: Sequence[RunId]) -> WatchedRun:
    """
    Args:
        runs: of this job, newest first.
    """
    read = (_summary(dataset, run, SUMMARY_OF[job]) for run in runs)
    summaries = [summary for summary in read if summary is not None]
    shares = [share for one in summaries if (share := _rejected_share(one)) is not None]
    return WatchedRun(
        job=job,
        started=runs[0].started.timestamp(),
        summary=summaries[0] if summaries else None,
        rejected_share=_rejected_share(summaries[0]) if summaries else None,
        usual_rejected_share=median(shares[1:]) if len(shares) > LEAST_RUNS else None,
    )


def _summary(dataset: Dataset, run: RunId, what: str) -> RunSummary | None:
    """The summary of a run; None of one that made nothing, or that still makes it."""
    name = f"runs/{run}/{what}.json"
    try:
        return RunSummary.from_json(dataset.store.read(name), where=f"{dataset.location}/{name}")
    except FileNotFoundError:
        return None


def _rejected_share(summary: RunSummary) -> float | None:
    num_inputs = summary.num_samples + summary.num_rejected + summary.num_filtered
    return summary.num_rejected / num_inputs if num_inputs else None
