"""The latest release of a dataset: `releases/latest.json`, a pointer that readers can follow.

Whoever publishes replaces it, after the manifest of the release was written, so that it never names
a release that cannot be read. The publish that ends last decides what it names. It can therefore
also be set back, by publishing an earlier release once more.

Samples that passed are released in a filtered dataset, and each report needs another one. The
pointer of the refined dataset names that dataset too, so readers always find it in the same place.
"""

from datetime import UTC, datetime

from factory.dataset.dataset import Dataset
from factory.dataset.tar import sha256
from factory.release.state import MANIFEST, is_dropped
from factory.store.base import Store
from factory.store.open import open_store
from schemas.base import FormatError
from schemas.release import (
    LATEST,
    LATEST_FILE,
    NOTHING_NEWER_FILE,
    LatestRelease,
    NothingNewer,
)

LATEST_NAME = f"releases/{LATEST_FILE}"
_NOTHING_NEWER = f"releases/{NOTHING_NEWER_FILE}"
NONE_YET = "the next publish names one, also that of a release which is there already"
_BESIDE = "../"


def read_latest(store: Store) -> LatestRelease:
    """What the pointer of a dataset says.

    Raises:
        FileNotFoundError: there is none.
        FormatError: it cannot be read.
    """
    try:
        raw = store.read(LATEST_NAME)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{store.location} has no {LATEST_NAME}, which says what its latest release is; "
            f"{NONE_YET}"
        ) from error
    return LatestRelease.from_json(raw, where=f"{store.location}/{LATEST_NAME}")


def latest_or_none(store: Store) -> LatestRelease | None:
    """What the pointer of a dataset says; None where there is none. Raises `FormatError`."""
    try:
        return read_latest(store)
    except FileNotFoundError:
        return None


def followed(store: Store, name: str) -> tuple[Store, str]:
    """(store of the dataset, name) of the release that a reader means.

    Args:
        name: of a release, or `latest`. A release that an earlier version named so comes first.

    Raises:
        FileNotFoundError: `latest` was asked for, and there is no pointer.
        FormatError: the pointer cannot be read.
    """
    is_earlier = name == LATEST and store.size(f"releases/{LATEST}/{MANIFEST}") is not None
    if is_earlier or name not in (LATEST, LATEST_FILE):
        return store, name
    latest = read_latest(store)
    return open_store(_place_of(latest, store.location)), latest.release


def dataset_of(latest: LatestRelease, location: str) -> Dataset:
    """The dataset that has the latest release of the dataset at a location.

    Raises:
        FileNotFoundError: it is not there.
        FormatError: its card cannot be read.
    """
    return Dataset.open(_place_of(latest, location))


def swap_latest(dataset: Dataset, release: str, within: Dataset) -> LatestRelease:
    """Let the pointer of a dataset name a finished release.

    Args:
        within: the dataset that has the release: the same, or a filtered child of it.

    Raises:
        FileNotFoundError: the release is not finished, or was dropped.
    """
    raw = within.store.read(f"releases/{release}/{MANIFEST}")
    if is_dropped(within, release):
        raise FileNotFoundError(f"{within.location}: the release {release!r} was dropped")
    latest = LatestRelease(
        release=release,
        manifest=sha256(raw),
        dataset=_relative(within.location, dataset.location),
        published=_now(),
    )
    dataset.store.put(LATEST_NAME, latest.to_json())
    return latest


def note_nothing_newer(dataset: Dataset) -> None:
    """Note that there is nothing new to release now, so that the latest release is not overdue."""
    dataset.store.put(_NOTHING_NEWER, NothingNewer(at=_now()).to_json())


def seen_nothing_newer(store: Store) -> datetime | None:
    """When that was noted last; None where it never was.

    Raises:
        FormatError: the note cannot be read.
    """
    try:
        raw = store.read(_NOTHING_NEWER)
    except (FileNotFoundError, NotADirectoryError):
        return None
    note = NothingNewer.from_json(raw, where=f"{store.location}/{_NOTHING_NEWER}")
    return datetime.fromisoformat(note.at)


def wrong_with_latest(dataset: Dataset) -> str | None:
    """What does not hold of a dataset's pointer, in words; None where it holds, or there is none.

    A release that a pointer names is finished, was not dropped, and has the manifest of then.
    """
    try:
        latest = latest_or_none(dataset.store)
    except FormatError as error:
        return f"cannot be read ({error})"
    if latest is None:
        return None
    location = _place_of(latest, dataset.location)
    named = f"names the release {latest.release} of {location}"
    try:
        within = dataset if latest.dataset is None else dataset_of(latest, dataset.location)
        raw = within.store.read(f"releases/{latest.release}/{MANIFEST}")
    except (OSError, FormatError) as error:
        return f"{named}, which cannot be read ({error})"
    if is_dropped(within, latest.release):
        return f"{named}, which was dropped"
    if sha256(raw) != latest.manifest:
        return f"{named}, which has another manifest now"
    return None


def is_gone(latest: LatestRelease, dataset: Dataset) -> bool:
    """Whether the release that a dataset's pointer names is not there any more: it was dropped, or
    the filtered dataset that had it was removed."""
    try:
        within = dataset_of(latest, dataset.location)
    except FileNotFoundError:
        return True
    is_there = within.store.size(f"releases/{latest.release}/{MANIFEST}") is not None
    return not is_there or is_dropped(within, latest.release)


def is_pointed_at(dataset: Dataset, release: str) -> bool:
    """Whether a dataset's pointer names a release of this same dataset.

    Raises:
        FormatError: the pointer cannot be read, so that this is not known.
    """
    latest = latest_or_none(dataset.store)
    return latest is not None and latest.dataset is None and latest.release == release


def _place_of(latest: LatestRelease, location: str) -> str:
    if latest.dataset is None:
        return location
    if latest.dataset.startswith(_BESIDE):
        return f"{location.rpartition('/')[0]}/{latest.dataset.removeprefix(_BESIDE)}"
    return latest.dataset


def _relative(within: str, location: str) -> str | None:
    """The location of a dataset as the pointer in another one says it: what lies beside it is still
    found after both were moved."""
    if within == location:
        return None
    folder, _, name = within.rpartition("/")
    return f"{_BESIDE}{name}" if folder == location.rpartition("/")[0] else within


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
