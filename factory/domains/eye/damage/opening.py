"""Where the eye is open: the margins of the lids, column by column of the picture."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.damage.pairs import Values


class Opening(NamedTuple):
    """What an outline encloses, in N pictures of width W."""

    upper_NW: Values  # noqa: N815
    """y of its upper border at each column's centre, px; the nearest crossed column's where the
    outline does not reach"""
    lower_NW: Values  # noqa: N815
    first_N: NDArray[np.intp]  # noqa: N815
    """leftmost column that it crosses"""
    last_N: NDArray[np.intp]  # noqa: N815

    @classmethod
    def of(cls, outline_NP2: Values, width: int) -> Self:
        """The opening within closed outlines of P points (x, y), px.

        Raises:
            ValueError: an outline crosses the centre of no column of the picture.
        """
        start, end = outline_NP2[:, :, None], np.roll(outline_NP2, -1, axis=1)[:, :, None]
        column_W = np.arange(width)
        crossed_NPW = (start[..., 0] <= column_W) != (end[..., 0] <= column_W)
        run = np.where(crossed_NPW, end[..., 0] - start[..., 0], 1.0)
        y_NPW = start[..., 1] + (column_W - start[..., 0]) / run * (end[..., 1] - start[..., 1])
        crossed_NW = crossed_NPW.any(axis=1)
        hidden_N = ~crossed_NW.any(axis=1)
        if hidden_N.any():
            x_P = outline_NP2[hidden_N][0, :, 0]
            raise ValueError(
                f"lids from x {x_P.min():.1f} to {x_P.max():.1f} px lie outside a picture {width} "
                f"px wide; leave such rows out"
            )
        first_N = crossed_NW.argmax(axis=1)
        last_N = width - 1 - crossed_NW[:, ::-1].argmax(axis=1)
        nearest_NW = np.clip(column_W, first_N[:, None], last_N[:, None])
        upper_NW = np.where(crossed_NPW, y_NPW, np.inf).min(axis=1)
        lower_NW = np.where(crossed_NPW, y_NPW, -np.inf).max(axis=1)
        return cls(
            np.take_along_axis(upper_NW, nearest_NW, axis=1),
            np.take_along_axis(lower_NW, nearest_NW, axis=1),
            first_N,
            last_N,
        )

    def inside(self, margin_px: float, height: int, ramp_px: float = 1.0) -> Values:
        """(N, H, W) 0 nearer than `margin_px` to a border (measured vertically) or beyond it, and
        a ramp up to 1."""
        y_H1 = np.arange(height)[:, None]
        depth_NHW = np.minimum(y_H1 - self.upper_NW[:, None], self.lower_NW[:, None] - y_H1)
        column_W = np.arange(self.upper_NW.shape[1])
        across_NW = (column_W >= self.first_N[:, None]) & (column_W <= self.last_N[:, None])
        return np.clip((depth_NHW - margin_px) / ramp_px, 0, 1) * across_NW[:, None]

    def nearest(self, x_NHW: Values, y_NHW: Values, margin_px: float) -> tuple[Values, Values]:
        """The places themselves where the eye is open; elsewhere the nearest in the column that
        keep `margin_px` from the lids."""
        x_NHW = np.clip(x_NHW, self.first_N[:, None, None], self.last_N[:, None, None])
        column_NHW = np.rint(x_NHW).astype(np.intp)
        rows = np.arange(len(x_NHW))[:, None, None]
        margin_NW = np.minimum(margin_px, (self.lower_NW - self.upper_NW) / 2)
        upper_NHW = (self.upper_NW + margin_NW)[rows, column_NHW]
        lower_NHW = (self.lower_NW - margin_NW)[rows, column_NHW]
        return x_NHW, np.clip(y_NHW, upper_NHW, lower_NHW)


def grown(outline_NP2: Values, by_px: float) -> Values:
    """The outlines, every point moved away from the middle."""
    away_NP2 = outline_NP2 - outline_NP2.mean(axis=1, keepdims=True)
    length_NP1 = np.linalg.norm(away_NP2, axis=2, keepdims=True)
    return np.asarray(outline_NP2 + by_px * away_NP2 / np.maximum(length_NP1, 1e-6))
