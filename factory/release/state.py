"""Whether a release still holds what its manifest says."""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

import orjson

from factory.dataset.dataset import Dataset
from factory.dataset.names import tar_name
from factory.dataset.tar import sha256
from schemas.base import FormatError, Model
from schemas.release import MAX_DROPPED_BYTES, DroppedRelease, ReleasedShard, ReleaseManifest

MANIFEST = "manifest.json"


class ReleaseState(Model):
    """One release, and what is wrong with it."""

    name: str
    num_samples: int
    num_shards: int
    splits: dict[str, int]
    """samples in each split"""
    size: int
    """bytes of its tars together"""
    report_id: str
    gate: str
    """digest of the gate that its report passed"""
    shards: tuple[int, ...]
    broken: tuple[str, ...]
    """one line for each thing that is wrong; empty where nothing is"""
    held_back_bytes: int | None = None
    """bytes of the tars that no shard has any more and this release keeps; None where that was not
    looked at"""


class Held(NamedTuple):
    """What a dataset holds now of what releases name."""

    tar_size: Mapping[str, int]
    """bytes of every tar, by name"""
    verified: Mapping[str, str]
    """sha256 of the tars that a full check has read, by name"""
    damaged: Set[str] = frozenset()
    """names of the tars that it found damaged"""
    current: Set[str] | None = None
    """names of the tars of committed shards, where all of them were read"""


def release_names(dataset: Dataset) -> list[str]:
    """Names of the releases that are finished and were not dropped, in order."""
    return [
        name
        for name in dataset.store.folders("releases")
        if dataset.store.size(f"releases/{name}/{MANIFEST}") is not None
        and not is_dropped(dataset, name)
    ]


def is_dropped(dataset: Dataset, name: str) -> bool:
    """Whether a release was dropped before it was finished, or expired."""
    path = f"releases/{name}/{MANIFEST}"
    size = dataset.store.size(path)
    if size is None or size > MAX_DROPPED_BYTES:  # a manifest may be large
        return False
    try:
        return dropped_in(dataset.store.read(path)) is not None
    except FileNotFoundError:
        return False


def dropped_in(raw: bytes) -> DroppedRelease | None:
    """What the bytes of a manifest say of a release that was dropped; None of any other."""
    if len(raw) > MAX_DROPPED_BYTES:
        return None
    try:
        return DroppedRelease.from_json(raw, where=MANIFEST)
    except FormatError:
        return None


def release_at(location: str) -> tuple[str, str] | None:
    """(location of the dataset, name) of a location in the form of a release's; else None."""
    match = re.fullmatch(r"(.+)/releases/([^/]+)(?:/manifest\.json)?/?", location)
    return (match[1], match[2]) if match is not None else None


def held_by(
    dataset: Dataset, verified: Iterable[int] = (), damaged: Set[str] = frozenset()
) -> Held:
    """What a dataset holds of what releases name.

    Args:
        verified: shards whose tars a full check has read.
        damaged: names of the tars that it found damaged.
    """
    digests = {}
    for shard in verified:
        try:
            facts = dataset.facts(shard)
        except (FileNotFoundError, FormatError):
            continue
        digests[tar_name(facts)] = facts.tar_sha256
    tar_size = {entry.name: entry.size for entry in dataset.store.entries("shards")}
    return Held(tar_size, digests, damaged)


def broken_releases(dataset: Dataset) -> list[ReleaseState]:
    """Releases that no longer hold what their manifests say, as far as can be told without tars.

    Raises:
        FormatError: a manifest cannot be read.
    """
    held = held_by(dataset)
    manifests = (read_manifest(dataset, name) for name in release_names(dataset))
    states = (release_state(dataset, manifest, held) for manifest in manifests)
    return [state for state in states if state.broken]


def tar_of_dataset(released: ReleasedShard) -> str | None:
    """Name of the dataset's tar that a release names; None where the release has its own."""
    return None if released.rewritten_from is not None else released.url.removeprefix("../../")


def read_manifest(dataset: Dataset, name: str) -> ReleaseManifest:
    """The manifest of a release.

    Raises:
        FileNotFoundError: there is no such release.
        FormatError: the manifest cannot be read.
    """
    path = f"releases/{name}/{MANIFEST}"
    try:
        raw = dataset.store.read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{dataset.location} has no release {name!r}") from error
    if dropped_in(raw) is not None:
        raise FileNotFoundError(f"{dataset.location}: the release {name!r} was dropped")
    return ReleaseManifest.from_json(raw, where=f"{dataset.location}/{path}")


def release_state(
    dataset: Dataset, manifest: ReleaseManifest, held: Held, *, read_all: bool = False
) -> ReleaseState:
    """What a manifest says, and what of it is no longer so.

    Args:
        held: what the dataset holds now.
        read_all: also check the digests of its index and of all tars that no full check
            has read.
    """
    return ReleaseState(
        name=manifest.release,
        num_samples=manifest.num_samples,
        num_shards=len(manifest.shards),
        splits=dict(manifest.splits),
        size=sum(shard.size for shard in manifest.shards),
        report_id=manifest.report_id,
        gate=manifest.gate,
        shards=tuple(shard.shard for shard in manifest.shards),
        held_back_bytes=_held_back_bytes(manifest, held),
        broken=(
            *_wrong_shards(dataset, manifest, held, read_all),
            *_wrong_index(dataset, manifest, read_all),
            *_wrong_lists(dataset, manifest),
            *_wrong_card(dataset, manifest),
        ),
    )


def _held_back_bytes(manifest: ReleaseManifest, held: Held) -> int | None:
    if held.current is None:
        return None
    own = ((tar_of_dataset(shard), shard.size) for shard in manifest.shards)
    return sum(size for name, size in own if name is not None and name not in held.current)


def _wrong_shards(
    dataset: Dataset, manifest: ReleaseManifest, held: Held, read_all: bool
) -> Iterator[str]:
    for shard in manifest.shards:
        name = tar_of_dataset(shard)
        if name is None:
            own = f"releases/{manifest.release}/{shard.url}"
            wrong = _wrong_tar(dataset, own, dataset.store.size(own), shard, read_all)
        elif name in held.damaged:
            wrong = "is damaged"
        else:
            is_read = held.verified.get(name) == shard.sha256
            size = held.tar_size.get(name)
            wrong = _wrong_tar(dataset, name, size, shard, read_all and not is_read)
        if wrong is not None:
            yield f"shard {shard.shard} {wrong}"


def _wrong_tar(
    dataset: Dataset, name: str, size: int | None, released: ReleasedShard, read: bool
) -> str | None:
    """What is wrong with a tar that a release names."""
    if size is None:
        return "has lost its tar"
    if size != released.size:
        return f"has {size} bytes, released {released.size}"
    if read and sha256(dataset.store.read(name)) != released.sha256:
        return "is damaged"
    return None


def _wrong_index(dataset: Dataset, manifest: ReleaseManifest, read_all: bool) -> Iterator[str]:
    for part in manifest.index_parts:
        name = f"releases/{manifest.release}/{part.url}"
        if dataset.store.size(name) is None:
            yield f"{part.url} is missing"
        elif read_all and sha256(dataset.store.read(name)) != part.sha256:
            yield f"{part.url} is not the one that its manifest names"


def _wrong_lists(dataset: Dataset, manifest: ReleaseManifest) -> Iterator[str]:
    for split in manifest.splits:
        name = f"{split}.wids.json"
        try:
            raw = dataset.store.read(f"releases/{manifest.release}/{name}")
        except FileNotFoundError:
            yield f"{name} is missing"
            continue
        wanted = [
            (shard.url, shard.num_samples) for shard in manifest.shards if shard.split == split
        ]
        try:
            listed = [(s["url"], s["nsamples"]) for s in orjson.loads(raw)["shardlist"]]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            listed = None
        if listed != wanted:
            yield f"{name} lists other shards than its manifest"


def _wrong_card(dataset: Dataset, manifest: ReleaseManifest) -> Iterator[str]:
    if manifest.dataset.digest() != dataset.card.digest():
        yield "it was made from another dataset than the one it lies in"
