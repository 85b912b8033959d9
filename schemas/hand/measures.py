"""Every hand's measurements: the Arrow schema of `measures/<how>/NNNNNN.parquet`.

A row compares one refined depth picture with its parent and with its labels. Null is what could not
be measured, or what no network was given for.
"""

import pyarrow as pa

from schemas.measures import float_measure as _float

HAND_MEASURES: tuple[pa.Field, ...] = (
    _float("silhouette_drift_px", "displacement of the whole outline"),
    _float("silhouette_match", "correlation of both outlines' signed distances there, -1 to 1"),
    _float("edge_drift_px", "median movement of depth discontinuities along their normals"),
    _float("edge_growth_px", "mean movement of depth discontinuities outwards; below 0: shrunk"),
    _float("joint_depth_error_mm", "mean |refined - parent| depth of the skin at visible joints"),
    _float("joint_depth_shift_mm", "mean refined - parent depth of the skin at visible joints"),
    _float("joint_drift_px", "mean displacement of the 14 joints, by the joint network"),
    _float("joint_error_px", "mean distance of the 14 joints from their labels, by the network"),
    _float("label_fit", "share of the 36 labelled joints with skin close before them, 0 to 1"),
    _float("lost_joint_share", "share of the visible joints without depth in the refined picture"),
    _float("lost_share", "pixels of the hand that became background, over those of the parent"),
    _float("grown_share", "background that became hand, over the pixels of the parent's hand"),
    _float("hole_rate", "share of the refined hand without depth, outline closed"),
    _float("raggedness_px", "rms distance of the refined outline from itself smoothed"),
    _float("flying_share", "share of the refined hand's pixels that lie on no surface"),
    _float("noise_mm", "what planes leave of smooth surfaces of the refined hand, rms"),
    _float("mean_abs_change", "mean |refined - parent| on [-1, 1]; 0: the refiner did nothing"),
    _float("likeness", "correlation of the pixels of parent and refined, -1 to 1"),
    _float("depth_likeness", "correlation of depth where both have the hand, -1 to 1"),
    _float("mirror_gain", "correlation of the mirrored image with its parent, less likeness"),
    _float("contrast", "standard deviation of the refined image on [-1, 1]"),
    _float("alike_ratio", "distance to the most alike refined images of the shard over that of "
           "their parents; 0: one image stands for several scenes"),
)  # fmt: skip
"""what a sample's verdict may rest on; displacements are from parent to refined, px of the crop"""

HAND_MEASURE_MEANINGS = {field.name: field.metadata[b"meaning"].decode() for field in HAND_MEASURES}
"""every measure that limits on samples may name"""

HAND_MEASURES_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        # mean distance of the evaluated joints from the camera; angle between the palm's normal and
        # the line of sight, 0 to 90; share of the evaluated joints whose skin the parent shows
        pa.field("distance_mm", pa.float32()),
        pa.field("palm_tilt_deg", pa.float32()),
        pa.field("visible_share", pa.float32()),
        # why there is no silhouette_drift_px
        pa.field("reason", pa.string()),
        # signed displacements: of the outline, and of the joints in the mean
        pa.field("silhouette_shift_x_px", pa.float32()),
        pa.field("silhouette_shift_y_px", pa.float32()),
        pa.field("joint_shift_x_px", pa.float32()),
        pa.field("joint_shift_y_px", pa.float32()),
        *(pa.field(field.name, field.type) for field in HAND_MEASURES),
    ]
)
