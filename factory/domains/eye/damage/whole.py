"""Whole pictures turned or stretched."""

import numpy as np

from factory.domains.eye.damage.pairs import Images, Values
from factory.domains.eye.pupil.calibration import warped


def turned(images_NHW: Images, angle_rad_N: Values) -> Images:
    """The images turned about their centres; positive angles turn x towards y, clockwise on the
    screen. Pixels are interpolated with a cubic kernel; outermost ones are repeated."""
    cosine_N, sine_N = np.cos(angle_rad_N), np.sin(angle_rad_N)
    rows = (np.stack([cosine_N, -sine_N], axis=1), np.stack([sine_N, cosine_N], axis=1))
    return _mapped(images_NHW, np.stack(rows, axis=1))


def stretched(images_NHW: Images, factor_N: Values) -> Images:
    """The images made wider by a factor, about their centres; interpolated as by `turned`."""
    map_N22 = np.broadcast_to(np.eye(2), (len(images_NHW), 2, 2)).copy()
    map_N22[:, 0, 0] = factor_N
    return _mapped(images_NHW, map_N22)


def _mapped(images_NHW: Images, map_N22: Values) -> Images:
    height, width = images_NHW.shape[1:]
    centre_2 = np.array([(width - 1) / 2, (height - 1) / 2])
    shift_N2 = centre_2 - map_N22 @ centre_2
    return warped(images_NHW, np.concatenate([map_N22, shift_N2[:, :, None]], axis=2))
