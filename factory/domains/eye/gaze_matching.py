"""The distribution of gazes that renders are drawn to follow."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue

from factory.domains.eye.sources.gaze_filter import load_target, plain_arrays_of

COLUMNS = ("gaze_yaw_rad", "gaze_pitch_rad", "head_yaw_rad", "head_pitch_rad")
_MAX_TARGETS = 20_000
"""samples of a distribution; of a file with more, a fixed random choice"""


@dataclass(frozen=True)
class GazeTarget:
    """`factory.measures.density_ratio.LabelTarget` of eyes: gazes, and the head's angles."""

    labels: NDArray[np.float64]
    """(m, 2): yaw and pitch of the gaze in radians; or (m, 4): and those of the head"""
    sha256: str
    """of the file that the angles come from"""

    @classmethod
    def load(cls, path: Path, *, head: bool) -> Self:
        """Read an .npz file with `gaze_rad` (m, 2): yaw and pitch in radians (docs/conventions.md).

        Args:
            head: match the head's angles too: `head_rad` (m, 2) of the same file.

        Raises:
            ValueError: other arrays, other shapes, or angles that cannot be radians.
        """
        angles = load_target(path)
        if head:
            of_head = plain_arrays_of(path).get("head_rad")
            if of_head is None or of_head.shape != angles.shape or not np.isfinite(of_head).all():
                raise ValueError(f"{path}: expected head_rad, finite, of gaze_rad's shape")
            angles = np.concatenate([angles, of_head], axis=1)
        if len(angles) > _MAX_TARGETS:
            angles = np.random.default_rng(0).permutation(angles)[:_MAX_TARGETS]
        return cls(angles, hashlib.sha256(path.read_bytes()).hexdigest())

    @property
    def columns(self) -> tuple[str, ...]:
        """As `LabelTarget.columns`, in the order of the angles."""
        return COLUMNS[: self.labels.shape[1]]

    def of(self, index: pa.Table) -> NDArray[np.float64]:
        """As `LabelTarget.of`: (n, 2) or (n, 4) angles in radians."""
        missing = [name for name in self.columns if index[name].null_count]
        if missing:
            raise ValueError(f"the renders have no {', '.join(missing)} to be matched by")
        columns = [index[name].to_numpy() for name in self.columns]
        return np.stack(columns, axis=1).astype(np.float64)

    def digest(self) -> dict[str, JsonValue]:
        """As `LabelTarget.digest`."""
        return {"sha256": self.sha256, "columns": list(self.columns)}
