"""`content.json`: what renders show beside what a camera's images show."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Float, Model, Versioned

Share = Annotated[Float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Quantiles = tuple[Float, Float, Float, Float, Float]
"""the 5, 25, 50, 75 and 95 % quantiles"""
ContentOutcome = Literal["filter", "nothing to filter", "not readable", "none alike"]
"""`filter`: a range is recommended; `nothing to filter`: nearly all renders show what real images
show; `not readable`: the label cannot be estimated from such images; `none alike`: too few renders
show what real images show for a range to be read off them"""


class ContentOfLabel(Model):
    """One label: its estimates for renders and for real images, and what follows."""

    name: str
    unit: str
    option: str
    """of jobs/ingest.py, e.g. --keep-opening"""
    correlation: Float | None
    """of estimated with true labels of renders, which no model was trained on by identity; None
    where all labels, or all estimates, are the same"""
    true_renders: Quantiles
    """of the labels of the renders"""
    renders: Quantiles
    """of the estimates for renders"""
    real: Quantiles
    """of the estimates for real images"""
    share_alike: Share
    """of the renders, whose estimate is between the 1 and 99 % quantiles of those of real images"""
    share_covered: Share
    """of the real images, whose estimate is between the 1 and 99 % quantiles of those of renders"""
    outcome: ContentOutcome
    alike: tuple[Float, Float] | None
    """range of the label, rounded outwards, of the renders that show what real images show: the one
    to keep where the outcome is `filter`. None where there is none to read off"""
    share_kept: Share | None
    """of the renders, whose label is in that range"""
    in_words: str

    @property
    def recommended(self) -> tuple[float, float] | None:
        """The range to keep renders in, where one is recommended."""
        return self.alike if self.outcome == "filter" else None


class ContentReport(Versioned):
    """`content.json` in the output of jobs/content.py."""

    domain: str
    synthetic: str
    """location of the renders"""
    real: str
    """location of the real images"""
    split: str | None
    """of both; None for all of their images"""
    seed: Count
    num_renders: Count
    num_real: Count
    num_identities: Count
    """of the renders"""
    equalised: bool
    """whether the histograms of both sets are equalised"""
    labels: tuple[ContentOfLabel, ...]
    """the most important comes first"""
    first_options: str | None
    """of jobs/ingest.py: the ranges of labels by which a choice of renders has been shown to pay;
    None where there is none to recommend"""
    all_options: str | None
    """the ranges of all labels that have one"""
    share_kept_by_all: Share | None
    """of the renders, whose labels are in all of these ranges"""
    in_words: tuple[str, ...]
    """what to do, in sentences"""
