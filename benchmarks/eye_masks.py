"""Eyes with hand-made masks, cropped like a dataset's images, for the benchmarks in this folder.

A tar has NAME.jpg with NAME.mask.png, whose values are 0 for background, 1 for sclera, 2 for iris
and 3 for pupil.
"""

import tarfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.sources.iris_masks import limbus_center

EYE_WIDTH_PX = 40.0
"""distance of the eye corners in the crops"""
Images = NDArray[np.uint8]
Values = NDArray[np.float64]


class Masked(NamedTuple):
    """N crops, rotated so that the eye corners are on a horizontal line."""

    images_NHW: Images  # noqa: N815
    center_N2: Values  # noqa: N815
    """(x, y) of the centre of the ellipse through the border of iris and sclera, px"""
    outline: list[Values]
    """(P, 2) px each: the border of the opening between the lids"""
    is_photo_N: NDArray[np.bool_]  # noqa: N815
    """whether each is a photograph; the others are renders"""
    pupil_apart_px: Values
    """distance from that centre to the centroid of the pupil in the mask, where there is one; it
    shows how far two definitions of the truth differ"""


def read_masks(location: Path, limit: int | None = None, skip: int = 0) -> Masked:
    """Read the eyes whose iris has a border with the sclera on both sides."""
    images, centers, outlines, photos, apart = [], [], [], [], []
    for name, image, mask in islice(_pairs(location), skip, None):
        limbus = limbus_center(mask)
        if limbus is None:
            continue
        affine = _affine(mask)
        center = _moved(affine, limbus)
        pupil = np.argwhere(mask == 3)[:, ::-1]
        if len(pupil) > 20:
            apart.append(np.hypot(*(_moved(affine, pupil.mean(axis=0)) - center)))
        images.append(_warp(image, affine))
        centers.append(center)
        outlines.append(_moved(affine, _border(mask)))
        photos.append(Path(name).name.startswith("r"))
        if len(images) == limit:
            break
    return Masked(np.stack(images), np.stack(centers), outlines, np.array(photos), np.array(apart))


def _pairs(location: Path) -> Iterator[tuple[str, Images, Images]]:
    with tarfile.open(location) as tar:
        members = {member.name: member for member in tar if member.isfile()}
        for name in sorted(members):
            pair = (name.replace(".mask.png", ".jpg"), name)
            if not name.endswith(".mask.png") or pair[0] not in members:
                continue
            grey, mask = (
                cv2.imdecode(np.frombuffer(tar.extractfile(members[n]).read(), np.uint8), 0)
                for n in pair
            )
            yield name, grey, mask


def _affine(mask: Images) -> NDArray[np.float64]:
    points = np.argwhere((mask >= 1) & (mask <= 3))[:, ::-1].astype(np.float64)
    mean = points.mean(axis=0)
    axis = np.linalg.eigh(np.cov((points - mean).T))[1][:, 1]
    axis = axis if axis[0] > 0 else -axis
    turn = np.array([[axis[0], axis[1]], [-axis[1], axis[0]]])
    along = (points - mean) @ turn.T
    middle = (along.max(axis=0) + along.min(axis=0)) / 2
    scale = 0.95 * EYE_WIDTH_PX / np.ptp(along[:, 0])
    shift = np.array([27.0, 17.0]) - scale * (turn @ mean + middle)
    return np.hstack([scale * turn, shift[:, None]])


def _warp(image: Images, affine: NDArray[np.float64]) -> Images:
    scale = np.sqrt(np.linalg.det(affine[:, :2]))
    smooth = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 0.8 else image
    return cv2.warpAffine(smooth, affine, (55, 35), borderMode=cv2.BORDER_REPLICATE)


def _border(mask: Images) -> Values:
    """(P, 2) x and y of the outermost pixels of the opening."""
    inside = ((mask >= 1) & (mask <= 3)).astype(np.uint8)
    edge = inside - cv2.erode(inside, np.ones((3, 3), np.uint8))
    return np.argwhere(edge > 0)[:, ::-1].astype(np.float64)


def _moved(affine: Values, points: Values) -> Values:
    return points @ affine[:, :2].T + affine[:, 2]
