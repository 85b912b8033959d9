"""What an integrity check reports."""

from typing import Literal

from schemas.base import Model

ProblemKind = Literal[
    "tar", "index", "rows", "rejects", "plan", "stale", "parent", "release", "report"
]


class Problem(Model):
    """One part of a dataset that is not as it was committed, and how to mend it."""

    kind: ProblemKind
    """the part that is wrong. `rows`: the index can be read, but does not describe its whole tar;
    `stale`: the shard was made from a version of its parent that no longer exists"""
    name: str
    """name of the object, relative to the dataset"""
    shard: int | None
    """None where the problem is not of a single shard"""
    generation: int | None = None
    """of the shard that was looked at"""
    what: str
    fix: str

    def line(self) -> str:
        """The problem in one line of text."""
        return f"{self.name}: {self.what}. {self.fix}"
