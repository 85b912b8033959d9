"""The page of an ablation: one HTML file that needs no other."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from factory.evaluation.ablation import Row
from factory.images.png import Grey
from factory.training.strips import columns_png, losses_png

FULL_SCALE = 255.0


class Pictures(NamedTuple):
    """What the page shows; images uint8 (n, H, W)."""

    synthetic: Grey
    refined: Mapping[str, Grey]
    """the same renders, by variant"""
    real: Grey
    metrics: Mapping[str, bytes]
    """lines of `metrics.jsonl`, by variant"""


def write_page(
    rows: Sequence[Row],
    pictures: Pictures,
    *,
    split: str,
    seed: int,
    num_samples: int,
    num_real: int,
) -> str:
    """The page, with everything inside."""
    columns = [("synthetic", pictures.synthetic), *pictures.refined.items()]
    columns.append(("real", pictures.real[: len(pictures.synthetic)]))
    grid = columns_png([(label, images[:, None]) for label, images in columns], FULL_SCALE)
    template = Path(__file__).with_name("ablation.html").read_text()
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(
        rows=rows,
        split=split,
        seed=seed,
        num_samples=num_samples,
        num_real=num_real,
        pictures=_uri(grid),
        plots=[(name, _uri(losses_png(lines))) for name, lines in pictures.metrics.items()],
    )


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
