"""What keeps tars in a dataset that no shard has any more: releases, finished or begun."""

from factory.dataset.dataset import Dataset
from factory.release.state import MANIFEST, is_dropped, read_manifest, tar_of_dataset
from schemas.release import DroppedRelease, ReleaseIntent


class ReleaseFinishedError(ValueError):
    """A release was to be dropped that is finished."""


def intent_name(release: str) -> str:
    """Name of the file that begins a release."""
    return f"releases/{release}/intent.json"


def read_intent(dataset: Dataset, release: str) -> ReleaseIntent:
    """What was written first of a release.

    Raises:
        FileNotFoundError: no such release was begun.
        FormatError: it cannot be read.
    """
    name = intent_name(release)
    return ReleaseIntent.from_json(dataset.store.read(name), where=f"{dataset.location}/{name}")


def pinned_tars(dataset: Dataset) -> dict[str, str]:
    """Name to sha256 of the tars that a release names, or is going to name.

    Raises:
        FormatError: a manifest or an intent cannot be read, so that this is not known.
    """
    pinned: dict[str, str] = {}
    for release in dataset.store.folders("releases"):
        if is_dropped(dataset, release):
            continue
        try:
            shards = read_manifest(dataset, release).shards
        except FileNotFoundError:
            try:
                shards = read_intent(dataset, release).shards
            except FileNotFoundError:
                continue
        pinned |= {name: s.sha256 for s in shards if (name := tar_of_dataset(s)) is not None}
    return pinned


def drop_unfinished(dataset: Dataset, release: str, why: str) -> None:
    """Give up a release that was begun. Its name is not used again.

    Raises:
        ReleaseFinishedError: the release is finished.
    """
    dropped = DroppedRelease(why=why).to_json()
    try:
        dataset.store.put_new(f"releases/{release}/{MANIFEST}", dropped)
    except FileExistsError:
        if not is_dropped(dataset, release):
            raise ReleaseFinishedError(
                f"{dataset.location}: the release {release} is finished"
            ) from None
    _remove_files(dataset, release)


def expire(dataset: Dataset, release: str, why: str) -> None:
    """Give up a finished release, so that nothing keeps its tars. Its name is not used again.

    Raises:
        FileNotFoundError: there is no such release.
    """
    read_manifest(dataset, release)
    dataset.store.put(f"releases/{release}/{MANIFEST}", DroppedRelease(why=why).to_json())
    _remove_files(dataset, release)


def _remove_files(dataset: Dataset, release: str) -> None:
    """Everything of a release but its manifest, which says that it was dropped."""
    folder = f"releases/{release}"
    for entry in list(dataset.store.walk(folder)):
        if entry.name != f"{folder}/{MANIFEST}":
            dataset.store.delete(entry.name)
