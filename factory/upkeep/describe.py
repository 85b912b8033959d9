"""What is in a dataset, from its listings, the footers of its indexes and their label columns."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.lineage import Ancestor, lineage_of, open_parent
from factory.dataset.names import index_name, rejects_name, tar_name
from factory.dataset.shard_records import Record
from factory.ingestion.rejects import reason_class
from factory.release.filtered import FilteredContent
from factory.release.latest import LATEST_NAME, latest_or_none
from factory.release.publish import finished_reports, read_report, validated_sha256
from factory.release.state import (
    Held,
    ReleaseState,
    held_by,
    read_manifest,
    release_names,
    release_state,
)
from factory.store.parquet import read_columns, read_parquet
from factory.upkeep.label_spread import ColumnSpread, LabelSpread
from factory.validation.verdicts import report_name
from factory.validation.withheld import withheld_shards
from schemas.base import FormatError, Model
from schemas.dataset import DatasetCard, RunRecord
from schemas.index import ShardFacts, facts_of
from schemas.release import LatestRelease
from schemas.withheld import WithheldShard

Read = TypeVar("Read")
NONE_WITHHELD: dict[int, WithheldShard] = {}
MAX_RUNS = 5
READERS = 8
"""indexes read at once: waiting for an object store, not computing"""
IN_FLIGHT = 64
"""indexes held in memory at most"""


class SplitCount(Model):
    """One split."""

    num_shards: int
    num_samples: int


class RejectCount(Model):
    """Inputs that did not become samples."""

    num_rejected: int
    num_filtered: int
    rejected: dict[str, int]
    """reason to number of inputs, most frequent first"""
    filtered: dict[str, int]


class Gaps(Model):
    """What one might expect in the dataset and is missing."""

    not_committed: tuple[int, ...]
    """shards that are planned (for a refined dataset: that its parent has; for a filtered one: that
    its report names) and not committed"""
    skipped: tuple[int, ...]
    """numbers below the highest that nothing planned and nothing holds"""
    num_missing_samples: int
    """planned inputs of committed shards that were rejected or filtered"""
    num_shards_with_missing: int


class ReportLine(Model):
    """One validation report."""

    id: str
    passed: bool | None
    """None: it was made without a gate"""
    created: str
    num_samples: int
    failed: tuple[str, ...]
    """measures that missed their limit"""
    of_present_shards: bool
    """whether all shards that it speaks of are still those"""


class RunLine(Model):
    """One job run."""

    id: str
    job: str
    started: str
    version: str


class Description(Model):
    """What is in a dataset."""

    location: str
    card: DatasetCard
    card_digest: str
    num_shards: int
    """committed"""
    num_planned: int | None
    """shards with a plan; None where there are no plans, as in a refined dataset"""
    num_samples: int
    num_superseding: int
    """samples that replace an older one of the same input"""
    splits: dict[str, SplitCount]
    tars_bytes: int
    index_bytes: int
    labels: tuple[ColumnSpread, ...]
    identities: dict[str, int]
    """identity to number of samples, most frequent first"""
    num_without_identity: int
    rejects: RejectCount
    gaps: Gaps
    suspect: dict[int, str]
    """shards that are damaged, as shows without reading their tars, and why"""
    lineage: tuple[Ancestor, ...]
    writers: dict[str, int]
    """program version to number of shards that it wrote"""
    reports: tuple[ReportLine, ...]
    releases: tuple[ReleaseState, ...]
    latest: LatestRelease | None
    """the release that was published last, in this dataset or a filtered one; None where there is
    no pointer to it, or none that can be read"""
    withheld: dict[int, WithheldShard]
    """shards of which releases of nights hold nothing"""
    unreadable: dict[str, str]
    """reports, releases, rejects and runs that exist and cannot be read, and why"""
    num_runs: int
    runs: tuple[RunLine, ...]
    """the latest"""


class _Index(NamedTuple):
    shard: int
    size: int
    facts: ShardFacts | None
    rows: pa.Table | None
    error: str = ""


@dataclass
class _Total:
    """Sums over shards."""

    num_samples: int = 0
    num_superseding: int = 0
    tars_bytes: int = 0
    index_bytes: int = 0
    num_rejected: int = 0
    num_filtered: int = 0
    num_missing: int = 0
    num_shards_with_missing: int = 0
    num_without_identity: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    split_samples: Counter[str] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    labels: LabelSpread = field(default_factory=LabelSpread)
    tars: set[str] = field(default_factory=set)
    """names of the tars of committed shards"""
    validated_sha256: dict[int, str | None] = field(default_factory=dict)
    """of each shard, the digest that a report would name"""
    suspect: dict[int, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, facts: ShardFacts, rows: pa.Table) -> None:
        self.num_samples += facts.num_samples
        self.tars_bytes += facts.tar_size
        self.num_rejected += facts.num_rejected
        self.num_filtered += facts.num_filtered
        missing = facts.num_planned - facts.num_samples
        self.num_missing += missing
        self.num_shards_with_missing += missing > 0
        self.splits[facts.split] += 1
        self.split_samples[facts.split] += facts.num_samples
        self.writers[facts.writer] += 1
        self.tars.add(tar_name(facts))
        self.num_superseding += len(rows) - rows["supersedes"].null_count
        for identity, count in Counter(rows["identity"].to_pylist()).items():
            if identity is None:
                self.num_without_identity += count
            else:
                self.identities[identity] += count
        self.labels.add(rows.drop_columns(["supersedes", "identity"]))


def describe(
    dataset: Dataset,
    *,
    parent: str | None = None,
    on_shard: Callable[[int], None] | None = None,
) -> Description:
    """Everything that can be said without reading images.

    Args:
        parent: where a refined dataset's parent is now; None for the location in its card.
        on_shard: called with the number of every shard that was added up.

    Raises:
        OtherParentError: `parent` was given and is not the parent.
    """
    total = _Total()
    held = held_by(dataset)
    indexes = dataset.indexes()
    for index in _read_indexes(dataset, indexes):
        _add(dataset, total, index, held.tar_size)
        if on_shard is not None:
            on_shard(index.shard)
    committed = list(indexes)
    planned = dataset.planned() if dataset.card.parent is None else None
    reports = tuple(_reports(dataset, total))
    held = held._replace(current=total.tars)
    releases = tuple(_releases(dataset, held, total.unreadable))
    runs = dataset.store.folders("runs")
    return Description(
        location=dataset.location,
        card=dataset.card,
        card_digest=dataset.card.digest(),
        num_shards=len(committed),
        num_planned=len(planned) if planned is not None else None,
        num_samples=total.num_samples,
        num_superseding=total.num_superseding,
        splits={
            split: SplitCount(
                num_shards=total.splits[split], num_samples=total.split_samples[split]
            )
            for split in dataset.card.splits
        },
        tars_bytes=total.tars_bytes,
        index_bytes=total.index_bytes,
        labels=total.labels.spreads(),
        identities=dict(total.identities.most_common()),
        num_without_identity=total.num_without_identity,
        rejects=RejectCount(
            num_rejected=total.num_rejected,
            num_filtered=total.num_filtered,
            rejected=dict(total.rejected.most_common()),
            filtered=dict(total.filtered.most_common()),
        ),
        gaps=_gaps(dataset, total, committed, planned, parent),
        suspect=total.suspect,
        lineage=lineage_of(dataset),
        writers=dict(total.writers.most_common()),
        reports=reports,
        releases=releases,
        latest=_read_or(None, lambda: latest_or_none(dataset.store), LATEST_NAME, total),
        withheld=_read_or(NONE_WITHHELD, lambda: withheld_shards(dataset), "withheld/", total),
        num_runs=len(runs),
        runs=tuple(_runs(dataset, runs[-MAX_RUNS:], total.unreadable)),
        unreadable=total.unreadable,
    )


def _read_indexes(dataset: Dataset, indexes: Mapping[int, Record]) -> Iterator[_Index]:
    """In order, a few ahead of who reads them."""
    labels = dataset.sample_kind.columns(dataset.card.labelled)
    columns = ["identity", "supersedes", *(label.name for label in labels), "png_length"]
    with ThreadPoolExecutor(READERS) as pool:
        left = iter(indexes.items())
        while some := list(islice(left, IN_FLIGHT)):
            yield from pool.map(partial(_read_index, dataset, columns), some)


def _read_index(dataset: Dataset, columns: list[str], listed: tuple[int, Record]) -> _Index:
    shard, record = listed
    name, size = index_name(shard, record.generation), record.size
    try:
        rows, metadata = read_columns(dataset.store, name, size, columns)
        facts = facts_of(metadata, where=f"{dataset.location}/{name}")
        return _Index(shard, size, facts, rows)
    except FileNotFoundError:
        return _Index(shard, size, None, None, "its index is gone")
    except FormatError as error:
        return _Index(shard, size, None, None, f"its index cannot be read ({error})")


def _add(dataset: Dataset, total: _Total, index: _Index, tar_size: Mapping[str, int]) -> None:
    shard, facts = index.shard, index.facts
    total.index_bytes += index.size
    if facts is None or index.rows is None:
        total.suspect[shard] = index.error
        return
    total.add(facts, index.rows)
    total.validated_sha256[shard] = validated_sha256(dataset.card, facts)
    name = tar_name(facts)
    size = tar_size.get(name)
    if size is None:  # it may have been written since the tars were listed
        size = dataset.store.size(name)
    if size is None:
        total.suspect[shard] = "its tar is missing"
    elif size != facts.tar_size:
        total.suspect[shard] = f"its tar has {size} bytes, {facts.tar_size} were committed"
    if facts.num_rejected or facts.num_filtered:
        _add_rejects(dataset, total, facts)


def _add_rejects(dataset: Dataset, total: _Total, facts: ShardFacts) -> None:
    name = rejects_name(facts)
    try:
        rows = read_parquet(dataset.store, name)[0].to_pylist()
    except (FileNotFoundError, FormatError) as error:
        total.unreadable[name] = f"{error}"
        return
    for row in rows:
        counts = total.filtered if row["kind"] == "filtered" else total.rejected
        counts[reason_class(row["reason"], row["kind"])] += 1


def _gaps(
    dataset: Dataset,
    total: _Total,
    committed: list[int],
    planned: list[int] | None,
    parent: str | None,
) -> Gaps:
    wanted = set(planned if planned is not None else _shards_of_parent(dataset, parent))
    have = set(committed)
    return Gaps(
        not_committed=tuple(sorted(wanted - have)),
        skipped=tuple(sorted(set(range(max(wanted | have, default=-1) + 1)) - wanted - have)),
        num_missing_samples=total.num_missing,
        num_shards_with_missing=total.num_shards_with_missing,
    )


def _shards_of_parent(dataset: Dataset, location: str | None) -> list[int]:
    try:
        parent = open_parent(dataset, location)
    except (OSError, ValueError):
        if location is not None:
            raise
        return []  # the lineage says that it cannot be reached
    if dataset.card.kept is not None:
        with suppress(FormatError):  # the list of unreadable reports has it
            return sorted(FilteredContent(dataset, parent).validated)
    return parent.committed() if parent is not None else []


def _reports(dataset: Dataset, total: _Total) -> Iterator[ReportLine]:
    for report_id in finished_reports(dataset):
        try:
            report, _ = read_report(dataset, report_id)
        except FormatError as error:
            total.unreadable[report_name(report_id)] = f"{error}"
            continue
        yield ReportLine(
            id=report.id,
            passed=report.passed,
            created=report.created,
            num_samples=report.num_samples,
            failed=tuple(check.measure for check in report.checks if not check.passed),
            of_present_shards=all(
                total.validated_sha256.get(shard.shard) == shard.tar_sha256
                for shard in report.shards
            ),
        )


def _releases(dataset: Dataset, held: Held, unreadable: dict[str, str]) -> Iterator[ReleaseState]:
    for name in release_names(dataset):
        try:
            manifest = read_manifest(dataset, name)
        except FormatError as error:
            unreadable[f"releases/{name}/manifest.json"] = f"{error}"
            continue
        yield release_state(dataset, manifest, held)


def _read_or(otherwise: Read, read: Callable[[], Read], name: str, total: _Total) -> Read:
    """What can be read; something else where it cannot, which is noted."""
    try:
        return read()
    except FormatError as error:
        total.unreadable[name] = f"{error}"
        return otherwise


def _runs(dataset: Dataset, names: Iterable[str], unreadable: dict[str, str]) -> Iterator[RunLine]:
    for name in names:
        path = f"runs/{name}/config.json"
        try:
            record = RunRecord.from_json(dataset.store.read(path), where=path)
        except (FileNotFoundError, FormatError) as error:
            unreadable[path] = f"{error}"
            continue
        yield RunLine(id=name, job=record.job, started=record.started, version=record.version)
