"""Give up releases, so that the tars which only they name can be removed."""

from collections.abc import Iterable

from factory.dataset.dataset import Dataset
from factory.dataset.names import tar_name
from factory.release.latest import is_pointed_at
from factory.release.pins import expire
from factory.release.state import read_manifest, release_names, tar_of_dataset
from schemas.base import Model
from schemas.options import OptionError, value_of


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
            expire(dataset, name, "it was given up")
    return tuple(expired)


def _require_not_pointed_at(dataset: Dataset, name: str) -> None:
    if is_pointed_at(dataset, name):
        raise OptionError(
            f"--releases {name}: readers of {dataset.location}/releases/latest get it, so it does "
            "not expire"
        )
