"""The label of a render, in the form of a UnityEyes JSON file.

Every value is a string, tuples are "(x, y, z)", and pixel coordinates have y **up**
(`y_image = height - y`). One field is added to those of UnityEyes: `pupil_2d`, the true pupil
centre.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from factory.domains.eye.renderer.scene import (
    IRISES,
    SKIES,
    Array,
    Landmarks,
    Scenes,
    View,
    people,
)

CAMERA_MM = 100.0
"""distance of the eyeball's centre from the camera; only depths in labels use it, because the
projection is orthographic. They are written in centimetres, as those of UnityEyes seem to be."""

Label = dict[str, Any]


def labels_of(scenes: Scenes, landmarks: Landmarks, view: View) -> list[Label]:
    """One label for each of n scenes.

    The head pose has UnityEyes' form: pitch in [0, 360) degrees, and a yaw of 180 straight ahead.
    """
    crowd = people(scenes.population)
    pixels = {
        "interior_margin_2d": _pixels(landmarks.margin, view),
        "caruncle_2d": _pixels(landmarks.caruncle, view),
        "iris_2d": _pixels(landmarks.iris, view),
        "pupil_2d": _pixels(landmarks.pupil[:, None], view),
    }
    labels = []
    for i, person in enumerate(scenes.person):
        elevation, azimuth = scenes.light_deg[i]
        pitch, yaw = scenes.head_deg[i]
        label: Label = {
            name: [_tuple(point, 4) for point in points[i]] for name, points in pixels.items()
        }
        pupil = label.pop("pupil_2d")[0]
        label["eye_details"] = {
            "look_vec": _tuple([*scenes.gaze[i], 0.0], 4),
            "pupil_size": f"{scenes.pupil_size[i]:.7g}",
            "iris_size": f"{scenes.iris_size[i]:.7g}",
            "iris_texture": f"iris_{IRISES[int(crowd.iris[person])]}",
        }
        label["lighting_details"] = {
            "skybox_texture": SKIES[int(scenes.sky[i])],
            "skybox_exposure": f"{scenes.exposure[i]:.7g}",
            "skybox_rotation": f"{scenes.sky_rotation_deg[i]:.0f}",
            "ambient_intensity": f"{scenes.ambient[i]:.7g}",
            "light_rotation": _tuple([elevation % 360, azimuth % 360, 0.0], 1),
            "light_intensity": f"{scenes.light_intensity[i]:.7g}",
        }
        label["eye_region_details"] = {
            "pca_shape_coeffs": [f"{value:.7g}" for value in scenes.shape[i]],
            "primary_skin_texture": crowd.names[int(person)],
        }
        label["head_pose"] = _tuple([pitch % 360, 180 + yaw, 0.0], 4)
        label["pupil_2d"] = pupil
        labels.append(label)
    return labels


def _pixels(points: Array, view: View) -> Array:
    """(n, k, 3): x and y in pixels, y up, and depth in centimetres."""
    flat = view.to_px(points)
    depth = (CAMERA_MM + points[..., 2]) / 10
    return np.stack([flat[..., 0], view.height - flat[..., 1], depth], -1)


def _tuple(values: Iterable[float], digits: int) -> str:
    return "(" + ", ".join(f"{value + 0.0:.{digits}f}" for value in values) + ")"
