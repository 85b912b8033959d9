"""Measures refined hands against their parents and labels, with every witness there is.

Witnesses answer by different means: the silhouette is registered, single edges are followed along
their normals, the skin before the labelled joints keeps its depth or does not, and a network finds
joints in each picture by itself. All their answers are stored for every sample.

Legend of shapes: N images, H height, W width, J joints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from factory.dataset.columns import table_of, values_of
from factory.domains.hand.depth.boundary import (
    flying_share,
    hole_rate,
    noise_mm,
    raggedness_of,
)
from factory.domains.hand.depth.edges import (
    Depth,
    Mask,
    edge_change,
    edges_of,
    registered_silhouette,
    solid,
)
from factory.domains.hand.networks.joints import JointNetwork, found_joints_px, load_joints
from factory.images.png import Pixels
from factory.measures.looks.pairs import (
    alike_ratio,
    contrast,
    likeness,
    mean_abs_change,
    mirror_gain,
)
from factory.networks.estimators import load_unchanged
from schemas.base import Model, Sha256, digest_of
from schemas.dataset import ImageSpec
from schemas.hand.measures import HAND_MEASURES_SCHEMA

VERSION = 1
"""of what is measured and how; measurements of other versions are made again"""
VISIBLE_MM = 30.0
"""skin is at most so far before the joint under it; what is nearer to the camera hides the joint"""
BEHIND_MM = 10.0
"""by how much skin may lie behind its joint, for noise and rounding"""
FIT_MM = 60.0
"""a label fits a picture in which the hand, or another part of it, is so close before the joint"""
MIN_MATCH = 0.5
"""of silhouettes, below which they are not one hand moved"""
_REACH_PX = 2
"""half width of the window in which the skin's depth at a joint is the median"""
_MIN_SKIN_SHARE = 0.5
"""of a window that has to be of the hand"""
_PALM = (30, 31), 5, 23
"""the wrist, and the knuckles of the little and the index finger, which span the palm"""
Values = NDArray[np.float64]
Columns = dict[str, np.ndarray | list[str | None]]


class HandWitnesses(Model):
    """What hands are measured with."""

    joints: str | None = None
    """place of a joint network, the output of jobs/estimator.py joints"""
    joints_sha256: Sha256 | None = None

    schema: ClassVar[pa.Schema] = HAND_MEASURES_SCHEMA
    repeated: ClassVar[Sequence[str]] = ("identity", "reason")

    @classmethod
    def of(cls, joints: str | None, image: ImageSpec) -> "HandWitnesses":
        """Look at the network once, before any work.

        Raises:
            FileNotFoundError: it is not there.
            FormatError: it is damaged.
            ValueError: it is for other images.
        """
        if joints is None:
            return cls()
        _, described = load_joints(joints)
        described.require(image)
        return cls(joints=joints, joints_sha256=described.sha256)

    def digest(self) -> str:
        """Of all that decides a measurement: not the place of the network."""
        content = self.model_dump(mode="json", exclude={"joints"})
        return digest_of({"domain": "hand", "version": VERSION, **content})

    def measurer(self) -> "HandMeasurer":
        """For a worker of one core: verdicts must not depend on how many threads summed them up."""
        torch.set_num_threads(1)
        return HandMeasurer(self)

    def with_derived(self, measures: pa.Table) -> pa.Table:
        """As they are: nothing follows from them."""
        return measures


@dataclass
class HandMeasurer:
    """Measures pairs. Lives in a worker; its network runs on one thread."""

    witnesses: HandWitnesses

    def __call__(self, rows: pa.Table, parent: Pixels, refined: Pixels) -> pa.Table:
        """Every measurement of every pair.

        Args:
            rows: index rows of the refined pictures, in the same order.
            parent: (N, H, W) uint16 stored depth; refined likewise.

        Returns:
            Rows of `schemas.hand.measures.HAND_MEASURES_SCHEMA`, in the same order.

        Raises:
            ValueError: not as many of each, or not depth of 16 bits.
        """
        parent_NHW, refined_NHW = depth_of(parent), depth_of(refined)
        if not len(rows) == len(parent_NHW) == len(refined_NHW):
            raise ValueError(
                f"{len(rows)} rows, {len(parent_NHW)} parent and {len(refined_NHW)} refined images"
            )
        if not len(rows):
            return HAND_MEASURES_SCHEMA.empty_table()
        pairs = [_pair(*images) for images in zip(parent_NHW, refined_NHW, strict=True)]
        columns: Columns = {
            "key": rows["key"].to_pylist(),
            "identity": rows["identity"].to_pylist(),
            "reason": [pair.reason for pair in pairs],
            **{name: np.array([pair.values[name] for pair in pairs]) for name in pairs[0].values},
            **_conditions(rows),
            **_skin(rows, parent_NHW, refined_NHW),
            **self._joints(rows, parent_NHW, refined_NHW),
            **_looks(rows, parent_NHW, refined_NHW),
        }
        return table_of(columns, HAND_MEASURES_SCHEMA)

    def joints_of(self, image_HW: Depth) -> NDArray[np.floating] | None:
        """(14, 2) x and y px that the joint network finds in one picture; None without one."""
        if self._network is None:
            return None
        return np.asarray(found_joints_px(self._network, image_HW[None])[0])

    def _joints(self, rows: pa.Table, parent: Depth, refined: Depth) -> Columns:
        if self._network is None:
            return {}
        label_NJ2 = joints_of(rows, "joints14_uvd")[..., :2]
        size = np.array(parent.shape[:0:-1])
        inside_NJ2 = np.asarray((label_NJ2 >= -0.5) & (label_NJ2 < size - 0.5))
        seen_NJ2 = inside_NJ2.all(axis=-1, keepdims=True)
        before_NJ2, after_NJ2 = (
            np.where(seen_NJ2, found_joints_px(self._network, images), np.nan)
            for images in (parent, refined)
        )
        shift_N2 = _mean(after_NJ2 - before_NJ2)
        return {
            "joint_drift_px": _mean(np.linalg.norm(after_NJ2 - before_NJ2, axis=-1)),
            "joint_error_px": _mean(np.linalg.norm(after_NJ2 - label_NJ2, axis=-1)),
            "joint_shift_x_px": shift_N2[:, 0],
            "joint_shift_y_px": shift_N2[:, 1],
        }

    @cached_property
    def _network(self) -> JointNetwork | None:
        return load_unchanged(load_joints, self.witnesses.joints, self.witnesses.joints_sha256)


def depth_of(images: Pixels) -> Depth:
    """16-bit images as such.

    Raises:
        ValueError: they have 8 bits, or colours.
    """
    if images.dtype != np.uint16 or images.ndim != 3:
        raise ValueError(f"expected (n, h, w) 16-bit depth, found {images.shape} {images.dtype}")
    return images.astype(np.uint16, copy=False)


def joints_of(rows: pa.Table, name: str) -> Values:
    """(N, J, 3) a column of joints."""
    return np.array(rows[name].to_pylist(), np.float64).reshape(len(rows), -1, 3)


# --- outlines -------------------------------------------------------------------------------------


class _Pair(NamedTuple):
    reason: str | None
    """why its silhouette has no displacement"""
    values: Mapping[str, float]


def _pair(before: Depth, after: Depth) -> _Pair:
    """What the outlines of one pair say; NaN for what cannot be measured."""
    was, is_now = before > 0, after > 0
    whole_was, whole_now = solid(was), solid(is_now)
    num = int(was.sum())
    reason, shift_px, match = _silhouette(whole_was, whole_now)
    change = edge_change(edges_of(before), after) if num and is_now.any() else None
    return _Pair(
        reason,
        {
            "silhouette_drift_px": float(np.hypot(*shift_px)),
            "silhouette_shift_x_px": shift_px[0],
            "silhouette_shift_y_px": shift_px[1],
            "silhouette_match": match,
            "edge_drift_px": change.drift_px if change is not None else np.nan,
            "edge_growth_px": change.growth_px if change is not None else np.nan,
            "lost_share": (was & ~is_now).sum() / num if num else np.nan,
            "grown_share": (is_now & ~was).sum() / num if num else np.nan,
            "hole_rate": hole_rate(after),
            "raggedness_px": raggedness_of(whole_now)[0],
            "flying_share": flying_share(after),
            "noise_mm": noise_mm(after),
            "depth_likeness": _depth_likeness(before, after),
        },
    )


def _silhouette(was: Mask, is_now: Mask) -> tuple[str | None, tuple[float, float], float]:
    """Why not, the displacement, and the match; NaN for what is not known."""
    unknown = (float("nan"), float("nan"))
    if not was.any():
        return "no hand in the parent", unknown, float("nan")
    if not is_now.any():
        return "no hand in the refined picture", unknown, float("nan")
    moved = registered_silhouette(was, is_now)
    if moved is None:
        return "no outline in the picture", unknown, float("nan")
    if moved.match < MIN_MATCH:
        return "outlines of two hands", unknown, moved.match
    return None, moved.shift_px, moved.match


def _depth_likeness(before: Depth, after: Depth) -> float:
    both = (before > 0) & (after > 0)
    pair = before[both].astype(np.float64), after[both].astype(np.float64)
    if any(not len(values) or values.std() < 0.5 for values in pair):
        return float("nan") if not both.any() or pair[0].std() < 0.5 else 0.0
    return float(np.corrcoef(*pair)[0, 1])


# --- the skin before the joints -------------------------------------------------------------------


def _skin(rows: pa.Table, parent: Depth, refined: Depth) -> Columns:
    """Depths of the skin before the joints, in whole pictures' columns."""
    uvd_NJ3 = joints_of(rows, "joints14_uvd")
    before_NJ, after_NJ = skin_mm(parent, uvd_NJ3), skin_mm(refined, uvd_NJ3)
    seen_NJ = _covers(before_NJ, uvd_NJ3[..., 2], VISIBLE_MM)
    change_NJ = np.where(seen_NJ, after_NJ - before_NJ, np.nan)
    lost_NJ = np.where(seen_NJ, np.isnan(after_NJ), np.nan)
    all_NJ3 = joints_of(rows, "joints_uvd")
    fits_NJ = _covers(skin_mm(refined, all_NJ3), all_NJ3[..., 2], FIT_MM)
    return {
        "visible_share": seen_NJ.mean(axis=1),
        "joint_depth_error_mm": _mean(np.abs(change_NJ)),
        "joint_depth_shift_mm": _mean(change_NJ),
        "lost_joint_share": _mean(lost_NJ),
        "label_fit": fits_NJ.mean(axis=1),
    }


def _covers(skin_NJ: Values, joint_NJ: Values, most_mm: float) -> Mask:
    with np.errstate(invalid="ignore"):
        before = joint_NJ - skin_NJ
        return np.asarray((before >= -BEHIND_MM) & (before <= most_mm))


def skin_mm(images_NHW: Depth, uvd_NJ3: Values) -> Values:
    """(N, J) median stored depth of the hand within 2 px of each joint's pixel; NaN where less than
    half of that window is of the hand, and beyond the border."""
    num, height, width = images_NHW.shape
    columns, rows = np.moveaxis(np.floor(uvd_NJ3[..., :2] + 0.5).astype(np.intp), -1, 0)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    offsets = np.mgrid[-_REACH_PX : _REACH_PX + 1, -_REACH_PX : _REACH_PX + 1].reshape(2, -1)
    window = images_NHW[
        np.arange(num)[:, None, None],
        (rows[..., None] + offsets[0]).clip(0, height - 1),
        (columns[..., None] + offsets[1]).clip(0, width - 1),
    ]
    enough = inside & ((window > 0).mean(axis=-1) >= _MIN_SKIN_SHARE)
    depths = np.where((window > 0) & enough[..., None], window, np.nan)
    skin = np.full(enough.shape, np.nan)
    skin[enough] = np.nanmedian(depths[enough], axis=-1)
    return skin


def _mean(values: Values) -> Values:
    """Over the second axis, of what is not NaN; NaN where all is."""
    known = np.isfinite(values)
    num = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(num > 0, total / np.maximum(num, 1), np.nan)


# --- conditions and looks -------------------------------------------------------------------------


def _conditions(rows: pa.Table) -> Columns:
    xyz_NJ3 = joints_of(rows, "joints_xyz_mm")
    wrist, little, index = _PALM
    middle_N3 = xyz_NJ3[:, list(wrist)].mean(axis=1)
    normal_N3 = np.cross(xyz_NJ3[:, little] - middle_N3, xyz_NJ3[:, index] - middle_N3)
    lengths = np.linalg.norm(normal_N3, axis=1) * np.linalg.norm(middle_N3, axis=1)
    cosine_N = np.abs((normal_N3 * middle_N3).sum(axis=1)) / np.maximum(lengths, 1e-9)
    return {
        "distance_mm": joints_of(rows, "joints14_xyz_mm")[..., 2].mean(axis=1),
        "palm_tilt_deg": np.degrees(np.arccos(np.minimum(cosine_N, 1))),
    }


def _looks(rows: pa.Table, parent: Depth, refined: Depth) -> Columns:
    full_scale = (values_of(rows, "cube_mm") + 1).astype(np.float32)  # the back of the cube
    return {
        "mean_abs_change": mean_abs_change(parent, refined, full_scale),
        "likeness": likeness(parent, refined),
        "mirror_gain": mirror_gain(parent, refined),
        "contrast": contrast(refined, full_scale),
        "alike_ratio": alike_ratio(parent, refined),
    }
