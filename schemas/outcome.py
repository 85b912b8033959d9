"""The message of a worker to the driver about one shard."""

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
    """time that workers spent on the shard"""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """the same time by stage, where the work has several stages"""
    engine: str | None = None
    """name of the engine that refined its images"""
    error: str | None = None
    """why the shard was not made; None where it was"""
    transient: bool = False
    """whether trying again may help, as the store or the worker failed and not the shard"""
    attempts: int = 1
    problems: tuple[Problem, ...] = ()
    """what an integrity check found wrong with the shard"""

    @property
    def num_inputs(self) -> int:
        """Number of inputs: those that became samples, were rejected or were filtered."""
        return self.num_samples + self.num_rejected + self.num_filtered
