"""Filters that keep renders by gaze: those inside a range, or a sample of a target distribution.

Each input is kept or left out by itself, with weights that the dataset card holds. So the decision
does not depend on which other inputs are in the folder.
"""

import hashlib
import math
import zipfile
import zlib
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from factory.measures.weight_cap import weight_cap
from schemas.base import Float, Model, Sha256, Vector

Range = tuple[Float, Float]
BIN_DEG = 4.0
"""width of the bins of gaze directions by which renders are weighed"""


def angles_of(gaze: NDArray[np.float64] | Vector) -> tuple[float, float]:
    """(yaw, pitch) in radians of a unit gaze vector in the camera frame (docs/conventions.md)."""
    x, y, z = map(float, gaze)
    return math.atan2(-x, -z), math.asin(max(-1.0, min(1.0, -y)))


def load_target(path: Path) -> NDArray[np.float64]:
    """(n, 2) gaze angles (yaw, pitch) in radians from an .npz file.

    The file has either `gaze_rad` (n, 2), or both `gaze_yaw_rad` and `gaze_pitch_rad` (n,).

    Raises:
        ValueError: the file has other arrays or shapes, or angles that cannot be radians.
    """
    arrays = plain_arrays_of(path)
    if "gaze_rad" in arrays:
        angles = np.asarray(arrays["gaze_rad"], np.float64)
    elif {"gaze_yaw_rad", "gaze_pitch_rad"} <= arrays.keys():
        angles = np.stack([arrays["gaze_yaw_rad"], arrays["gaze_pitch_rad"]], axis=-1)
    else:
        raise ValueError(
            f"{path}: expected gaze_rad (n, 2) = (yaw, pitch), or gaze_yaw_rad and "
            f"gaze_pitch_rad; found {', '.join(arrays)}"
        )
    if angles.ndim != 2 or angles.shape[1] != 2 or not len(angles):
        raise ValueError(f"{path}: gaze angles of shape {angles.shape}, expected (n, 2)")
    if not np.isfinite(angles).all() or np.abs(angles).max() > math.pi:
        raise ValueError(f"{path}: gaze angles must be finite radians within ±π")
    return angles.astype(np.float64)


def plain_arrays_of(path: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of an .npz file by name.

    Raises:
        ValueError: it is not such a file, or has pickled objects.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise ValueError("one bare array")
        with content:
            return dict(content)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not an .npz file of plain arrays ({error})") from error


class GazeWeights(Model):
    """The probability of keeping a render, in bins of gaze directions."""

    yaw_edges_rad: tuple[Float, ...]
    """edges of the bins of yaw, in ascending order"""
    pitch_edges_rad: tuple[Float, ...]
    """edges of the bins of pitch, in ascending order"""
    keep_probability: tuple[tuple[Annotated[Float, Field(ge=0, le=1)], ...], ...]
    """the probability in [yaw bin][pitch bin]"""
    target_sha256: Sha256
    """sha256 of the file from which the target distribution was read"""

    @classmethod
    def matching(
        cls,
        source: NDArray[np.float64],
        target: NDArray[np.float64],
        *,
        target_sha256: str,
    ) -> Self:
        """Weights with which the gazes of the kept renders have the target distribution.

        Args:
            source: (n, 2) angles (yaw, pitch) in radians of a sample of the renders.
            target: (m, 2) angles in radians of the real domain.
            target_sha256: of the target's file.

        Raises:
            ValueError: no render has a gaze in a bin of the target.
        """
        step = math.radians(BIN_DEG)
        low = np.floor(target.min(axis=0) / step) * step
        num = np.maximum(1, np.ceil((target.max(axis=0) - low) / step + 1e-9).astype(int))
        edges = [low[axis] + step * np.arange(num[axis] + 1) for axis in (0, 1)]
        wanted, _, _ = np.histogram2d(target[:, 0], target[:, 1], bins=edges)
        given, _, _ = np.histogram2d(source[:, 0], source[:, 1], bins=edges)
        ratio = np.divide(wanted, given, out=np.zeros_like(wanted), where=given > 0)
        if not ratio.any():
            raise ValueError("no render looks where the target distribution does")
        keep = np.clip(ratio / weight_cap(ratio.ravel(), given.ravel()), 0, 1)
        return cls(
            yaw_edges_rad=tuple(edges[0].tolist()),
            pitch_edges_rad=tuple(edges[1].tolist()),
            keep_probability=tuple(tuple(row) for row in keep.round(6).tolist()),
            target_sha256=target_sha256,
        )

    def probability(self, yaw: float, pitch: float) -> float:
        """The probability of keeping a gaze, angles in radians; 0 outside the target's range."""
        row = int(np.searchsorted(self.yaw_edges_rad, yaw, side="right")) - 1
        column = int(np.searchsorted(self.pitch_edges_rad, pitch, side="right")) - 1
        if 0 <= row < len(self.keep_probability) and 0 <= column < len(self.keep_probability[0]):
            return self.keep_probability[row][column]
        return 0.0


class GazeFilter(Model):
    """Decides which renders are kept. By default all are."""

    gaze_yaw_deg: Range | None = None
    """(low, high) of the gaze yaw that is kept; None keeps all"""
    gaze_pitch_deg: Range | None = None
    """(low, high) of the gaze pitch that is kept"""
    head_yaw_deg: Range | None = None
    """(low, high) of the head yaw that is kept"""
    opening: Annotated[Range | None, Field(exclude_if=lambda opening: opening is None)] = None
    """(low, high) of the lid opening that is kept: its height over the width of the eye"""
    weights: GazeWeights | None = None
    """the probabilities with which renders inside these ranges are kept"""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("gaze_yaw_deg", "gaze_pitch_deg", "head_yaw_deg", "opening"):
            limits: Range | None = getattr(self, name)
            if limits is not None and limits[0] >= limits[1]:
                raise ValueError(f"{name} must be (low, high), is {limits}")
        return self

    def reason(
        self, source_id: str, gaze_yaw: float, gaze_pitch: float, head_yaw: float
    ) -> str | None:
        """The reason why an input is left out, or None to keep it.

        Args:
            source_id: of the input; it stands in for a random number.
            gaze_yaw, gaze_pitch, head_yaw: in radians.
        """
        for what, value, limits in (
            ("gaze yaw", gaze_yaw, self.gaze_yaw_deg),
            ("gaze pitch", gaze_pitch, self.gaze_pitch_deg),
            ("head yaw", head_yaw, self.head_yaw_deg),
        ):
            if limits is not None and not limits[0] <= math.degrees(value) <= limits[1]:
                return f"{what} outside {limits[0]:g}..{limits[1]:g} deg"
        if self.weights is not None and not _chance(source_id) < self.weights.probability(
            gaze_yaw, gaze_pitch
        ):
            return "resampled to the target gaze distribution"
        return None

    def opening_reason(self, opening: float) -> str | None:
        """The reason why an eye of a lid opening is left out, or None to keep it."""
        if self.opening is None or self.opening[0] <= opening <= self.opening[1]:
            return None
        return f"lid opening outside {self.opening[0]:g}..{self.opening[1]:g} of the eye's width"


def _chance(source_id: str) -> float:
    """A pseudo-random number in [0, 1) that depends on the input's id alone."""
    return int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:7]) / 2**56
