"""The filtered child of a refined dataset: the samples that validation kept, byte for byte.

Shard i is made from shard i of the parent, for every shard that the report names. Of an input that
was rewritten only the newest sample can be kept, as in a release; its older samples are left out
even where the newest one failed. The child has its own copy of the report and the verdicts, so
that what it holds can be read from the child alone.
"""

import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import JsonValue

from factory.dataset.children import register_child
from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected
from factory.dataset.loading import superseded_keys, without_keys
from factory.dataset.shard_tasks import MakeTask
from factory.dataset.tar import DamagedShardError, sha256
from factory.release.publish import (
    NotReleasableError,
    check_report,
    put_same,
    read_report,
    unchanged_facts,
)
from factory.validation.verdicts import (
    Verdicts,
    has_verdicts,
    own_verdicts,
    read_verdicts,
    report_name,
    verdicts_name,
)
from schemas.base import FormatError, digest_of
from schemas.dataset import DatasetCard, FilteredBy, ParentRef
from schemas.outcome import Outcome
from schemas.report import Report

NOT_THE_PARENTS = "differs from the parent's; remove it, and run the same command to copy it again"


def filtered_card(parent: Dataset, report: Report, verdicts_sha256: str, name: str) -> DatasetCard:
    """The card of the dataset that holds the samples which a report's verdicts keep."""
    card = parent.card
    filtered_by = FilteredBy(parent=card.config_digest, report=report.id, verdicts=verdicts_sha256)
    config: dict[str, JsonValue] = {"kept": filtered_by.model_dump(mode="json")}
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


def enter_filtered(parent: Dataset, report_id: str, location: str, name: str) -> Dataset:
    """The filtered child of a dataset at a location, with its report; made if there is none yet.

    Nothing is written unless the report permits a release.

    Raises:
        ValueError: the dataset is not a refined one, or is filtered itself.
        NotReleasableError: the report does not pass, has no verdicts or keeps no sample; or the
            child holds a different copy of it.
        DamagedShardError: a shard is not the one that was validated.
        CardMismatchError: another dataset lies at the location; the message says what differs.
    """
    card = parent.card
    if card.kept is not None:
        raise ValueError(
            f"{parent.location} already holds only what report {card.kept.report} kept; "
            "publish it without --drop-failed"
        )
    if card.kind != "refined":
        raise ValueError(f"{parent.location} is a {card.kind} dataset; refined ones are filtered")
    report, raw_report = read_report(parent, report_id)
    check_report(parent, report)
    raw_verdicts = _releasable_verdicts(parent, report)
    child = Dataset.enter(location, filtered_card(parent, report, sha256(raw_verdicts), name))
    register_child(parent, child)
    put_same(child, verdicts_name(report_id), raw_verdicts, NOT_THE_PARENTS)
    page = report_name(report_id).replace(".json", ".html")
    if parent.store.size(page) is not None:
        put_same(child, page, parent.store.read(page), NOT_THE_PARENTS)
    # This file is written last, as a report exists once its report.json does.
    put_same(child, report_name(report_id), raw_report, NOT_THE_PARENTS)
    return child


def _releasable_verdicts(parent: Dataset, report: Report) -> bytes:
    """The bytes of a report's verdicts, after a check that the dataset is the one it validated."""
    if not has_verdicts(parent, report.id):
        raise NotReleasableError(
            f"{parent.location} has no {verdicts_name(report.id)}: an older version wrote this "
            "report; validate again"
        )
    unchanged_facts(parent, report)
    verdicts, raw = read_verdicts(parent, report)
    if not pc.any(verdicts.table["keep"]).as_py():
        raise NotReleasableError(
            f"report {report.id} keeps none of its {len(verdicts)} samples, so there is nothing to "
            "release"
        )
    return raw


def reasons_in(verdicts: Verdicts) -> Counter[str]:
    """How many samples missed each limit; one sample may have missed several."""
    reasons = pc.list_flatten(verdicts.table["reasons"]).value_counts()
    return Counter({row["values"]: row["counts"] for row in reasons.to_pylist()})


@dataclass
class FilteredContent:
    """Which samples a filtered dataset has to hold, by its own copy of report and verdicts.

    Every method and property raises `FormatError` where that copy is missing or damaged.
    """

    dataset: Dataset
    parent: Dataset | None
    """needed by `expected` alone"""

    @cached_property
    def validated(self) -> dict[int, str]:
        """Number of a shard of the parent to the sha256 of its tar when it was validated."""
        filtered_by = self.dataset.card.kept
        assert filtered_by is not None, self.dataset.location
        try:
            report, _ = read_report(self.dataset, filtered_by.report)
        except NotReleasableError as error:
            raise FormatError(f"{error}; publish --drop-failed copies it again") from error
        return {shard.shard: shard.tar_sha256 for shard in report.shards}

    @cached_property
    def verdicts(self) -> Verdicts:
        """The verdicts on the parent's validated samples."""
        return own_verdicts(self.dataset)

    def among(self, rows: pa.Table, shard: int) -> pa.Table:
        """The index rows of samples of a shard that the verdicts keep."""
        return rows.filter(self.verdicts.is_kept(rows["key"], shard))

    def expected(self, shard: int) -> Expected:
        """What a shard has to hold.

        Raises:
            FileNotFoundError: the report does not name the shard, or the parent no longer has it.
            DamagedShardError: the parent's shard is not the one that was validated.
            ValueError: the parent is not given.
        """
        if shard not in self.validated:
            raise FileNotFoundError(f"the report of {self.dataset.location} names no shard {shard}")
        if self.parent is None:
            raise ValueError(
                f"{self.dataset.location}: the parent says what shard {shard} has to hold; name "
                "it with --parent"
            )
        rows, facts = self.parent.index_and_facts(shard)
        if facts.tar_sha256 != self.validated[shard]:
            raise DamagedShardError(
                f"{self.parent.location}: shard {shard} changed since it was validated; validate "
                "again"
            )
        rows = without_keys(rows, self._superseded)
        return Expected.of_rows(
            self.among(rows, shard),
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
class ShardFilter:
    """Copies the samples that validation kept, one shard at a time."""

    dataset: Dataset
    parent: Dataset

    def __post_init__(self) -> None:
        self._content = FilteredContent(self.dataset, self.parent)

    def __call__(self, shard: int) -> Outcome:
        """Make and commit one shard.

        Raises:
            DamagedShardError: the parent's shard is not the one that was validated.
        """
        started = time.perf_counter()
        expected = self._content.expected(shard)
        keys = set(expected.keys)
        samples = list(self.parent.samples(shard))
        copied = [sample for sample in samples if sample.key in keys]
        facts = commit_shard(self.dataset, expected, copied, labels_checked=True)
        return Outcome(
            shard=shard,
            num_samples=facts.num_samples,
            num_filtered=len(samples) - facts.num_samples,
            seconds=time.perf_counter() - started,
        )


def filter_task(dataset: Dataset, parent: Dataset) -> MakeTask:
    """The task of a worker that makes shards of a filtered dataset."""
    return partial(ShardFilter, dataset, parent)
