"""One run of publish: filter a validated dataset if that is asked for, then release it.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging
from pathlib import Path

from pydantic import TypeAdapter

from factory.dataset.dataset import Dataset, DatasetPlace, location_of
from factory.dataset.session import BeginSession, here
from factory.dataset.shard_tasks import MakeShards
from factory.release.filtered import FilteredContent, enter_filtered, filter_task, reasons_in
from factory.release.latest import LATEST_NAME, swap_latest
from factory.release.pins import drop_unfinished, intent_name
from factory.release.publish import latest_report
from factory.release.publish import publish as publish_by_report
from factory.release.state import read_manifest
from factory.store.open import name_of
from schemas.options import OptionError
from schemas.release import NewReleaseName, ReleaseManifest

log = logging.getLogger(__name__)


def publish(
    input: DatasetPlace,
    release: str,
    *,
    report: str | None = None,
    drop_failed: bool = False,
    kept: str | Path | None = None,
    latest: bool = True,
    on: BeginSession = here,
) -> ReleaseManifest:
    """Publish a release: exactly the shards of a passing report. A release never changes.

        manifest = publish("data/refined", "2026-11-21")

    `Release("data/refined/releases/latest")` reads the one that was published last.

    Args:
        input: the validated dataset, or where it is.
        release: name of the release, e.g. a date; letters, digits, dots, dashes.
        report: id of the report to release by; None for the latest.
        drop_failed: leave out every sample that missed a limit on single samples. The release is
            then in a dataset of its own, the filtered dataset.
        kept: where the filtered dataset goes; None for beside the input, `<input>-kept`.
        latest: let releases/latest.json of the dataset name this release, also where it was
            published before.
        on: begins the session in which shards of a filtered dataset are made.

    Returns:
        The manifest of the release, which is in `releases/<release>/` of the dataset.

    Raises:
        FileNotFoundError: there is no such dataset.
        NotReleasableError: the report did not pass, or is not of what the dataset holds; or a
            release of that name holds something else.
        DamagedShardError: a shard is not the one that was validated.
        OldFormatError: the dataset is of an earlier format.
        ValueError: the dataset has no report, cannot be filtered, or the name is none; or `kept`
            was given, and nothing is left out.
    """
    if kept is not None and not drop_failed:
        raise ValueError(f"kept = {kept} goes with drop_failed: else there is no filtered dataset")
    TypeAdapter(NewReleaseName).validate_python(release)
    given = dataset = Dataset.open(location_of(input))
    given.require_current_format()
    with on() as session:
        report_id = report if report is not None else latest_report(given)
        if drop_failed:
            location = str(kept) if kept is not None else beside_location(given.location)
            dataset = filter_by_report(given, report_id, location, session.make_shards)
        progress = session.progress("publish", "shards")
        manifest = publish_by_report(dataset, release, report_id, progress)
        log.info(
            "released %d samples in %d shards: %s",
            manifest.num_samples,
            len(manifest.shards),
            f"{dataset.location}/releases/{release}/manifest.json",
        )
        if latest:
            make_latest(given, release, dataset)
    return manifest


def make_latest(dataset: Dataset, release: str, within: Dataset) -> None:
    """Let the pointers to the latest release name a finished one, which is the end of a publish.

    Args:
        dataset: that was validated.
        within: the dataset that has the release: the same, or a filtered child of it.

    Raises:
        FileNotFoundError: the release is not finished, or was dropped.
    """
    if within.location != dataset.location:
        swap_latest(within, release, within)
    swap_latest(dataset, release, within)
    log.info("%s/%s names it", dataset.location, LATEST_NAME)


def is_released(dataset: Dataset, release: str) -> bool:
    """Whether a dataset has a finished release of this name."""
    try:
        read_manifest(dataset, release)
    except FileNotFoundError:
        return False
    return True


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


def beside_location(location: str) -> str:
    """Default location of the filtered child of a dataset, which need not be there yet.

    Raises:
        OptionError: the dataset is a whole bucket, beside which there is nothing.
    """
    if location.startswith("s3://") and location.count("/") == 2:
        raise OptionError(
            f"{location} is a whole bucket: say where the filtered dataset goes with --kept"
        )
    return f"{location}-kept"
