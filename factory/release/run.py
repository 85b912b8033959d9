"""One run of publish: filter a validated dataset if that is asked for, then release it.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import MakeShards, Progress, no_progress
from factory.release.filtered import FilteredContent, enter_filtered, filter_task, reasons_in
from factory.release.pins import drop_unfinished, intent_name
from factory.release.publish import latest_report, publish
from factory.store.open import name_of
from schemas.options import OptionError

log = logging.getLogger(__name__)


def release_dataset(
    location: str,
    release: str,
    *,
    report: str | None = None,
    drop_failed: bool = False,
    filtered: str | None = None,
    make_shards: MakeShards,
    progress: Progress = no_progress,
) -> None:
    """Publish a release of a validated dataset.

    Args:
        location: of the dataset.
        release: name of the release.
        report: id of the report to release by; None for the latest.
        drop_failed: release exactly the samples that the report keeps, from a filtered dataset.
        filtered: location of the filtered dataset; None for `beside` the dataset.
        progress: of the shards whose tars are read before the release is written.

    Raises:
        NotReleasableError: the report did not pass, or is not of what the dataset holds.
        ValueError: the dataset has no report, or cannot be filtered.
    """
    dataset = Dataset.open(location)
    report_id = report if report is not None else latest_report(dataset)
    if drop_failed:
        child_location = filtered if filtered is not None else beside(dataset)
        dataset = filter_by_report(dataset, report_id, child_location, make_shards)
    manifest = publish(dataset, release, report_id, progress)
    log.info(
        "released %d samples in %d shards: %s",
        manifest.num_samples,
        len(manifest.shards),
        f"{dataset.location}/releases/{release}/manifest.json",
    )


def abandon_release(location: str, release: str) -> None:
    """Give up a release of a dataset that was begun and not finished.

    Raises:
        FileNotFoundError: no such release was begun.
        ReleaseFinishedError: it is finished.
        OldFormatError: the dataset is of an earlier format.
    """
    dataset = Dataset.open(location)
    dataset.require_current_format()
    if dataset.store.size(intent_name(release)) is None:
        raise FileNotFoundError(f"{location}: no release {release} was begun")
    drop_unfinished(dataset, release, "it was abandoned before it was finished")
    log.info("%s: the release %s is abandoned", dataset.location, release)


def filter_by_report(
    parent: Dataset, report_id: str, location: str, make_shards: MakeShards
) -> Dataset:
    """The dataset of exactly the samples that a report keeps; what it lacks is made.

    Raises:
        NotReleasableError: the report does not pass, has no verdicts or keeps nothing.
    """
    child = enter_filtered(parent, report_id, location, name_of(location))
    keeping = FilteredContent(child, parent)
    missing = sorted(set(keeping.validated) - set(child.committed()))
    num_samples = sum(facts.num_samples for facts in parent.all_facts(missing))
    make_shards("filter", filter_task(child, parent), missing, num_samples)
    num_filtered = sum(facts.num_samples for facts in child.all_facts(child.committed()))
    reasons = (f"{name} {count}" for name, count in reasons_in(keeping.verdicts).most_common())
    log.info(
        "%s: %d of %d samples pass; limits missed: %s",
        child.location,
        num_filtered,
        len(keeping.verdicts),
        ", ".join(reasons) or "none",
    )
    return child


def beside(parent: Dataset) -> str:
    """Default location of a dataset's filtered child.

    Raises:
        OptionError: the dataset is a whole bucket, beside which there is nothing.
    """
    if parent.location.startswith("s3://") and parent.location.count("/") == 2:
        raise OptionError(
            f"{parent.location} is a whole bucket: say where the filtered dataset goes with --kept"
        )
    return f"{parent.location}-kept"
