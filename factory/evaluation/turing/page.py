"""The page of a visual Turing test's analysis: one HTML file that needs no other."""

from collections.abc import Mapping
from pathlib import Path

from factory.evaluation.pages import page_of
from factory.evaluation.turing.analysis import (
    NAMES,
    PAPER_CORRECT,
    PAPER_TABLE,
    against_chance,
    shown_p,
)
from factory.images.png import png_data_uri
from schemas.turing import TuringReport


def analysis_page(report: TuringReport, pngs: Mapping[str, bytes], missing: str | None) -> str:
    """The page, with everything inside.

    Args:
        pngs: of the pictures that were mistaken, by their sha256.
        missing: why some of them cannot be shown.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    return page_of(
        Path(__file__).with_name("analysis.html"),
        "the page of a visual Turing test",
        observers={one.observer for part in report.parts for one in part.observers},
        report=report,
        names=NAMES,
        paper={other: against_chance(*answers) for other, answers in PAPER_CORRECT.items()},
        paper_table=PAPER_TABLE,
        pictures={digest: png_data_uri(png) for digest, png in pngs.items()},
        missing=missing,
        shown_p=shown_p,
    )
