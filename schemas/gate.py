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
    at_most_spreads: Annotated[Float, Field(gt=0)] | None = None
    """in place of `at_most`: how far above the median of the set that is judged. A spread is the
    distance from that median to the upper quartile"""
    at_least_spreads: Annotated[Float, Field(gt=0)] | None = None
    """in place of `at_least`: how far below it, a spread being that to the lower quartile"""
    why: Annotated[str, Field(min_length=10)]
    drop: bool = True
    """False: missing it counts, but is no reason to leave out the sample"""
    max_share: Annotated[Float, Field(ge=0, le=1)] | None = None
    """share of a clean dataset that misses it; more fails the dataset"""
    shard_share: Annotated[Float, Field(ge=0, le=1)] | None = None
    """the same of a single shard"""

    @model_validator(mode="after")
    def _bounded(self) -> "SampleLimit":
        for absolute, spreads in (
            ("at_most", self.at_most_spreads),
            ("at_least", self.at_least_spreads),
        ):
            if spreads is not None and getattr(self, absolute) is not None:
                raise ValueError(
                    f"{self.measure}: give either {absolute} or {absolute}_spreads, not both"
                )
        if self.at_most_spreads is None and self.at_least_spreads is None:
            _require_bound(self.measure, self.at_most, self.at_least)
        return self

    @property
    def is_relative(self) -> bool:
        """Whether it has a bound that depends on the set."""
        return self.at_most_spreads is not None or self.at_least_spreads is not None

    @property
    def name(self) -> str:
        """As reports and verdicts call it: what a sample that misses it does."""
        bounds = (
            ("<", self.at_least, self.at_least_spreads, "below"),
            (">", self.at_most, self.at_most_spreads, "above"),
        )
        return " or ".join(
            f"{self.measure} {sign} {_bound_text(absolute, spreads, side)}"
            for sign, absolute, spreads, side in bounds
            if absolute is not None or spreads is not None
        )


def _bound_text(absolute: float | None, spreads: float | None, side: str) -> str:
    if spreads is None:
        return f"{absolute:g}"
    text = f"{spreads:g} spreads {side} the median"
    return text if absolute is None else f"{absolute:.3g} ({text})"


class GateFile(Versioned):
    """The content of a gate file."""

    limit: Annotated[tuple[Limit, ...], Field(min_length=1)]
    sample: tuple[SampleLimit, ...] = ()
