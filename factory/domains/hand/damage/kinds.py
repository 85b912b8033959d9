"""Every kind of damage of hands, in the sizes that their validation is tried with.

Legend of shapes: N images, H height, W width, J joints.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from factory.domains.hand.damage.pictures import grown, rotated, without_finger
from factory.domains.hand.depth.edges import Depth
from factory.domains.hand.looks import deepened, moved
from factory.domains.hand.measures import joints_of
from factory.validation.power.damages import (
    Change,
    Damage,
    Damaged,
    in_sizes,
    swapped_rows,
    unsized,
)

LEAST_SWAP_PX = 10.0
"""mean distance between the joints of two samples whose labels are swapped; those of nearer ones
are hardly wrong"""
LEAST_REMOVED_SHARE = 0.02
"""of a hand's pixels; a finger with fewer is hidden behind others, or outside the picture"""
NUM_FINGERS = 4
"""without the thumb: their joints come first, six each"""


class Pairs(NamedTuple):
    """N refined pictures with their parents and labels, to be damaged."""

    parent_NHW: Depth  # noqa: N815
    refined_NHW: Depth  # noqa: N815
    labels: pa.Table
    """rows of an index of hands"""


def _shift(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    """In random directions."""
    angle_N = rng.uniform(0, 2 * np.pi, len(pairs.refined_NHW))
    shift_N2 = size_px * np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    return Damaged.with_own_labels(moved(pairs.refined_NHW, shift_N2))


def _rotate(pairs: Pairs, size_deg: float, rng: np.random.Generator) -> Damaged:
    """Each hand about the mean of its evaluated joints, clockwise or counter-clockwise."""
    middle_N2 = joints_of(pairs.labels, "joints14_uvd")[..., :2].mean(axis=1)
    angle_deg_N = size_deg * rng.choice((-1.0, 1.0), len(pairs.refined_NHW))
    return Damaged.with_own_labels(rotated(pairs.refined_NHW, middle_N2, angle_deg_N))


def _grow(pairs: Pairs, size_px: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(grown(pairs.refined_NHW, size_px))


def _depth_offset(pairs: Pairs, size_mm: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(deepened(pairs.refined_NHW, round(size_mm)))


def _finger_removed(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    """A random finger of each hand, the thumb apart."""
    joints_NJ3 = joints_of(pairs.labels, "joints_uvd")
    cube_mm = pairs.labels["cube_mm"].to_pylist()
    fingers = rng.integers(NUM_FINGERS, size=len(pairs.refined_NHW)).tolist()
    images = [
        without_finger(image_HW, joints_J3, finger, side_mm)
        for image_HW, joints_J3, finger, side_mm in zip(
            pairs.refined_NHW, joints_NJ3, fingers, cube_mm, strict=True
        )
    ]
    refined_NHW = np.array(images, np.uint16).reshape(pairs.refined_NHW.shape)
    removed_N = ((pairs.refined_NHW > 0) & (refined_NHW == 0)).sum(axis=(1, 2))
    hand_N = (pairs.refined_NHW > 0).sum(axis=(1, 2))
    return Damaged.with_own_labels(
        refined_NHW, removed_N >= np.maximum(LEAST_REMOVED_SHARE * hand_N, 1)
    )


def _labels_swapped(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    """Labels change places within random pairs; of an odd number one row keeps its own."""
    rows_N = swapped_rows(len(pairs.refined_NHW), rng)
    joints_NJ2 = joints_of(pairs.labels, "joints14_uvd")[..., :2]
    change_N = np.linalg.norm(joints_NJ2 - joints_NJ2[rows_N], axis=-1).mean(axis=1)
    return Damaged(pairs.refined_NHW.copy(), rows_N, change_N >= LEAST_SWAP_PX)


def _copied_parent(pairs: Pairs, size: float, rng: np.random.Generator) -> Damaged:
    return Damaged.with_own_labels(pairs.parent_NHW.copy())


# --- all of them ----------------------------------------------------------------------------------

CHANGES: Mapping[str, Change] = {
    "shift": _shift,
    "rotate": _rotate,
    "grow": _grow,
    "depth_offset": _depth_offset,
    "finger_removed": _finger_removed,
    "labels_swapped": _labels_swapped,
    "copied_parent": _copied_parent,
}

DAMAGES: tuple[Damage, ...] = (
    *in_sizes(
        "shift",
        "px",
        {1: False, 2: False, 4: True},
        "padding or resampling that is off moves all content",
    ),
    *in_sizes(
        "rotate",
        "deg",
        {2: False, 5: False, 15: True},
        "the refiner turns hands towards the poses that the real images prefer",
    ),
    *in_sizes(
        "grow",
        "px",
        {1: False, 2: False, 4: True},
        "the refiner draws thicker hands than the labels belong to",
    ),
    *in_sizes(
        "depth_offset",
        "mm",
        {3: False, 10: False, 30: True},
        "a wrong scale or front of the cube between network and file",
    ),
    unsized("finger_removed", "the refiner paints background over a finger", must_catch=True),
    unsized("labels_swapped", "images and labels paired in different orders", must_catch=False),
    unsized("copied_parent", "the refiner does nothing, or its output is lost", must_catch=True),
)
"""all damage of hands, smaller sizes first"""
