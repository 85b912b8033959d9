"""The measurements of every eye: the Arrow schema of `measures/<how>/NNNNNN.parquet`.

A row compares one refined image with its parent image and with its labels. Null is what could not
be measured, or what no network was given for.
"""

import pyarrow as pa

from schemas.measures import float_measure as _float

EYE_MEASURES: tuple[pa.Field, ...] = (
    _float("pupil_drift_px", "displacement of the ellipse fitted to the iris border"),
    _float("iris_drift_px", "displacement of the iris, by the landmark network"),
    _float("lid_drift_px", "mean displacement of the 16 lid landmarks, by the landmark network"),
    _float("gaze_drift_deg", "angle between the gazes that a network sees in parent and refined"),
    _float("iris_error_px", "distance of the iris from its label, by the landmark network"),
    _float("lid_error_px", "mean distance of the lids from their labels, by the landmark network"),
    _float("gaze_error_deg", "angle between the gaze that the gaze network sees and the label"),
    _float("mediapipe_drift_px", "displacement of the iris, by MediaPipe's iris model"),
    _float("mediapipe_error_px", "distance of the iris from its label, by MediaPipe's iris model"),
    _float("opening_ratio", "area between the lids, refined over parent, by the landmark network"),
    _float("registration_px", "displacement of the whole picture's edges"),
    _float("iris_registration_px", "displacement of the edges around the iris"),
    _float("iris_match", "correlation of the edges around the iris at that displacement, -1 to 1"),
    _float("turn_deg", "by how much the whole picture is turned"),
    _float("stretch_x_percent", "by how much the whole picture is wider or narrower"),
    _float("stretch_y_percent", "by how much the whole picture is taller or flatter"),
    _float("shear_deg", "by how much the right angle between the picture's axes opened or closed"),
    _float("affine_shift_x_px", "displacement of the whole picture to either side, besides its "
           "turn, stretch and shear"),
    _float("affine_shift_y_px", "displacement of the whole picture up or down, likewise"),
    _float("iris_in_lids_px", "displacement of what lies between the lids around the iris, against "
           "the whole picture; about half of it where only the iris moved"),
    _float("mean_abs_change", "mean |refined - parent| on [-1, 1]; 0: the refiner did nothing"),
    _float("likeness", "correlation of the pixels of parent and refined, -1 to 1"),
    _float("mirror_gain", "correlation of the mirrored image with its parent, less likeness"),
    _float("contrast", "standard deviation of the refined image on [-1, 1]"),
    _float("sharpness_ratio", "fine detail (what a 3x3 mean leaves), refined over parent"),
    _float("checkerboard", "grey levels of patterns of period 2 px in the refined image"),
    _float("block_trace", "share of the cosine coefficients of 8x8 blocks that vanish on one grid "
           "alone, as JPEG leaves them; 0: none"),
    _float("alike_ratio", "distance to the most alike refined images of the shard over that of "
           "their parents; 0: one image stands for several scenes"),
)  # fmt: skip
"""what a sample's verdict may rest on; displacements are from parent to refined"""


DERIVED_EYE_MEASURES: tuple[pa.Field, ...] = (
    _float("agreed_drift_px", "displacement that witnesses which err apart agree on: geometric "
           "mean of registration_px, iris_registration_px and, with a landmark network, "
           "iris_drift_px"),
)  # fmt: skip
"""what follows from others: not stored, but added where measurements are read"""


EYE_MEASURE_MEANINGS = {
    field.name: field.metadata[b"meaning"].decode()
    for field in (*EYE_MEASURES, *DERIVED_EYE_MEASURES)
}
"""every measure that limits on samples may name"""


EYE_MEASURES_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("identity", pa.string()),
        pa.field("eye_width_px", pa.float32()),
        pa.field("gaze_yaw_rad", pa.float32()),
        pa.field("gaze_pitch_rad", pa.float32()),
        pa.field("head_yaw_rad", pa.float32()),
        pa.field("head_pitch_rad", pa.float32()),
        # height of the labelled lid opening over the eye's width, and the parent's mean grey value
        pa.field("opening", pa.float32()),
        pa.field("brightness", pa.float32()),
        # the ellipse's centre in both images, and why there is none
        pa.field("pupil_parent_x_px", pa.float64()),
        pa.field("pupil_parent_y_px", pa.float64()),
        pa.field("pupil_refined_x_px", pa.float64()),
        pa.field("pupil_refined_y_px", pa.float64()),
        pa.field("pupil_reason", pa.string()),
        # the landmark network's iris centre in the refined image, and its displacement
        pa.field("iris_refined_x_px", pa.float32()),
        pa.field("iris_refined_y_px", pa.float32()),
        pa.field("iris_shift_x_px", pa.float32()),
        pa.field("iris_shift_y_px", pa.float32()),
        # the displacement of MediaPipe's iris centre
        pa.field("mediapipe_shift_x_px", pa.float32()),
        pa.field("mediapipe_shift_y_px", pa.float32()),
        # how the gaze network's answer turned, by the angles of docs/conventions.md
        pa.field("gaze_yaw_shift_deg", pa.float32()),
        pa.field("gaze_pitch_shift_deg", pa.float32()),
        *(pa.field(field.name, field.type) for field in EYE_MEASURES),
    ]
)
