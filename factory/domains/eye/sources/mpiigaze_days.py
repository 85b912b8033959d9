"""One file of MPIIGaze's normalised set: the eyes of a person on a day."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.sources.pictures import MIN_SIDE_PX
from factory.sources.matlab import AbsentError, MatError, read_arrays

Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = ("left", "right")
FIELDS = "image", "gaze", "pose"


class Eyes(NamedTuple):
    """The eyes of one side."""

    image: NDArray[np.uint8]
    """(n, 36, 60)"""
    gaze: NDArray[np.float64]
    """(n, 3)"""
    pose: NDArray[np.float64]
    """(n, 3) rotation vectors"""


@dataclass(frozen=True)
class Day:
    """What one file has."""

    eyes: dict[Side, Eyes]
    """the sides that can be read"""
    problems: tuple[str, ...]
    """why the others cannot"""
    absent: str | None = None
    """that there is no other side, where the file has one side alone"""

    @classmethod
    def read(cls, raw: bytes) -> "Day":
        """Read a file.

        Raises:
            MissingExtraError: it is of MATLAB 7.3, and h5py is not installed.
        """
        paths = [("data", side, field) for side in SIDES for field in FIELDS]
        try:
            arrays = read_arrays(raw, paths)
        except MatError as error:
            return cls({}, (str(error),))
        eyes: dict[Side, Eyes] = {}
        problems: list[str] = []
        absent: list[str] = []
        for number, side in enumerate(SIDES):
            fields = arrays[len(FIELDS) * number :][: len(FIELDS)]
            try:
                eyes[side] = _eyes(fields, side)
            except AbsentError as error:
                (absent if error.path == ("data", side) else problems).append(str(error))
            except MatError as error:
                problems.append(str(error))
        if not eyes:
            return cls({}, tuple(dict.fromkeys(problems + absent)))
        if problems:
            problems.append(f"its {' and '.join(eyes)} eyes are read")
        return cls(eyes, tuple(problems), next(iter(absent), None))


def _eyes(arrays: list[Any], side: Side) -> Eyes:
    """The eyes of one side.

    Args:
        arrays: image, gaze and pose, or why there is none.

    Raises:
        MatError: they are not those of n eyes.
    """
    for array in arrays:
        if isinstance(array, MatError):
            raise array
    image, gaze, pose = arrays
    if image.ndim == 2 and gaze.size == pose.size == 3:  # one eye, without its first axis
        image, gaze, pose = image[None], gaze.reshape(1, 3), pose.reshape(1, 3)
    if image.size == gaze.size == pose.size == 0:
        image, gaze, pose = np.empty((0, 36, 60), np.uint8), gaze.reshape(0, 3), pose.reshape(0, 3)
    if image.ndim != 3 or min(image.shape[1:]) < MIN_SIDE_PX:
        raise MatError(f"{side} images are {image.shape}, expected (n, 36, 60)")
    if gaze.shape != (len(image), 3) or pose.shape != (len(image), 3):
        raise MatError(
            f"{side}: {len(image)} images, gaze {gaze.shape}, pose {pose.shape}; expected (n, 3)"
        )
    return Eyes(_grey(image, side), gaze.astype(np.float64), pose.astype(np.float64))


def _grey(image: NDArray[Any], side: Side) -> NDArray[np.uint8]:
    """Images in 8 bits.

    Raises:
        MatError: their values are neither grey values of 8 bits nor shares of white.
    """
    if image.dtype == np.uint8:
        return np.asarray(image)
    if not image.size:
        return image.astype(np.uint8)
    low, high = float(image.min()), float(image.max())  # both are NaN where a value is
    if image.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.asarray(np.rint(image * 255), np.uint8)
    if low >= 0 and high <= 255 and not np.any(image % 1):
        return image.astype(np.uint8)
    raise MatError(
        f"{side} images are {image.dtype} with values from {low:.4g} to {high:.4g}; expected whole "
        "numbers from 0 to 255, or shares of white from 0 to 1"
    )
