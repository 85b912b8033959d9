"""A gate file: the limits that a report must keep, and those that single samples must."""

from typing import Annotated

from pydantic import Field, model_validator

from schemas.base import Float, Model, Versioned


class Limit(Model):
    """One number of a report, and what it may be."""

    measure: str
    at_most: Float | None = None
    at_least: Float | None = None
    why: Annotated[str, Field(min_length=10)]
    """shown beside the verdict: what goes wrong where the limit is missed"""

    @model_validator(mode="after")
    def _bounded(self) -> "Limit":
        _require_bound(self.measure, self.at_most, self.at_least)
        return self

    def holds(self, value: float | None) -> bool:
        """False for what could not be measured."""
        if value is None:
            return False
        return (self.at_most is None or value <= self.at_most) and (
            self.at_least is None or value >= self.at_least
        )


def _require_bound(measure: str, at_most: float | None, at_least: float | None) -> None:
    if at_most is None and at_least is None:
        raise ValueError(f"{measure}: neither at_most nor at_least")


class SampleLimit(Model):
    """What a single sample may measure, and how large a share may miss it."""

    measure: str
    """a column of the domain's measurements"""
    at_most: Float | None = None
    at_least: Float | None = None
    why: Annotated[str, Field(min_length=10)]
    drop: bool = True
    """False: missing it counts, but is no reason to leave out the sample"""
    max_share: Annotated[Float, Field(ge=0, le=1)] | None = None
    """share of a clean dataset that misses it; more fails the dataset"""
    shard_share: Annotated[Float, Field(ge=0, le=1)] | None = None
    """the same of a single shard"""

    @model_validator(mode="after")
    def _bounded(self) -> "SampleLimit":
        _require_bound(self.measure, self.at_most, self.at_least)
        return self

    @property
    def name(self) -> str:
        """As reports and verdicts call it: what a sample that misses it does."""
        bounds = []
        if self.at_least is not None:
            bounds.append(f"{self.measure} < {self.at_least:g}")
        if self.at_most is not None:
            bounds.append(f"{self.measure} > {self.at_most:g}")
        return " or ".join(bounds)


class GateFile(Versioned):
    """The content of a gate file."""

    limit: Annotated[tuple[Limit, ...], Field(min_length=1)]
    sample: tuple[SampleLimit, ...] = ()
