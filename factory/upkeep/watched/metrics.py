"""The records of datasets as metrics of Prometheus: gauges of a dataset, or of one of its jobs."""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from factory.upkeep.watched.records import WatchedDataset, WatchedRun, watch

log = logging.getLogger(__name__)
OF_ALL = {
    "simgan_records_read_timestamp_seconds": "When the records of all datasets were last read.",
}
OF_DATASET = {
    "simgan_dataset_readable": "Whether the records of the dataset could be read: 1, else 0.",
    "simgan_committed_shards": "Shards that are committed.",
    "simgan_lost_tars": "Committed shards whose tar is gone: an index without its tar.",
    "simgan_releases": "Finished releases that have not expired.",
    "simgan_release_timestamp_seconds": "When the latest release was published.",
    "simgan_release_confirmed_timestamp_seconds": (
        "When that was, or when a night last found nothing newer to release."
    ),
    "simgan_report_timestamp_seconds": "When the newest report was written.",
    "simgan_report_passed": "Whether the newest report passed its gate: 1, else 0.",
}
OF_RUN = {
    "simgan_run_timestamp_seconds": "When the newest run of the job began.",
    "simgan_run_shards_made": "Shards made by the newest run that made any.",
    "simgan_run_shards_set_aside": "Shards that run could not make.",
    "simgan_run_samples": "Samples in the shards that run made.",
    "simgan_run_rejected": "Inputs that run rejected.",
    "simgan_run_filtered": "Inputs that run filtered out, as its options say.",
    "simgan_run_images_per_second": "Inputs for each second of that run, its start included.",
    "simgan_rejected_share": "Share of the inputs of that run that it rejected.",
    "simgan_usual_rejected_share": "Median of that share over the runs before it.",
}
METRICS = OF_ALL | OF_DATASET | OF_RUN
"""name -> what it is"""


def samples_of(dataset: WatchedDataset) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """The metrics of one dataset: name, values of the labels `dataset` and `job`, value. What there
    is not (a release, a verdict, a run) gives none."""
    values = {
        "simgan_dataset_readable": 1.0,
        "simgan_committed_shards": dataset.num_committed,
        "simgan_lost_tars": dataset.num_lost_tars,
        "simgan_releases": dataset.num_releases,
        "simgan_release_timestamp_seconds": dataset.released,
        "simgan_release_confirmed_timestamp_seconds": dataset.release_confirmed,
        "simgan_report_timestamp_seconds": dataset.reported,
        "simgan_report_passed": dataset.report_passed,
    }
    for name, value in values.items():
        if value is not None:
            yield name, (dataset.location,), float(value)
    for run in dataset.runs:
        for name, value in _values_of(run):
            if value is not None:
                yield name, (dataset.location, run.job), float(value)


def _values_of(run: WatchedRun) -> Iterator[tuple[str, float | None]]:
    yield "simgan_run_timestamp_seconds", run.started
    if (summary := run.summary) is None:
        return
    yield "simgan_run_shards_made", summary.num_shards
    yield "simgan_run_shards_set_aside", summary.num_set_aside
    yield "simgan_run_samples", summary.num_samples
    yield "simgan_run_rejected", summary.num_rejected
    yield "simgan_run_filtered", summary.num_filtered
    yield "simgan_run_images_per_second", summary.images_per_s
    yield "simgan_rejected_share", run.rejected_share
    yield "simgan_usual_rejected_share", run.usual_rejected_share


class RecordsCollector(Collector):
    """The metrics of several datasets as they were when the records were last read: a scrape never
    waits for a store."""

    def __init__(self, locations: Sequence[str]) -> None:
        """
        Args:
            locations: of the datasets, absolute.
        """
        self.locations = locations
        self._lock = threading.Lock()
        self._families: list[GaugeMetricFamily] = []

    def refresh(self) -> bool:
        """Read all records again. A dataset whose records cannot be read is a warning, and shows as
        `simgan_dataset_readable` 0 with nothing else.

        Returns:
            Whether all could be read.
        """
        readable, samples = True, list[tuple[str, tuple[str, ...], float]]()
        for location in self.locations:
            try:
                samples += samples_of(watch(location))
            except (OSError, ValueError) as error:
                log.warning("the records of %s cannot be read: %s", location, error)
                samples.append(("simgan_dataset_readable", (location,), 0.0))
                readable = False
        samples.append(("simgan_records_read_timestamp_seconds", (), time.time()))
        with self._lock:
            self._families = list(_families_of(samples))
        return readable

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """As prometheus_client asks for it."""
        with self._lock:
            return list(self._families)

    def registry(self) -> CollectorRegistry:
        """A registry of these metrics alone."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry


def _families_of(
    samples: Iterable[tuple[str, tuple[str, ...], float]],
) -> Iterator[GaugeMetricFamily]:
    by_name: dict[str, GaugeMetricFamily] = {}
    for name, labels, value in samples:
        if name not in by_name:
            names = ("dataset", "job")[: len(labels)]
            by_name[name] = GaugeMetricFamily(name, METRICS[name], labels=names)
        by_name[name].add_metric(labels, value)
    yield from by_name.values()
