"""`runs/<id>/night.json`: how a night went. A webhook gets the same, with a line of text."""

from typing import Literal

from schemas.base import Versioned

NightOutcome = Literal["released", "nothing new", "gate missed", "failed", "overdue"]
WORDS: dict[NightOutcome, str] = {
    "released": "a release was made",
    "nothing new": "there was nothing new to release",
    "gate missed": "a gate was missed, and no release was made",
    "failed": "no release was made",
    "overdue": "the latest release is overdue",
}


class NightRecord(Versioned):
    """One night, or one look whether nights still end in releases."""

    outcome: NightOutcome
    exit_code: int
    location: str
    """of the refined dataset"""
    host: str
    """name of the machine"""
    started: str
    """UTC, ISO 8601"""
    seconds: float
    release: str | None = None
    """name of the release that was made"""
    released_in: str | None = None
    """location of the dataset that has it: the refined one, or a filtered one"""
    latest: str | None = None
    """name of the latest release at the end; None where there is none"""
    report: str | None = None
    """location of the page of the report by which was decided"""
    misses: tuple[str, ...] = ()
    """the limits of the gate that were missed, with the shards that are bad"""
    withheld: tuple[int, ...] = ()
    """shards of which releases hold nothing, those of earlier nights too"""
    failures: tuple[str, ...] = ()
    """what failed, each with the step that it failed in"""
    expired: tuple[str, ...] = ()
    """names of the releases that were given up"""

    @property
    def text(self) -> str:
        """The night in a line or two, for people."""
        name = f" ({self.release})" if self.release is not None else ""
        parts = [f"{WORDS[self.outcome]}{name}", *self.misses, *self.failures]
        if self.withheld:
            parts.append(f"withheld shards: {', '.join(f'{n:06d}' for n in self.withheld)}")
        if self.release is None:
            parts.append(f"the latest release is {self.latest or 'none'}")
        if self.report is not None and self.misses:
            parts.append(f"report: {self.report}")
        return f"simgan-factory, {self.location} on {self.host}: {'; '.join(parts)}"
