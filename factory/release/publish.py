"""Publish a release: exactly the shards that a passing report names, under a permanent name.

A filtered dataset (`factory.release.filtered`) is released by the report of its parent, of which it
has a copy.

The manifest is written last, so a release exists once its manifest does. Readers use the manifest:
it lists every shard, and does not change while the dataset grows.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson
import pyarrow.compute as pc

from factory.dataset.dataset import Dataset
from factory.dataset.names import tar_name
from factory.dataset.shard_tasks import Progress, no_progress
from factory.dataset.tar import DamagedShardError, sha256
from factory.release.content import ReleaseContent
from factory.release.pins import intent_name, read_intent
from factory.release.state import MANIFEST, is_dropped, read_manifest
from factory.validation.gate import misses_of
from factory.validation.verdicts import (
    has_verdicts,
    own_verdicts,
    read_verdicts,
    report_name,
    verdicts_name,
)
from schemas.dataset import DatasetCard
from schemas.index import ShardFacts
from schemas.release import ReleasedShard, ReleaseIntent, ReleaseManifest
from schemas.report import Report

TARS_AT_ONCE = 4
"""that are read at once, some megabytes of each"""
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


def finished_reports(dataset: Dataset) -> list[str]:
    """Ids of the reports of a dataset that are finished; they sort by time, and are in order."""
    ids = dataset.store.folders("reports")
    return [i for i in ids if dataset.store.size(report_name(i)) is not None]


def latest_report(dataset: Dataset) -> str:
    """Id of the newest report of a dataset.

    Raises:
        NotReleasableError: the dataset has no report.
    """
    finished = finished_reports(dataset)
    if not finished:
        raise NotReleasableError(
            f"{dataset.location} has no report; make one with jobs/validate.py --gate"
        )
    return finished[-1]


def publish(
    dataset: Dataset, release: str, report_id: str, progress: Progress = no_progress
) -> ReleaseManifest:
    """Write a release, unless a release of that name with the same shards exists already.

    The intent, which is written first, keeps the tars of the release from being removed. A publish
    that was stopped after it is finished by another one of the same report.

    Args:
        release: its name.
        report_id: the passing report that names the shards.
        progress: of the shards whose tars are read.

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
    facts = unchanged_facts(dataset, report)
    _check_tars(dataset, facts, progress)
    content = ReleaseContent(dataset, facts)
    shards = content.released
    if not shards:
        raise NotReleasableError(f"the shards that report {report.id} names hold no samples")
    _look_for_failed(dataset, report, content)
    earlier = _released_before(dataset, release)
    if earlier is not None:
        if earlier.shards == shards:
            return earlier
        raise NotReleasableError(f"{dataset.location}/releases/{release} {NEVER_CHANGES}")
    folder = f"releases/{release}"
    _put_intent(dataset, release, sha256(raw_report), report_id, shards)
    _look_again(dataset, content, release)
    index_parts = content.write(lambda url, raw: put_same(dataset, f"{folder}/{url}", raw))
    assert report.gate is not None
    splits: Counter[str] = Counter()
    for shard in shards:
        splits[shard.split] += shard.num_samples
    manifest = ReleaseManifest(
        release=release,
        dataset=dataset.card,
        report=sha256(raw_report),
        report_id=report_id,
        gate=report.gate,
        index_parts=index_parts,
        num_samples=splits.total(),
        splits=dict(sorted(splits.items())),
        shards=shards,
    )
    for split in manifest.splits:
        tars = [(of.url, of.num_samples, of.size) for of in shards if of.split == split]
        listing = wids_index(f"{dataset.card.name}-{split}", tars)
        put_same(dataset, f"{folder}/{split}.wids.json", listing)
    put_same(dataset, f"{folder}/{MANIFEST}", manifest.to_json())
    return manifest


def _check_tars(dataset: Dataset, facts: Sequence[ShardFacts], progress: Progress) -> None:
    """Read every tar. Raises `DamagedShardError` where one is not what its index says."""
    with ThreadPoolExecutor(TARS_AT_ONCE) as pool, progress(len(facts)) as on_shard:
        for of, _ in zip(facts, pool.map(dataset.check_tar, facts), strict=True):
            on_shard(of.shard)


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
        begun = read_intent(dataset, release)
        if begun != intent:
            raise NotReleasableError(
                f"{dataset.location}/{name}: the release {release} was begun by report "
                f"{begun.report_id} with other shards, and was not finished. Finish it with "
                f"--report {begun.report_id}, abandon it with --abandon, or choose another name"
            ) from None
        log.info("finishing the release %s, which was begun before", release)


def _look_again(dataset: Dataset, content: ReleaseContent, release: str) -> None:
    """See that no repair has replaced a shard before the intent kept its tar.

    What is there now stays there until the release is dropped.

    Raises:
        DamagedShardError: one has.
    """
    records = dataset.records()
    tars = {entry.name for entry in dataset.store.entries("shards")}
    for _, facts in content.shards:
        name, record = tar_name(facts), records.get(facts.shard)
        is_same = record is not None and record.generation == facts.generation
        if name not in tars or not (is_same or _names_still(dataset, facts)):
            raise DamagedShardError(
                f"{dataset.location}/{name} was replaced or lost while the release was made: "
                f"nothing was released as {release}; validate again, and publish under another name"
            )


def _names_still(dataset: Dataset, facts: ShardFacts) -> bool:
    """Whether a shard has the same tar as before, in whichever generation."""
    try:
        return tar_name(dataset.facts(facts.shard)) == tar_name(facts)
    except FileNotFoundError:  # it was withdrawn
        return False


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


def unchanged_facts(dataset: Dataset, report: Report) -> list[ShardFacts]:
    """The facts of the shards that were validated, which have the digests of then in their indexes.

    Raises:
        DamagedShardError: a shard has changed, or is no longer committed.
    """
    committed = set(dataset.committed())
    for shard in report.shards:
        if shard.shard not in committed:
            raise DamagedShardError(
                f"{dataset.location}: shard {shard.shard} was validated and is no longer committed"
            )
    facts = dataset.all_facts(shard.shard for shard in report.shards)
    for shard, now in zip(report.shards, facts, strict=True):
        if validated_sha256(dataset.card, now) != shard.tar_sha256:
            raise DamagedShardError(
                f"{dataset.location}: shard {shard.shard} changed since it was validated"
            )
    return facts


def _look_for_failed(dataset: Dataset, report: Report, content: ReleaseContent) -> None:
    """Warn of samples of a release that failed; a filtered dataset must have none."""
    if dataset.card.kept is not None:
        verdicts = own_verdicts(dataset)
        for shard, keys in content.keys_by_shard():
            failed = keys.filter(pc.invert(verdicts.is_kept(keys, shard)))
            if len(failed):
                raise DamagedShardError(
                    f"{dataset.location}: shard {shard} holds {len(failed)} samples that "
                    f"{verdicts_name(report.id)} does not keep, the first is {failed[0]}; mend it "
                    "with jobs/repair.py"
                )
    elif has_verdicts(dataset, report.id):
        # They are on exactly the samples of the release, or else they are refused.
        keep = read_verdicts(dataset, report)[0].table["keep"]
        num_failed = len(keep) - pc.sum(keep, min_count=0).as_py()
        if num_failed:
            log.warning(
                "%d of the %d released samples missed the limits on single samples; publish with "
                "--drop-failed to release only the others",
                num_failed,
                len(keep),
            )


def wids_index(name: str, tars: Iterable[tuple[str, int, int]]) -> bytes:
    """A shard list in the JSON form that indexed WebDataset readers take.

    Args:
        name: of the data set.
        tars: (URL, samples, bytes) of each.
    """
    listing = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": name,
        "shardlist": [
            {"url": url, "nsamples": num_samples, "filesize": size}
            for url, num_samples, size in tars
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
