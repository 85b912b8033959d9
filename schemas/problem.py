"""What an integrity check finds."""

from typing import Literal

from schemas.base import Model

ProblemKind = Literal[
    "tar", "index", "rows", "rejects", "plan", "stale", "parent", "orphan", "release", "report"
]


class Problem(Model):
    """One thing in a dataset that is not as it was committed, and what mends it."""

    kind: ProblemKind
    """the part that is wrong; `rows`: an index that can be read and does not say what its tar,
    which is whole, holds; `stale`: made from a version of its parent that is gone"""
    name: str
    """of the object, relative to the dataset"""
    shard: int | None
    """None where it is not about one shard"""
    what: str
    fix: str

    def line(self) -> str:
        """For a terminal."""
        return f"{self.name}: {self.what}. {self.fix}"
