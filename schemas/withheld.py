"""`withheld/<digest>.json`: a shard that is left out of the releases that nights make."""

from schemas.base import Sha256, Versioned


class WithheldShard(Versioned):
    """A shard for which a gate was missed. It holds for these bytes alone: once the shard is made
    again and has others, it is validated like any new one."""

    shard: int
    tar_sha256: Sha256
    generation: int | None = None
    """of the shard when it was withheld, which its withdrawal ends; None in records of before"""
    report: str
    """id of the report that missed its gate"""
    why: str
    """the limits that it missed, in words"""
    since: str
    """UTC, ISO 8601"""
