"""The page of an ablation: one HTML file that needs no other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from factory.evaluation.ablation import Row
from factory.evaluation.pages import page_of
from factory.images.png import Pixels, png_data_uri
from factory.training.strips import columns_png, losses_png
from factory.validation.held_out import Shown


class Pictures(NamedTuple):
    """What the page shows; images (n, H, W) as stored."""

    synthetic: Pixels
    refined: Mapping[str, Pixels]
    """the same renders, by variant"""
    real: Pixels
    metrics: Mapping[str, bytes]
    """lines of `metrics.jsonl`, by variant"""
    full_scale: float
    """the pixel value that is white"""


def write_page(
    rows: Sequence[Row],
    columns: Sequence[Shown],
    pictures: Pictures,
    *,
    meaning: str,
    split: str,
    seed: int,
    num_samples: int,
    num_real: int,
) -> str:
    """The page, with everything inside.

    Args:
        columns: of the rows' cells.
        meaning: what the columns of the domain say, in sentences.
        split: of the held-out images.
        seed: of the pictures and losses.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    labelled = [("synthetic", pictures.synthetic), *pictures.refined.items()]
    labelled.append(("real", pictures.real[: len(pictures.synthetic)]))
    grid = columns_png(
        [(label, images[:, None]) for label, images in labelled], pictures.full_scale
    )
    return page_of(
        Path(__file__).with_name("ablation.html"),
        "the page of an ablation",
        rows=rows,
        columns=columns,
        meaning=meaning,
        split=split,
        seed=seed,
        num_samples=num_samples,
        num_real=num_real,
        pictures=png_data_uri(grid),
        plots=[(name, png_data_uri(losses_png(lines))) for name, lines in pictures.metrics.items()],
    )
