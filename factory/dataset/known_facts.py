"""The facts of all shards of a dataset, of which only those are read that are new.

A record is never changed, so what was read of it once holds as long as a listing shows it with the
same size and the same time or etag. `cache/facts.jsonl.gz` has what was read before; it may be
removed, and is made again.
"""

import gzip
import logging
import zlib
from collections.abc import Mapping

import orjson

from factory.dataset.dataset import Dataset
from factory.dataset.shard_records import Record
from schemas.base import FORMAT_VERSION
from schemas.index import ShardFacts

log = logging.getLogger(__name__)
FACTS_CACHE = "cache/facts.jsonl.gz"
WORTH_SAVING = 64
"""facts that were read anew from which on they are saved"""

Known = dict[tuple[int, Record], ShardFacts]
"""by shard, and its record as a listing showed it"""


def known_facts(dataset: Dataset, *, save: bool = False) -> dict[int, ShardFacts]:
    """The facts of every committed shard, in order of shard.

    Args:
        save: keep them for the next run, where many are new.

    Raises:
        FormatError: an index cannot be read.
    """
    records, cached = dataset.indexes(), _cached(dataset)
    known = {item[0]: cached[item] for item in records.items() if item in cached}
    new = [shard for shard in records if shard not in known]
    generations = [records[shard].generation for shard in new]
    known |= zip(new, dataset.facts_of(new, generations), strict=True)
    if save and len(new) >= WORTH_SAVING and dataset.card.format_version == FORMAT_VERSION:
        _save(dataset, records, known)
    return {shard: known[shard] for shard in records}


def _cached(dataset: Dataset) -> Known:
    try:
        raw = dataset.store.read(FACTS_CACHE)
    except FileNotFoundError:
        return {}
    try:
        rows = map(orjson.loads, gzip.decompress(raw).splitlines())
        return {(row[0], Record(*row[1:-1])): ShardFacts.model_validate(row[-1]) for row in rows}
    except (OSError, EOFError, zlib.error, ValueError, TypeError, IndexError) as error:
        where = f"{dataset.location}/{FACTS_CACHE}"
        log.warning("%s cannot be read and is left aside: %s", where, error)
        return {}


def _save(dataset: Dataset, records: Mapping[int, Record], facts: Mapping[int, ShardFacts]) -> None:
    lines = (
        orjson.dumps([shard, *record, facts[shard].model_dump()], option=orjson.OPT_APPEND_NEWLINE)
        for shard, record in records.items()
    )
    content = gzip.compress(b"".join(lines), compresslevel=1, mtime=0)
    try:
        dataset.store.put(FACTS_CACHE, content, durable=False)
    except OSError as error:  # a parent may be readable alone
        log.info("%s is not saved, and is read from all indexes again: %s", FACTS_CACHE, error)
