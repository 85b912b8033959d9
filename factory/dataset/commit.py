"""The commit protocol: exactly one committed version of every planned shard.

Any number of workers may build one shard at once, and any of them may die or pause at any moment:

1. the tar is built and read back;
2. the tar and the record of rejected inputs are published under names that nobody else uses;
3. the index, which names both, is published exclusively as the shard's next generation: that is the
   commit.

So an index always describes the tar that it names. A worker whose index comes too late removes its
own tar, and takes the shard as it was committed. A worker that dies before its index leaves a tar
that nobody names; `factory.upkeep.garbage` removes it.
"""

import errno
import logging
from collections.abc import Iterable, Sequence

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.inspection import Expected, inspect_tar
from factory.dataset.kinds import repeated_columns
from factory.dataset.names import (
    index_name,
    new_attempt,
    new_rejects_name,
    new_tar_name,
    rejects_name_or_none,
    tar_name,
)
from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    pack,
    sha256,
)
from factory.store.parquet import parquet_bytes
from schemas.base import FORMAT_VERSION
from schemas.dataset import Reject
from schemas.index import REJECT_SCHEMA, ShardFacts, Withdrawal, with_facts
from schemas.version import WRITER

log = logging.getLogger(__name__)


def commit_shard(
    dataset: Dataset,
    expected: Expected,
    samples: Sequence[PackedSample],
    rejects: Sequence[Reject] = (),
    *,
    labels_checked: bool = False,
    writer: str = WRITER,
) -> ShardFacts:
    """Publish a shard, unless it exists already.

    A shard of `dataset.replaced` is published in place of the version named there.

    Args:
        samples: in the order of the plan.
        rejects: one for every planned key that is not among the samples.
        labels_checked: the labels are copied from a committed shard, byte for byte, and were
            checked when that one was committed.
        writer: what made the samples, for the shard's index.

    Returns:
        The facts of the committed shard, whoever committed it.

    Raises:
        DamagedShardError: the tar that was just built does not decode.
        OldFormatError: the dataset is of an earlier format.
    """
    dataset.require_current_format()
    built: tuple[bytes, pa.Table] | None = None
    while True:
        generation = dataset.generation(expected.shard)
        committed = _existing(dataset, expected.shard, generation)
        if committed is not None:
            return committed
        if built is None:
            tar = pack(samples)
            where = f"shard {expected.shard} as built"
            packed = samples if labels_checked else None
            built = tar, inspect_tar(dataset, expected, tar, where=where, packed=packed)
            _check_rejects(expected, built[1], rejects)
        made = _publish(dataset, expected, generation + 1, *built, rejects, writer)
        if made is not None:
            return made


def _existing(dataset: Dataset, shard: int, generation: int) -> ShardFacts | None:
    """The facts of a shard that need not be made; None for one that has to be."""
    replaced = dataset.replaced.get(shard)
    if not generation or (replaced is not None and replaced.generation == generation):
        return None
    try:
        facts = dataset.facts_in(shard, generation)
    except FileNotFoundError:  # it was withdrawn
        return None
    # A generation may have been added that names the same tar.
    return None if replaced is not None and replaced.tar == tar_name(facts) else facts


def _publish(
    dataset: Dataset,
    expected: Expected,
    generation: int,
    tar: bytes,
    table: pa.Table,
    rejects: Sequence[Reject],
    writer: str,
) -> ShardFacts | None:
    """Write a tar and its rejects, and commit them; None where another record came first."""
    attempt = new_attempt()
    facts = facts_of_tar(dataset, expected, tar, table, writer=writer).model_copy(
        update={"generation": generation, **counted(rejects)}
    )
    files = {new_tar_name(facts, attempt): tar}
    if expected.may_reject:
        files[new_rejects_name(facts, attempt)] = rejects_bytes(expected.keys, rejects)
    its_tar, its_rejects = (*files, None)[:2]
    facts = facts.model_copy(update={"tar": its_tar, "rejects": its_rejects})
    try:
        for name, content in files.items():
            dataset.store.put_new(name, content)
    except OSError:
        _remove(dataset, files)
        raise
    try:
        is_committed = put_record(dataset, table, facts)
    except OSError as error:
        if error.errno in _NO_SPACE and not dataset.generation(facts.shard) >= generation:
            _remove(dataset, files)
        raise
    if is_committed:
        return facts
    log.info("shard %d was committed or withdrawn by another worker", expected.shard)
    _remove(dataset, files)  # the record that was there names other files
    return None


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""errors of a file system, after which a put that is not there will not arrive late"""


def _remove(dataset: Dataset, files: Iterable[str]) -> None:
    """Remove files of this attempt that no record names, as nobody else knows their names.

    Otherwise every attempt on a full disk would leave some.
    """
    for name in files:
        try:
            dataset.store.delete(name)
        except OSError as error:
            log.warning("%s/%s is left over: %s", dataset.location, name, error)


def facts_of_tar(
    dataset: Dataset, expected: Expected, tar: bytes, table: pa.Table, *, writer: str
) -> ShardFacts:
    """What an index says of a tar; files, generation and rejected inputs are not in it yet."""
    return ShardFacts(
        shard=expected.shard,
        split=expected.split,
        tar_sha256=sha256(tar),
        tar_size=len(tar),
        num_samples=len(table),
        num_planned=len(expected.keys),
        num_rejected=0,
        num_filtered=0,
        parent_sha256=expected.parent_sha256,
        refiner=dataset.card.refiner.sha256 if dataset.card.refiner is not None else None,
        config_digest=dataset.card.config_digest,
        writer=writer,
    )


def counted(rejects: Iterable[Reject]) -> dict[str, int]:
    """How many inputs were rejected and filtered, by the names of the facts of a shard."""
    kinds = [reject.kind for reject in rejects]
    return {"num_rejected": kinds.count("reject"), "num_filtered": kinds.count("filtered")}


def next_generation(facts: ShardFacts) -> ShardFacts:
    """The facts of a generation that names the files of the one before."""
    return facts.model_copy(
        update={
            "format_version": FORMAT_VERSION,
            "generation": facts.generation + 1,
            "tar": tar_name(facts),
            "rejects": rejects_name_or_none(facts),
        }
    )


def put_record(dataset: Dataset, table: pa.Table, facts: ShardFacts) -> bool:
    """Publish an index as the generation that its facts name; False where that was taken."""
    name = index_name(facts.shard, facts.generation)
    raw = parquet_bytes(with_facts(table, facts), repeated_columns(dataset.sample_kind))
    try:
        dataset.store.put_new(name, raw)
    except FileExistsError:
        # A store may say so of a put of ours whose first answer was lost.
        return dataset.store.read(name) == raw
    return True


def withdraw(dataset: Dataset, shard: int, generation: int, why: str) -> bool:
    """Take a shard out of its dataset, by a new generation.

    Args:
        generation: the highest one of the shard when that was decided.
        why: for whoever looks at the shard later.

    Returns:
        Whether it is withdrawn now; False if the shard has changed since.
    """
    dataset.require_current_format()
    withdrawal = Withdrawal(shard=shard, generation=generation + 1, why=why[:300])
    try:
        dataset.store.put_new(index_name(shard, generation + 1), withdrawal.to_json())
    except FileExistsError:
        return False
    return True


def _check_rejects(expected: Expected, table: pa.Table, rejects: Sequence[Reject]) -> None:
    """See that every planned input is in the tar or rejected, and none is both.

    Args:
        table: index rows of the tar.

    Raises:
        DamagedShardError: they do not add up.
    """
    if not expected.may_reject:
        return
    missing = set(expected.keys) - set(table["key"].to_pylist())
    if missing != {reject.key for reject in rejects} or len(missing) != len(rejects):
        raise DamagedShardError(
            f"shard {expected.shard}: {len(missing)} of {len(expected.keys)} planned inputs are "
            f"not in its tar, and {len(rejects)} were rejected"
        )


def rejects_bytes(keys: Iterable[str], rejects: Iterable[Reject]) -> bytes:
    """The record of rejected inputs as a file, in the order of the planned keys."""
    by_key = {reject.key: reject.model_dump() for reject in rejects}
    rows = [by_key[key] for key in keys if key in by_key]
    return parquet_bytes(pa.Table.from_pylist(rows, schema=REJECT_SCHEMA))
