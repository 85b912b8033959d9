"""Whole pictures turned, stretched, or saved with losses."""

import cv2
import numpy as np

from factory.domains.eye.damage.pairs import Images, Values


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
    result = np.empty_like(images_NHW)
    for i, (image, map_22) in enumerate(zip(images_NHW, map_N22, strict=True)):
        result[i] = cv2.warpAffine(
            image,
            np.column_stack([map_22, centre_2 - map_22 @ centre_2]),
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return result


def compressed(images_NHW: Images, quality: int) -> Images:
    """The images as they come back from JPEG files of a quality, 1 to 100."""
    result = np.empty_like(images_NHW)
    for i, image in enumerate(images_NHW):
        _, stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result[i] = np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE))
    return result
