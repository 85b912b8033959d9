"""Publish a release: exactly the shards that a passing report names, under a permanent name.

An input that was rewritten is in a release once, by its newest sample. A shard that holds an older
sample is written again without it, into the folder of the release.

A filtered dataset (`factory.release.filtered`) is released by the report of its parent, of which it
has a copy.

The manifest is written last, so a release exists once its manifest does. Readers use the manifest:
it lists every shard, and does not change while the dataset grows.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.dataset.kinds import repeated_columns
from factory.dataset.loading import superseded_keys
from factory.dataset.names import tar_name
from factory.dataset.tar import (
    DamagedShardError,
    pack,
    sha256,
    unpack,
)
from factory.release.pins import intent_name
from factory.release.state import MANIFEST, is_dropped, read_manifest
from factory.store.parquet import parquet_bytes
from factory.validation.gate import misses_of
from factory.validation.verdicts import (
    has_verdicts,
    is_kept,
    own_verdicts,
    read_verdicts,
    report_name,
    verdicts_name,
)
from schemas.dataset import DatasetCard
from schemas.index import ShardFacts
from schemas.release import ReleasedShard, ReleaseIntent, ReleaseManifest
from schemas.report import Report, ValidatedShard

log = logging.getLogger(__name__)


class NotReleasableError(ValueError):
    """No passing report is about what should be released, or the release's name is taken."""


def read_report(dataset: Dataset, report_id: str) -> tuple[Report, bytes]:
    """A report of a dataset, and its bytes.

    Raises:
        NotReleasableError: there is no such report.
        FormatError: the report cannot be read.
    """
    name = report_name(report_id)
    try:
        raw = dataset.store.read(name)
    except FileNotFoundError as error:
        raise NotReleasableError(f"{dataset.location} has no {name}") from error
    return Report.from_json(raw, where=f"{dataset.location}/{name}"), raw


def latest_report(dataset: Dataset) -> str:
    """Id of the newest report of a dataset; ids sort by time.

    Raises:
        NotReleasableError: the dataset has no report.
    """
    ids = dataset.store.folders("reports")
    finished = [i for i in ids if dataset.store.size(report_name(i)) is not None]
    if not finished:
        raise NotReleasableError(
            f"{dataset.location} has no report; make one with jobs/validate.py --gate"
        )
    return max(finished)


def publish(dataset: Dataset, release: str, report_id: str) -> ReleaseManifest:
    """Write a release, unless a release of that name with the same shards exists already.

    The intent, which is written first, keeps the tars of the release from being removed. A publish
    that was stopped after it is finished by another one of the same report.

    Args:
        release: its name.
        report_id: the passing report that names the shards.

    Returns:
        The manifest of the release.

    Raises:
        NotReleasableError: the report does not pass or is about another dataset; or a release of
            this name exists with other content, was begun with other content, or was dropped.
        DamagedShardError: a shard is not the one that was validated, or a filtered dataset holds a
            sample that failed.
        OldFormatError: the dataset is of an earlier format.
    """
    dataset.require_current_format()
    report, raw_report = read_report(dataset, report_id)
    check_report(dataset, report)
    for shard in report.shards:
        check_unchanged(dataset, shard)
        dataset.tar(shard.shard)
    parts = _released(dataset, report)
    shards = tuple(part.shard for part in parts)
    index = pa.concat_tables(part.rows for part in parts)
    _look_for_failed(dataset, report, index["key"])
    earlier = _released_before(dataset, release)
    if earlier is not None:
        if earlier.shards == shards:
            return earlier
        raise NotReleasableError(f"{dataset.location}/releases/{release} {NEVER_CHANGES}")
    folder = f"releases/{release}"
    _put_intent(dataset, release, sha256(raw_report), report_id, shards)
    _look_again(dataset, parts, release)
    index_bytes = parquet_bytes(index, repeated_columns(dataset.sample_kind))
    assert report.gate is not None
    manifest = ReleaseManifest(
        release=release,
        dataset=dataset.card,
        report=sha256(raw_report),
        report_id=report_id,
        gate=report.gate,
        index=sha256(index_bytes),
        num_samples=len(index),
        splits=dict(sorted(_count(index).items())),
        shards=shards,
    )
    for part in parts:
        if part.shard.rewritten_from is not None:
            put_same(
                dataset, f"{folder}/{part.shard.url}", _without(dataset, part.facts, part.rows)[0]
            )
    put_same(dataset, f"{folder}/index.parquet", index_bytes)
    for split in manifest.splits:
        members = [shard for shard in shards if shard.split == split]
        put_same(dataset, f"{folder}/{split}.wids.json", _wids(dataset, split, members))
    put_same(dataset, f"{folder}/{MANIFEST}", manifest.to_json())
    return manifest


def _put_intent(
    dataset: Dataset, release: str, report: str, report_id: str, shards: tuple[ReleasedShard, ...]
) -> None:
    """Say which tars the release is going to name, before anything else of it is written.

    Raises:
        NotReleasableError: a release of this name was begun with other shards or another report.
    """
    intent = ReleaseIntent(release=release, report=report, report_id=report_id, shards=shards)
    name = intent_name(release)
    try:
        dataset.store.put_new(name, intent.to_json())
    except FileExistsError:
        where = f"{dataset.location}/{name}"
        begun = ReleaseIntent.from_json(dataset.store.read(name), where=where)
        if begun != intent:
            raise NotReleasableError(
                f"{where}: the release {release} was begun by report {begun.report_id} with other "
                f"shards, and was not finished. Finish it with --report {begun.report_id}, "
                "abandon it with --abandon, or choose another name"
            ) from None
        log.info("finishing the release %s, which was begun before", release)


def _look_again(dataset: Dataset, parts: Iterable["_Part"], release: str) -> None:
    """See that no repair has replaced a shard before the intent kept its tar.

    What is there now stays there until the release is dropped.

    Raises:
        DamagedShardError: one has.
    """
    for part in parts:
        name = tar_name(part.facts)
        try:
            is_same = tar_name(dataset.facts(part.facts.shard)) == name
        except FileNotFoundError:
            is_same = False
        if not is_same or dataset.store.size(name) is None:
            raise DamagedShardError(
                f"{dataset.location}/{name} was replaced or lost while the release was made: "
                f"nothing was released as {release}; validate again, and publish under another name"
            )


def _released_before(dataset: Dataset, release: str) -> ReleaseManifest | None:
    """The finished release of this name. Raises `NotReleasableError` where it was dropped."""
    if is_dropped(dataset, release):
        raise NotReleasableError(
            f"{dataset.location} had a release {release}, which was dropped or has expired; a name "
            "is not used twice, so choose another one"
        )
    try:
        return read_manifest(dataset, release)
    except FileNotFoundError:
        return None


def check_report(dataset: Dataset, report: Report) -> None:
    """See that a report passes and is about a dataset, or chose the samples of a filtered one.

    Raises:
        NotReleasableError: it does not pass, or is about another dataset.
    """
    card = dataset.card
    validated = card.digest()
    if card.kept is not None and card.parent is not None:
        validated = card.parent.card
        if report.id != card.kept.report:
            raise NotReleasableError(
                f"{dataset.location} holds the samples that report {card.kept.report} kept; it is "
                f"released by that report, not by {report.id}"
            )
    if report.dataset.digest() != validated:
        raise NotReleasableError(
            f"report {report.id} is about another dataset than {dataset.location}"
        )
    if report.passed is None or report.gate is None:
        raise NotReleasableError(
            f"report {report.id} was made without a gate; validate with --gate first"
        )
    failed = misses_of(report)
    if not report.passed or failed:
        raise NotReleasableError(f"report {report.id} did not pass its gate: {', '.join(failed)}")


def validated_sha256(card: DatasetCard, facts: ShardFacts) -> str | None:
    """Digest by which a report names a shard: of its tar, or of the tar it was filtered from."""
    return facts.tar_sha256 if card.kept is None else facts.parent_sha256


def check_unchanged(dataset: Dataset, validated: ValidatedShard) -> None:
    """See that a shard is the one that was validated, by the digest in its index.

    Raises:
        DamagedShardError: the shard has changed, or is no longer committed.
    """
    where = f"{dataset.location}: shard {validated.shard}"
    try:
        facts = dataset.facts(validated.shard)
    except FileNotFoundError as error:
        raise DamagedShardError(f"{where} was validated and is no longer committed") from error
    if validated_sha256(dataset.card, facts) != validated.tar_sha256:
        raise DamagedShardError(f"{where} changed since it was validated")


def _look_for_failed(dataset: Dataset, report: Report, keys: pa.ChunkedArray) -> None:
    """Warn of samples of a release that failed; a filtered dataset must have none."""
    if dataset.card.kept is not None:
        failed = keys.filter(pc.invert(is_kept(keys, own_verdicts(dataset))))
        if len(failed):
            raise DamagedShardError(
                f"{dataset.location} holds {len(failed)} samples that {verdicts_name(report.id)} "
                f"does not keep, the first is {failed[0]}; mend it with jobs/describe.py --repair"
            )
    elif has_verdicts(dataset, report.id):
        failed = keys.filter(pc.invert(is_kept(keys, read_verdicts(dataset, report)[0])))
        if len(failed):
            log.warning(
                "%d of the %d released samples missed the limits on single samples; publish with "
                "--drop-failed to release only the others",
                len(failed),
                len(keys),
            )


class _Part(NamedTuple):
    """One shard of a release, and the rows of its samples."""

    shard: ReleasedShard
    rows: pa.Table
    facts: ShardFacts
    """of the dataset's shard"""


def _released(dataset: Dataset, report: Report) -> list[_Part]:
    """The shards of a release of the validated shards; those without samples are left out."""
    numbers = [validated.shard for validated in report.shards]
    old = superseded_keys(dataset, numbers)
    parts = []
    for number in numbers:
        rows, facts = dataset.index_and_facts(number)
        newest = rows
        if old is not None:
            newest = rows.filter(pc.invert(pc.is_in(rows["key"], old)))
        if len(newest):
            if len(newest) == len(rows):
                parts.append(_whole_shard(facts, rows))
            else:
                parts.append(_rewritten_shard(dataset, facts, newest))
    if not parts:
        raise NotReleasableError(f"the shards that report {report.id} names hold no samples")
    return parts


def _whole_shard(facts: ShardFacts, rows: pa.Table) -> _Part:
    shard = ReleasedShard(
        shard=facts.shard,
        url=f"../../{tar_name(facts)}",
        sha256=facts.tar_sha256,
        size=facts.tar_size,
        num_samples=facts.num_samples,
        split=facts.split,
    )
    return _Part(shard, rows, facts)


def _rewritten_shard(dataset: Dataset, facts: ShardFacts, rows: pa.Table) -> _Part:
    """A shard of this release alone, without the samples that newer ones supersede.

    It is written because the dataset's shards never change, and a reader that streams a tar does
    not read the index that would tell it what to skip.
    """
    tar, rows = _without(dataset, facts, rows)
    shard = ReleasedShard(
        shard=facts.shard,
        url=f"shards/{facts.shard:06d}.tar",
        rewritten_from=facts.tar_sha256,
        sha256=sha256(tar),
        size=len(tar),
        num_samples=len(rows),
        split=facts.split,
    )
    return _Part(shard, rows, facts)


def _without(dataset: Dataset, facts: ShardFacts, rows: pa.Table) -> tuple[bytes, pa.Table]:
    """A tar of some samples of one shard, and their rows with their offsets in it."""
    keys = set(rows["key"].to_pylist())
    tar = pack(sample for sample in dataset.samples(facts.shard, facts) if sample.key in keys)
    samples = list(unpack(tar, where=f"{dataset.location}: shard {facts.shard} as rewritten"))
    assert [sample.key for sample in samples] == rows["key"].to_pylist()
    for name in ("png_offset", "json_offset"):
        offsets = pa.array([getattr(sample, name) for sample in samples], pa.int64())
        column = rows.schema.get_field_index(name)
        rows = rows.set_column(column, rows.schema.field(column), offsets)
    return tar, rows


def _count(index: pa.Table) -> Counter[str]:
    return Counter(index["split"].to_pylist())


def _wids(dataset: Dataset, split: str, shards: Iterable[ReleasedShard]) -> bytes:
    """A shard list in the JSON form that indexed WebDataset readers take."""
    listing = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": f"{dataset.card.name}-{split}",
        "shardlist": [
            {"url": shard.url, "nsamples": shard.num_samples, "filesize": shard.size}
            for shard in shards
        ],
    }
    return orjson.dumps(listing, option=orjson.OPT_INDENT_2)


NEVER_CHANGES = "exists with other content: a release never changes; choose another name"


def put_same(dataset: Dataset, name: str, content: bytes, otherwise: str = NEVER_CHANGES) -> None:
    """Write an object, unless it exists already with the same content.

    Args:
        otherwise: the end of the message about an object with other content, after its name.

    Raises:
        NotReleasableError: the object exists with other content.
    """
    try:
        dataset.store.put_new(name, content)
    except FileExistsError:
        if dataset.store.read(name) != content:
            raise NotReleasableError(f"{dataset.location}/{name} {otherwise}") from None
