"""Shards that are withheld: a gate was missed because of them, and releases are made without them.

A withheld shard stays in its dataset. A record beside it, `withheld/<digest>.json`, says which
bytes are withheld and why. So a shard that is made again with other bytes, because the fault lay in
the making, is validated like any new one; and one that comes out the same is not tried every night.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.known_facts import known_facts
from factory.validation.gate import sample_text, value_text
from schemas.base import FormatError
from schemas.report import Report
from schemas.withheld import WithheldShard

log = logging.getLogger(__name__)
FOLDER = "withheld"


def withheld_name(tar_sha256: str) -> str:
    """Name of the record of a shard with these bytes."""
    return f"{FOLDER}/{tar_sha256[:16]}.json"


def withheld_shards(dataset: Dataset) -> dict[int, WithheldShard]:
    """The committed shards that are withheld, by number. A record that cannot be read withholds
    still, because its name tells the bytes."""
    records = {}
    for record in _records(dataset):
        try:
            facts = dataset.facts(record.shard)
        except (FileNotFoundError, FormatError):  # to be made again; or damaged, as repair says
            continue
        if facts.tar_sha256 == record.tar_sha256:
            records[record.shard] = record
    return dict(sorted(records.items()))


def blamed_shards(report: Report) -> dict[int, str]:
    """The shards that a missed gate names as bad, each with the limits that it misses, in words.

    A report names the worst shards of each limit (`factory.validation.sample_checks`).
    """
    why: dict[int, list[str]] = {}
    for check in report.samples:
        for bad in check.bad_shards:
            text = f"{check.limit}: {bad.num_missed} of {bad.num_samples} samples ({check.why})"
            why.setdefault(bad.shard, []).append(text)
    return {shard: "; ".join(texts) for shard, texts in sorted(why.items())}


def misses_in_words(report: Report) -> list[str]:
    """Each limit that a report misses, with its value and with the shards that are bad."""
    return [
        *(f"{line.measure} is {value_text(line)}" for line in report.checks if not line.passed),
        *(f"{line.limit}: {sample_text(line)}" for line in report.samples if not line.passed),
    ]


def withhold(dataset: Dataset, shards: Mapping[int, str], report: Report) -> list[int]:
    """Leave shards out of releases from now on, and have the next refine make them again.

    Each is withdrawn once. One that is made again with the same bytes stays withheld.

    Args:
        shards: number to the reason, in words.
        report: that missed its gate because of them.

    Returns:
        The shards that are withheld now; one that changed since the report is not.

    Raises:
        OldFormatError: the dataset is of an earlier format.
    """
    dataset.require_current_format()
    validated = {of.shard: of.tar_sha256 for of in report.shards}
    done = []
    for shard, why in shards.items():
        try:
            facts = dataset.facts(shard)
        except FileNotFoundError:  # withdrawn meanwhile
            continue
        if facts.tar_sha256 != validated.get(shard):
            continue
        record = WithheldShard(
            shard=shard,
            tar_sha256=facts.tar_sha256,
            generation=facts.generation,
            report=report.id,
            why=why,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # The record comes first: without it, the same bytes would be tried again for ever.
        dataset.store.put(withheld_name(facts.tar_sha256), record.to_json())
        withdraw(dataset, shard, facts.generation, _why(report.id, why))
        log.warning("shard %06d is withheld from releases, and made again: %s", shard, why)
        done.append(shard)
    return done


def withdraw_withheld(dataset: Dataset) -> list[int]:
    """Withdraw the withheld shards that still are as they were validated, because `withhold` was
    stopped between its two writes; else nothing would make them again.

    Raises:
        OldFormatError: the dataset is of an earlier format.
    """
    return [
        shard
        for shard, record in withheld_shards(dataset).items()
        if record.generation is not None
        and record.generation == dataset.generation(shard)
        and withdraw(dataset, shard, record.generation, _why(record.report, record.why))
    ]


def _why(report_id: str, why: str) -> str:
    return f"withheld by report {report_id}: {why}"


def take_back(dataset: Dataset, shards: Collection[int]) -> list[int]:
    """Validate withheld shards again from now on.

    Args:
        shards: their numbers; empty for all.

    Returns:
        The shards that are no longer withheld.

    Raises:
        ValueError: one of them is not withheld.
    """
    records = list(_records(dataset))
    held = {record.shard for record in records}
    unknown = sorted(set(shards) - held)
    if unknown:
        numbers = ", ".join(map(str, sorted(held))) or "none"
        raise ValueError(
            f"{dataset.location}: shard {unknown[0]} is not withheld; withheld are {numbers}"
        )
    for record in records:
        if not shards or record.shard in shards:
            dataset.store.delete(withheld_name(record.tar_sha256))
            log.info("shard %06d is no longer withheld", record.shard)
    return sorted(held & set(shards) if shards else held)


def _records(dataset: Dataset) -> Iterable[WithheldShard]:
    for entry in dataset.store.entries(FOLDER):
        where = f"{dataset.location}/{entry.name}"
        try:
            yield WithheldShard.from_json(dataset.store.read(entry.name), where=where)
        except FormatError as error:
            log.warning("%s; the shard that it names by its own name is withheld", error)
            yield from _named_by(dataset, entry.name)


def _named_by(dataset: Dataset, name: str) -> Iterable[WithheldShard]:
    """What a record that cannot be read says by its name alone."""
    for shard, facts in known_facts(dataset).items():
        if withheld_name(facts.tar_sha256) == name:
            digest, why = facts.tar_sha256, "its record cannot be read"
            yield WithheldShard(shard=shard, tar_sha256=digest, report="", why=why, since="")
