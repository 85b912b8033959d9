"""The columns of an index for hands: those of every hand, and those of labelled ones."""

import pyarrow as pa

from schemas.index import VECTOR

HAND_FRAME: tuple[pa.Field, ...] = (
    pa.field("z_near_mm", pa.int32()),
    pa.field("cube_mm", pa.int32()),
    pa.field(
        "camera",
        pa.struct([(name, pa.float32()) for name in ("fx_px", "fy_px", "cx_px", "cy_px")]),
    ),
)
"""Columns of `schemas.hand.sample.UnlabelledHand`, without which a depth picture has no meaning."""


HAND_LABELS: tuple[pa.Field, ...] = (
    pa.field("joints_uvd", pa.list_(VECTOR, 36)),
    pa.field("joints_xyz_mm", pa.list_(VECTOR, 36)),
    pa.field("joints14_uvd", pa.list_(VECTOR, 14)),
    pa.field("joints14_xyz_mm", pa.list_(VECTOR, 14)),
)
"""Columns of the labels of `schemas.hand.sample.Hand`, by the same names."""
