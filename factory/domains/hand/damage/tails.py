"""On which side of each measure of hands damage lies.

A hand's own shape and pose decide how much of it is outline, and the cube how its depth fills the
range, so what is measured over the whole picture depends on who is shown and is marked `personal`.
"""

from factory.validation.power.damages import Tail

TAILS = (
    Tail("silhouette_drift_px", True, "the outline moved against its parent's, and every label"),
    Tail("silhouette_match", False, "the outline is no longer that of the parent's hand"),
    Tail("edge_drift_px", True, "depth edges, fingers before others too, moved from their places"),
    Tail("edge_growth_px", True, "the hand became thicker than its labels say"),
    Tail("edge_growth_px", False, "the hand became thinner than its labels say"),
    Tail("joint_depth_error_mm", True, "the skin before the joints changed its depth"),
    Tail("joint_depth_shift_mm", True, "the hand lies further away than its labels say"),
    Tail("joint_depth_shift_mm", False, "the hand lies nearer than its labels say"),
    Tail("joint_drift_px", True, "the joints lie elsewhere than in the parent"),
    Tail("joint_error_px", True, "the joints are not where their labels say"),
    Tail("label_fit", False, "labelled joints have no skin before them: another hand's labels"),
    Tail("lost_joint_share", True, "joints that the parent shows have no depth any more"),
    Tail("lost_share", True, "parts of the hand became background"),
    Tail("grown_share", True, "background became hand"),
    Tail("hole_rate", True, "the hand has more holes than the camera leaves"),
    Tail("raggedness_px", True, "the outline is more ragged than the camera leaves it"),
    Tail("raggedness_px", False, "the outline is as smooth as a render's: the refiner did nothing"),
    Tail("flying_share", True, "pixels lie on no surface of the hand"),
    Tail("noise_mm", True, "the skin is rougher than the camera measures it"),
    Tail("noise_mm", False, "the skin is as smooth as a render's: the refiner did nothing"),
    Tail("mean_abs_change", False, "the refiner did nothing", personal=True),
    Tail("mean_abs_change", True, "the refiner painted another picture", personal=True),
    Tail("likeness", False, "the image is no longer a picture of its parent's hand"),
    Tail("depth_likeness", False, "the relief of the hand is no longer that of its parent"),
    Tail("mirror_gain", True, "the image is more like its parent when it is mirrored"),
    Tail("contrast", False, "hand and background have become alike", personal=True),
    Tail("alike_ratio", False, "one refined image stands for several hands"),
)
"""every measure with the side or sides on which damage lies"""
