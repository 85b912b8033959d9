"""What became of one shard: the message of a worker to the driver."""

from pydantic import Field

from schemas.base import Model
from schemas.problem import Problem


class Outcome(Model):
    """What became of one shard."""

    shard: int
    num_samples: int = 0
    num_rejected: int = 0
    num_filtered: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    """why inputs were rejected or filtered, with counts"""
    seconds: float = 0.0
    """of work in the workers"""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """the same by stage, where the work has several"""
    engine: str | None = None
    """name of what refined its images"""
    error: str | None = None
    """why the shard was not made; None if it was"""
    transient: bool = False
    """of an error: trying again may help (the store or the worker failed, not the shard)"""
    attempts: int = 1
    problems: tuple[Problem, ...] = ()
    """what an integrity check found wrong with the shard"""

    @property
    def num_inputs(self) -> int:
        """Inputs that were dealt with: samples, rejected and filtered ones."""
        return self.num_samples + self.num_rejected + self.num_filtered
