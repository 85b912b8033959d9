"""Whether a release still holds what its manifest says."""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

import orjson

from factory.dataset.dataset import Dataset
from factory.dataset.tar import sha256
from schemas.base import FormatError, Model
from schemas.dataset import ReleasedShard, ReleaseManifest

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


class Held(NamedTuple):
    """What a dataset holds now, shard by shard."""

    tar_sha256: Mapping[int, str]
    """number of every shard whose index can be read to the sha256 of its tar"""
    tar_size: Mapping[int, int]
    """number of every shard that has a tar to the bytes of the tar"""
    damaged: Set[int] = frozenset()
    """shards that a full check found damaged"""


def release_names(dataset: Dataset) -> list[str]:
    """Names of the releases that have a manifest, in order."""
    return [
        name
        for name in dataset.store.folders("releases")
        if dataset.store.size(f"releases/{name}/{MANIFEST}") is not None
    ]


def release_at(location: str) -> tuple[str, str] | None:
    """(location of the dataset, name) of a location in the form of a release's; else None."""
    match = re.fullmatch(r"(.+)/releases/([^/]+)(?:/manifest\.json)?/?", location)
    return (match[1], match[2]) if match is not None else None


def held_by(dataset: Dataset, shards: Iterable[int], damaged: Iterable[int] = ()) -> Held:
    """What a dataset holds of some shards, read from the indexes' footers and a listing of tars."""
    digests = {}
    for shard in shards:
        try:
            digests[shard] = dataset.facts(shard).tar_sha256
        except (FileNotFoundError, FormatError):
            continue
    return Held(digests, dict(dataset.numbered("shards", "tar")), frozenset(damaged))


def broken_releases(dataset: Dataset) -> list[ReleaseState]:
    """Releases that no longer hold what their manifests say, as far as can be told without tars.

    Raises:
        FormatError: a manifest cannot be read.
    """
    manifests = [read_manifest(dataset, name) for name in release_names(dataset)]
    held = held_by(dataset, {shard.shard for m in manifests for shard in m.shards})
    states = (release_state(dataset, manifest, held) for manifest in manifests)
    return [state for state in states if state.broken]


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
    return ReleaseManifest.from_json(raw, where=f"{dataset.location}/{path}")


def release_state(
    dataset: Dataset, manifest: ReleaseManifest, held: Held, *, read_all: bool = False
) -> ReleaseState:
    """What a manifest says, and what of it is no longer so.

    Args:
        held: what the dataset holds now.
        read_all: also check the digests of the merged index and of the release's own tars.
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
        broken=(
            *_wrong_shards(dataset, manifest, held, read_all),
            *_wrong_index(dataset, manifest, read_all),
            *_wrong_lists(dataset, manifest),
            *_wrong_card(dataset, manifest),
        ),
    )


def _wrong_shards(
    dataset: Dataset, manifest: ReleaseManifest, held: Held, read_all: bool
) -> Iterator[str]:
    folder = f"releases/{manifest.release}"
    for shard in manifest.shards:
        if shard.rewritten_from is None:
            wrong = _wrong_shard(shard, held)
        else:
            wrong = _wrong_own_shard(dataset, f"{folder}/{shard.url}", shard, read_all)
        if wrong is not None:
            yield f"shard {shard.shard} {wrong}"


def _wrong_own_shard(
    dataset: Dataset, name: str, released: ReleasedShard, read_all: bool
) -> str | None:
    """What is wrong with a tar of the release's own, which does not depend on the dataset's tar."""
    size = dataset.store.size(name)
    if size is None:
        return "has lost its tar"
    if size != released.size:
        return f"has {size} bytes, released {released.size}"
    if read_all and sha256(dataset.store.read(name)) != released.sha256:
        return "is damaged"
    return None


def _wrong_shard(released: ReleasedShard, held: Held) -> str | None:
    shard = released.shard
    if shard not in held.tar_sha256:
        return "is no longer committed, or its index cannot be read"
    if held.tar_sha256[shard] != released.sha256:
        return (
            f"was made again since: sha256 {held.tar_sha256[shard][:12]}…, released "
            f"{released.sha256[:12]}…"
        )
    if shard not in held.tar_size:
        return "has lost its tar"
    if held.tar_size[shard] != released.size:
        return f"has {held.tar_size[shard]} bytes, released {released.size}"
    return "is damaged" if shard in held.damaged else None


def _wrong_index(dataset: Dataset, manifest: ReleaseManifest, read_all: bool) -> Iterator[str]:
    name = f"releases/{manifest.release}/index.parquet"
    if dataset.store.size(name) is None:
        yield "index.parquet is missing"
    elif read_all and sha256(dataset.store.read(name)) != manifest.index:
        yield "index.parquet is not the one that its manifest names"


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
