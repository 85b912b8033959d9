"""Give up releases, so that the tars which only they name can be removed."""

import logging
from collections.abc import Iterable
from datetime import date

from factory.dataset.children import forget_child
from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.names import tar_name
from factory.release.latest import (
    LATEST_NAME,
    dataset_of,
    is_pointed_at,
    latest_or_none,
)
from factory.release.pins import expire
from factory.release.series import Series
from factory.release.state import read_manifest, release_names, tar_of_dataset
from factory.upkeep.garbage import clean, stray_objects
from schemas.base import Model
from schemas.options import OptionError, value_of

log = logging.getLogger(__name__)
GIVEN_UP = "it was given up"


class ExpiredRelease(Model):
    """A release that is given up."""

    name: str
    freed_bytes: int
    """of the tars that neither a shard nor another release has, which can be removed then, and of
    the release's own tars"""
    is_given_up: bool
    """False: this is what would be done"""


def expire_releases(
    dataset: Dataset, names: Iterable[str], *, delete: bool
) -> tuple[ExpiredRelease, ...]:
    """Give up some releases, or only say what that would free.

    Raises:
        OptionError: there is no such release, or one of them is the latest: the newest, or the one
            that readers of `latest` get.
        FormatError: a manifest, or which release is the latest, cannot be read.
        OldFormatError: the dataset is of an earlier format.
    """
    wanted = list(dict.fromkeys(names))
    manifests = {name: read_manifest(dataset, name) for name in release_names(dataset)}
    for name in wanted:
        if name not in manifests:
            with value_of(f"--releases {name}"):
                read_manifest(dataset, name)  # says why
    latest = max(manifests, key=lambda name: (manifests[name].report_id, name), default=None)
    if latest in wanted:
        raise OptionError(
            f"--releases {latest}: it is the latest release of {dataset.location}, which does not "
            "expire"
        )
    for name in wanted:
        _require_not_pointed_at(dataset, name)
    kept = {tar_name(facts) for facts in dataset.all_facts(dataset.committed())}
    for name in manifests.keys() - set(wanted):
        kept |= {tar for shard in manifests[name].shards if (tar := tar_of_dataset(shard))}
    expired = []
    for name in wanted:
        freed = sum(s.size for s in manifests[name].shards if tar_of_dataset(s) not in kept)
        expired.append(ExpiredRelease(name=name, freed_bytes=freed, is_given_up=delete))
        if delete:
            dataset.require_current_format()
            _require_not_pointed_at(dataset, name)  # it may have become the latest meanwhile
            expire(dataset, name, GIVEN_UP)
    return tuple(expired)


def _require_not_pointed_at(dataset: Dataset, name: str) -> None:
    if is_pointed_at(dataset, name):
        raise OptionError(
            f"--releases {name}: readers of {dataset.location}/releases/latest get it, so it does "
            "not expire"
        )


def expire_outdated(
    series: Series, today: date, *, keep_releases: int | None, keep_days: int | None
) -> list[str]:
    """Give up the releases of a series that its rules do not keep, but never the latest one. What
    only they hold is freed where a filtered dataset was made for them; else `gc` can remove it.

    Args:
        today: the day, UTC.
        keep_releases: so many of the newest are kept.
        keep_days: those of the last so many days are kept.

    Returns:
        The names of the releases that were given up.

    Raises:
        FormatError: a manifest, or which release is the latest, cannot be read.
        OldFormatError: the dataset is of an earlier format.
    """
    given_up = []
    for release in series.outdated(today, keep_releases=keep_releases, keep_days=keep_days):
        # Asked for each one, because somebody may set the pointer back meanwhile.
        if (release.within.location, release.name) == _place_of_latest(series.dataset):
            continue
        release.within.require_current_format()
        expire(release.within, release.name, GIVEN_UP)
        log.info("the release %s of %s is given up", release.name, release.within.location)
        given_up.append(release.name)
    for child in series.given_up():  # also those of a night that was killed here
        _empty(series.dataset, child)
    return given_up


def _place_of_latest(dataset: Dataset) -> tuple[str, str] | None:
    """(location of the dataset that has the latest release, its name)."""
    latest = latest_or_none(dataset.store)
    if latest is None:
        return None
    return dataset_of(latest, dataset.location).location, latest.release


def _empty(parent: Dataset, child: Dataset) -> None:
    """Remove the shards of a filtered dataset whose release expired. Its card stays, so that the
    place is not used again.

    Every shard is withdrawn before its tar is removed, as everywhere.
    """
    child.store.delete(LATEST_NAME)
    for shard in child.committed():
        withdraw(child, shard, child.generation(shard), "its release has expired")
    freed = [s for s in clean(child, stray_objects(child, older_than_s=0)) if s.became == "removed"]
    num_bytes = sum(stray.size for stray in freed)
    log.info("%s: %d objects of %d bytes are removed", child.location, len(freed), num_bytes)
    forget_child(parent, child)
