"""What a reader outside the factory is told of a kind of sample: what its labels and pixels mean,
and which of its labels are points."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class LabelNote(NamedTuple):
    """What one field of a json member means."""

    unit: str
    """of its numbers; empty for what is no quantity"""
    frame: str
    """in which they are given, by the words of docs/conventions.md; empty where there is none"""
    meaning: str
    """a phrase without a full stop"""


class Outline(NamedTuple):
    """The points of one sample, in crop pixels whose centres are at integers."""

    points_xy: NDArray[np.float64]
    """(n, 2), NaN where a point is not known"""
    hidden: NDArray[np.bool_]
    """(n,) points that something lies in front of, as far as labels tell"""
    box_xyxy: tuple[float, float, float, float] | None
    """(left, top, right, bottom) around the object; None where it is not known"""


@dataclass(frozen=True)
class KeypointLayout:
    """The points of a kind of sample, as formats of keypoints list them."""

    category: str
    names: tuple[str, ...]
    """of the n points"""
    skeleton: tuple[tuple[int, int], ...]
    """pairs of points to join, counted from 0"""
    outline: Callable[[Mapping[str, Any]], Outline | None]
    """the points of a sample by its labels (plain values by the names of the json member); None
    where none of them is known"""


@dataclass(frozen=True)
class LabelGuide:
    """All of this for one domain."""

    notes: Mapping[str, LabelNote] = field(default_factory=dict)
    """by the names of the json member, those of its labels"""
    pixels: str = ""
    """what the values of pixels mean, in whole sentences"""
    keypoints: KeypointLayout | None = None
    """None where no label is a point"""
