"""Names of the files of a shard in a dataset of format 2, and what a name says.

A shard has generations, numbered from 1. The record of a generation is its index, whose name
depends on shard and number alone, so that one writer at most can publish it. Tars and records of
rejects have names that nobody uses twice: shard, generation, the first digits of the tar's sha256,
and a random number of the attempt. The index says which of them belong to its generation.

Format 1 had one tar and one record of rejects for a shard, under fixed names; an index that names
none means those.
"""

import re
from secrets import token_hex
from typing import NamedTuple

from schemas.index import ShardFacts

_SHARD = r"\d{6,}"
INDEX_PATTERN = re.compile(rf"index/({_SHARD})(?:-([1-9]\d*))?\.parquet")
_TAR_OR_REJECTS = re.compile(
    rf"(?:shards|rejected)/({_SHARD})(?:-([1-9]\d*)-[0-9a-f]{{16}}-[0-9a-f]{{8}})?\.(?:tar|parquet)"
)


class Version(NamedTuple):
    """A generation of a shard."""

    shard: int
    generation: int


def index_name(shard: int, generation: int = 1) -> str:
    """Name of the record of a generation: the shard's index, or why it was withdrawn."""
    number = f"{shard:06d}" if generation == 1 else f"{shard:06d}-{generation}"
    return f"index/{number}.parquet"


def plan_name(shard: int) -> str:
    """Name of a shard's plan, which lists its inputs."""
    return f"plan/{shard:06d}.json"


def new_tar_name(facts: ShardFacts, attempt: str) -> str:
    """Name of a tar that nobody has written yet.

    Args:
        facts: with shard and generation, and the sha256 of the tar.
        attempt: as `new_attempt` gives it.
    """
    return f"shards/{_stem(facts, attempt)}.tar"


def new_rejects_name(facts: ShardFacts, attempt: str) -> str:
    """Name of a record of rejected inputs that nobody has written yet. Arguments as above."""
    return f"rejected/{_stem(facts, attempt)}.parquet"


def new_attempt() -> str:
    """A random number for the names of one attempt to make a shard."""
    return token_hex(4)


def _stem(facts: ShardFacts, attempt: str) -> str:
    return f"{facts.shard:06d}-{facts.generation}-{facts.tar_sha256[:16]}-{attempt}"


def tar_name(facts: ShardFacts) -> str:
    """Name of a shard's tar."""
    return facts.tar if facts.tar is not None else f"shards/{facts.shard:06d}.tar"


def rejects_name(facts: ShardFacts) -> str:
    """Name of the record of a shard's inputs that did not become samples.

    Raises:
        FileNotFoundError: the shard has none, as every input of it has to become a sample.
    """
    name = rejects_name_or_none(facts)
    if name is None:
        raise FileNotFoundError(f"shard {facts.shard} has no record of rejected inputs")
    return name


def rejects_name_or_none(facts: ShardFacts) -> str | None:
    """The same; None where the shard has none."""
    is_format_1 = facts.tar is None
    return f"rejected/{facts.shard:06d}.parquet" if is_format_1 else facts.rejects


def version_of(name: str) -> Version | None:
    """For which generation a tar or a record of rejects was written; None for other names."""
    match = _TAR_OR_REJECTS.fullmatch(name)
    return None if match is None else Version(int(match[1]), int(match[2] or 1))


def key_of(shard: int, index: int) -> str:
    """The key of a sample: its shard and its position in the plan."""
    return f"{shard:06d}-{index:06d}"
