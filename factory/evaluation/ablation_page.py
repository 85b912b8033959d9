"""The page of an ablation: one HTML file that needs no other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from factory.evaluation.ablation import Row, columns_of
from factory.evaluation.pages import page_of
from factory.images.png import Pixels, png_data_uri
from factory.training.strips import columns_png, losses_png
from factory.validation.held_out import HeldOut, Scoring


def ablation_page(
    rows: Sequence[Row],
    scoring: Scoring,
    held_out: HeldOut,
    refined: Mapping[str, Pixels],
    metrics: Mapping[str, bytes],
    *,
    split: str,
    seed: int,
    full_scale: float,
) -> str:
    """The page, with everything inside.

    Args:
        rows: their cells are the `columns_of` the scoring.
        held_out: the images that variants were scored on.
        refined: the first n of these renders as each variant refines them, by variant: (n, H, W)
            as stored.
        metrics: lines of `metrics.jsonl`, by variant.
        split: of the held-out images.
        seed: of the refined images and the metrics.
        full_scale: the pixel value that is white.

    Raises:
        MissingExtraError: jinja2 or matplotlib is not installed.
    """
    num = len(next(iter(refined.values())))
    columns = {"synthetic": held_out.synthetic[:num], **refined, "real": held_out.real[:num]}
    grid = columns_png([(name, images[:, None]) for name, images in columns.items()], full_scale)
    return page_of(
        Path(__file__).with_name("ablation.html"),
        "the page of an ablation",
        rows=rows,
        columns=columns_of(scoring),
        meaning=scoring.meaning,
        split=split,
        seed=seed,
        num_samples=len(held_out.synthetic),
        num_real=len(held_out.real),
        pictures=png_data_uri(grid),
        plots=[(name, png_data_uri(losses_png(lines))) for name, lines in metrics.items()],
    )
