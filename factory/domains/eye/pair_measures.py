"""What two pictures of one eye show side by side, without a network."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.dataset.columns import points_of, values_of
from factory.domains.eye.networks.landmarks import LandmarksFound, landmarks_px
from factory.domains.eye.pupil.iris_region import iris_regions
from factory.domains.eye.pupil.iris_registration import registered_iris
from factory.measures.affine import motion_and_apart
from factory.measures.looks.blocks import block_trace
from factory.measures.looks.pairs import (
    alike_ratio,
    checkerboard,
    contrast,
    likeness,
    mean_abs_change,
    mirror_gain,
    sharpness_ratio,
)
from factory.measures.registration import registered

Images = NDArray[np.uint8]
Columns = dict[str, NDArray[np.floating]]


def geometry_of(rows: pa.Table, parent_NHW: Images, refined_NHW: Images) -> Columns:
    """How far edges and whole pictures moved: columns of `schemas.eye.measures.EYE_MEASURES`.

    Args:
        rows: labels of the N parents.
        parent_NHW, refined_NHW: (N, H, W) uint8.
    """
    iris = registered_iris(
        parent_NHW, refined_NHW, points_of(rows, "pupil_px"), values_of(rows, "eye_width_px")
    )
    label = LandmarksFound(landmarks_px(rows))
    regions_NHW = iris_regions(parent_NHW.shape[1:], label.iris_outline_NK2, label.lids_NK2)
    motion, apart_N2 = motion_and_apart(parent_NHW, refined_NHW, regions_NHW)
    return {
        "registration_px": registered(parent_NHW, refined_NHW).distance_px,
        "iris_registration_px": iris.distance_px,
        "iris_match": iris.match_N,
        "turn_deg": np.abs(motion.turn_deg_N),
        "stretch_x_percent": np.abs(motion.stretch_percent_N2[:, 0]),
        "stretch_y_percent": np.abs(motion.stretch_percent_N2[:, 1]),
        "shear_deg": np.abs(motion.shear_deg_N),
        "affine_shift_x_px": np.abs(motion.shift_px_N2[:, 0]),
        "affine_shift_y_px": np.abs(motion.shift_px_N2[:, 1]),
        "iris_in_lids_px": np.hypot(*apart_N2.T),
    }


def looks_of(parent_NHW: Images, refined_NHW: Images) -> Columns:
    """What became of the grey values: columns of `schemas.eye.measures.EYE_MEASURES`."""
    return {
        "mean_abs_change": mean_abs_change(parent_NHW, refined_NHW),
        "likeness": likeness(parent_NHW, refined_NHW),
        "mirror_gain": mirror_gain(parent_NHW, refined_NHW),
        "contrast": contrast(refined_NHW),
        "sharpness_ratio": sharpness_ratio(parent_NHW, refined_NHW),
        "checkerboard": checkerboard(refined_NHW),
        "block_trace": block_trace(refined_NHW),
        "alike_ratio": alike_ratio(parent_NHW, refined_NHW),
    }
