"""The filtered child of a refined dataset: the samples that validation kept, byte for byte.

Shard i from shard i of those that the report names. Of an input that was rewritten only the newest
sample can be kept, as in a release: its older ones stay out even where the newest one failed. The
child has its own copy of the report and the verdicts, so that it says by itself what it holds.
"""

import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from factory.dataset.commit import Expected, commit_shard
from factory.dataset.dataset import Dataset, index_name, tar_name
from factory.dataset.loading import superseded_keys
from factory.dataset.shard_tasks import MakeTask
from factory.dataset.tar import DamagedShardError, sha256
from factory.refinement.shards import carried
from factory.release.publish import (
    NotReleasableError,
    check_report,
    check_unchanged,
    put_same,
    read_report,
)
from factory.store.parquet import read_parquet
from factory.validation.verdicts import (
    has_verdicts,
    is_kept,
    own_verdicts,
    read_verdicts,
    report_name,
    verdicts_name,
)
from schemas.base import FormatError, digest_of
from schemas.dataset import DatasetCard, KeptBy, ParentRef
from schemas.index import facts_of
from schemas.outcome import Outcome
from schemas.report import Report

NOT_THE_PARENTS = "is not the parent's any more; remove it, and the same command puts it back"


def kept_card(parent: Dataset, report: Report, verdicts_sha256: str, name: str) -> DatasetCard:
    """The card of the dataset of what a report's verdicts keep of its dataset."""
    card = parent.card
    kept = KeptBy(parent=card.config_digest, report=report.id, verdicts=verdicts_sha256)
    config: dict[str, JsonValue] = {"kept": kept.model_dump(mode="json")}
    return DatasetCard(
        name=name,
        kind="refined",
        domain=card.domain,
        labelled=card.labelled,
        image=card.image,
        shard_size=card.shard_size,
        splits=card.splits,
        parent=ParentRef(location=parent.location, card=card.digest()),
        refiner=card.refiner,
        config=config,
        config_digest=digest_of(config),
    )


def enter_kept(parent: Dataset, report_id: str, location: str, name: str) -> Dataset:
    """The filtered child of a dataset at a location, with its report; made if there is none yet.

    Nothing is written unless the report may be released by.

    Raises:
        ValueError: the dataset is not a refined one, or is filtered itself.
        NotReleasableError: the report does not pass, has no verdicts or keeps nothing; or another
            copy of it lies in the child.
        DamagedShardError: a shard is not the one that was validated.
        CardMismatchError: another dataset lies there; says what differs.
    """
    card = parent.card
    if card.kept is not None:
        raise ValueError(
            f"{parent.location} holds only what report {card.kept.report} kept already; publish "
            "it without --drop-failed"
        )
    if card.kind != "refined":
        raise ValueError(f"{parent.location} is a {card.kind} dataset; refined ones are filtered")
    report, raw_report = read_report(parent, report_id)
    check_report(parent, report)
    raw_verdicts = _releasable_verdicts(parent, report)
    child = Dataset.enter(location, kept_card(parent, report, sha256(raw_verdicts), name))
    put_same(child, verdicts_name(report_id), raw_verdicts, NOT_THE_PARENTS)
    page = report_name(report_id).replace(".json", ".html")
    if parent.store.size(page) is not None:
        put_same(child, page, parent.store.read(page), NOT_THE_PARENTS)
    # Last: a report exists once its numbers do.
    put_same(child, report_name(report_id), raw_report, NOT_THE_PARENTS)
    return child


def _releasable_verdicts(parent: Dataset, report: Report) -> bytes:
    """A report's verdicts, as a file, on a dataset that still is what it speaks of."""
    if not has_verdicts(parent, report.id):
        raise NotReleasableError(
            f"{parent.location} has no {verdicts_name(report.id)}: an older version validated it, "
            "as a whole; validate again"
        )
    for validated in report.shards:
        check_unchanged(parent, validated)
    verdicts, raw = read_verdicts(parent, report)
    if not pc.any(verdicts["keep"]).as_py():
        raise NotReleasableError(
            f"report {report.id} keeps none of its {len(verdicts)} samples; there would be nothing "
            "to release"
        )
    return raw


def reasons_in(verdicts: pa.Table) -> Counter[str]:
    """How many samples missed each limit; one may have missed several."""
    return Counter(reason for some in verdicts["reasons"].to_pylist() for reason in some or ())


@dataclass
class Keeping:
    """Which samples a filtered dataset has to hold. Reads its own copy of report and verdicts.

    Raises, in each of its parts:
        FormatError: that copy is missing or damaged.
    """

    dataset: Dataset
    parent: Dataset | None
    """for `expected` alone"""

    @cached_property
    def validated(self) -> dict[int, str]:
        """Shard of the parent to the digest that it was validated by."""
        kept = self.dataset.card.kept
        assert kept is not None, self.dataset.location
        try:
            report, _ = read_report(self.dataset, kept.report)
        except NotReleasableError as error:
            raise FormatError(f"{error}; publish --drop-failed puts it back") from error
        return {shard.shard: shard.tar_sha256 for shard in report.shards}

    @cached_property
    def verdicts(self) -> pa.Table:
        """Of the parent's validated samples."""
        return own_verdicts(self.dataset)

    def among(self, rows: pa.Table) -> pa.Table:
        """Those of some index rows that the verdicts keep."""
        return rows.filter(is_kept(rows["key"], self.verdicts))

    def expected(self, shard: int) -> Expected:
        """What a shard has to be.

        Raises:
            FileNotFoundError: the report does not name it, or the parent lost a validated shard.
            DamagedShardError: the parent's shard is not the one that was validated.
            ValueError: there is no parent.
        """
        if shard not in self.validated:
            raise FileNotFoundError(f"{self.dataset.location}: its report names no shard {shard}")
        if self.parent is None:
            raise ValueError(
                f"{self.dataset.location}: what shard {shard} has to be is in its parent"
            )
        rows, metadata = read_parquet(self.parent.store, index_name(shard))
        facts = facts_of(metadata, where=f"{self.parent.location}/{index_name(shard)}")
        if facts.tar_sha256 != self.validated[shard]:
            raise DamagedShardError(
                f"{self.parent.location}/{tar_name(shard)} changed since it was validated; "
                "validate again"
            )
        if self._superseded is not None:
            rows = rows.filter(pc.invert(pc.is_in(rows["key"], self._superseded)))
        return carried(
            self.among(rows),
            shard=shard,
            split=facts.split,
            parent_sha256=facts.tar_sha256,
            refined_from=facts.parent_sha256,
        )

    @cached_property
    def _superseded(self) -> pa.Array | None:
        assert self.parent is not None
        return superseded_keys(self.parent, self.validated)


@dataclass
class ShardKeeper:
    """Copies the samples that were kept, a shard at a time."""

    dataset: Dataset
    parent: Dataset

    def __post_init__(self) -> None:
        self._keeping = Keeping(self.dataset, self.parent)

    def __call__(self, shard: int) -> Outcome:
        """Raises `DamagedShardError`: the parent's shard is not what was validated."""
        started = time.perf_counter()
        expected = self._keeping.expected(shard)
        keys = set(expected.keys)
        samples = list(self.parent.samples(shard))
        kept = [sample for sample in samples if sample.key in keys]
        facts = commit_shard(self.dataset, expected, kept, carried=True)
        return Outcome(
            shard=shard,
            num_samples=facts.num_samples,
            num_filtered=len(samples) - facts.num_samples,
            seconds=time.perf_counter() - started,
        )


def keep_task(dataset: Dataset, parent: Dataset) -> MakeTask:
    """What a worker needs to make shards of a filtered dataset."""
    return partial(ShardKeeper, dataset, parent)
