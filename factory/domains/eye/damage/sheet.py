"""A page that shows what each damage looks like."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.damage.kinds import DAMAGES, Damage, damaged
from factory.domains.eye.damage.pairs import Images, Pairs, Values
from factory.images.png import encode_png

NUM_PAIRS = 8
SCALE = 3
CAPTION_PX = 190
GAP_PX = 2
FINE = 4
"""bits of a pixel's fraction that OpenCV draws by"""


def damage_sheet(
    pairs: Pairs, rng: np.random.Generator, damages: Sequence[Damage] = DAMAGES
) -> bytes:
    """A PNG: a column for each of at most 8 pairs, a row each for parents, refined images and
    every damage. Where labels are swapped, the iris and lids that an image is labelled with are
    drawn in.
    """
    chosen = np.sort(rng.permutation(len(pairs))[:NUM_PAIRS])
    shown = pairs.take(chosen)
    rows = [_row("parent", shown.parent_NHW), _row("refined", shown.refined_NHW)]
    for damage in damages:
        result = damaged(damage, shown, rng)
        outlines: list[Values] = []
        if (result.label_rows_N != np.arange(len(shown))).any():
            names = "iris_px", "lid_px"
            outlines = [shown.numbers(name)[result.label_rows_N] for name in names]
        rows.append(_row(damage.name, result.refined_NHW, outlines))
    return encode_png(np.concatenate(rows))


def _row(caption: str, images_NHW: Images, outlines: Sequence[Values] = ()) -> NDArray[np.uint8]:
    """Args: outlines: (N, P, 2) closed lines to draw into each image, px."""
    grown_NHW = images_NHW.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    for outline_NP2 in outlines:
        places = np.rint(((outline_NP2 + 0.5) * SCALE - 0.5) * 2**FINE).astype(np.int32)
        for grown_HW, place_P2 in zip(grown_NHW, places, strict=True):
            cv2.polylines(grown_HW, [place_P2], True, 255, 1, cv2.LINE_AA, FINE)
    framed = [np.pad(grown, GAP_PX, constant_values=255) for grown in grown_NHW]
    label = np.full((framed[0].shape[0], CAPTION_PX), 255, np.uint8)
    middle = label.shape[0] // 2 + 5
    cv2.putText(label, caption, (6, middle), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 0, 1, cv2.LINE_AA)
    return np.concatenate([label, *framed], axis=1)
