"""Pixels and affine maps. Coordinates follow docs/conventions.md: pixel centres at integers."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Affine = NDArray[np.float64]
"""(2, 3): maps (x, y, 1) of one picture to (x, y) of another"""


class UndecodableError(ValueError):
    """Bytes that are no whole picture."""


def scaling(factor_x: float, factor_y: float) -> Affine:
    """The map of a resize: x' = (x + 0.5) s - 0.5."""
    return np.array(
        [[factor_x, 0, (factor_x - 1) / 2], [0, factor_y, (factor_y - 1) / 2]], dtype=np.float64
    )


def chain(outer: Affine, inner: Affine) -> Affine:
    """The map that applies `inner`, then `outer`."""
    product = np.vstack([outer, (0, 0, 1)]) @ np.vstack([inner, (0, 0, 1)])
    return np.asarray(product[:2])


def inverse(affine: Affine) -> Affine:
    """The map back."""
    return np.asarray(np.linalg.inv(np.vstack([affine, (0, 0, 1)]))[:2])


def transform(affine: Affine, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2) points through a map."""
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])


def warp(image: Pixels, affine: Affine, height: int, width: int) -> Pixels:
    """Resample a picture through `affine`, free of aliasing.

    Shrinking samples a finer grid and averages its cells, so a pixel of the result is the mean
    over the square it covers, and the geometry is exact to the affine.

    Args:
        image: (h, w) or (h, w, c) uint8 or uint16.
        affine: source pixels to result pixels.

    Returns:
        (height, width[, c]), same dtype; beyond the border the edge pixel is repeated.
    """
    shrink = 1 / np.sqrt(abs(np.linalg.det(affine[:, :2])))
    fine = max(1, int(np.ceil(shrink - 0.25)))
    result = cv2.warpAffine(
        image,
        chain(scaling(fine, fine), affine),
        (width * fine, height * fine),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if fine > 1:
        result = cv2.resize(result, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(result)


def encode_png(image: Pixels) -> bytes:
    """Lossless PNG: (h, w) grey of 8 or 16 bits, or (h, w, 3) RGB of 8 bits."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, buffer = cv2.imencode(".png", image)
    assert done, f"PNG encoder refused {image.shape} {image.dtype}"
    return bytes(buffer)


def is_png(raw: bytes) -> bool:
    """Whether bytes begin as a PNG does."""
    return raw.startswith(b"\x89PNG\r\n\x1a\n")


def decode(raw: bytes, flags: int) -> Pixels | None:
    """What OpenCV reads, or None: also for pictures larger than it allows."""
    try:
        return cast("Pixels | None", cv2.imdecode(np.frombuffer(raw, np.uint8), flags))
    except cv2.error:
        return None


def decode_png(raw: bytes) -> Pixels:
    """The picture that `encode_png` was given.

    Raises:
        UndecodableError: truncated, or no picture.
    """
    image = decode(raw, cv2.IMREAD_UNCHANGED) if is_png(raw) else None
    if image is None:
        raise UndecodableError(f"{len(raw)} bytes that do not decode as PNG")
    if image.ndim == 3:
        return cast("Pixels", cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return image
