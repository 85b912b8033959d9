"""The label of a UnityEyes render: numbers in texts, y counted from the bottom.

Every label costs as much as a third of its picture if it is read point by point, so all points
are converted at once; only a label where that fails is gone through piece by piece, for a reason.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from factory.sources.base import BadRender

LANDMARKS: Mapping[str, int] = {"interior_margin_2d": 16, "caruncle_2d": 7, "iris_2d": 32}
"""label fields that crop pixels replace, with their counts; every other one is kept in `extra`"""
REQUIRED = (*LANDMARKS, "eye_details", "head_pose")
MAX_NESTING = 32
"""of a label's objects and lists: JSON libraries stop at different depths, all deeper"""
GAZE_LENGTH_TOLERANCE = 0.02
MAX_FLOAT32 = float(np.finfo(np.float32).max)
_STARTS = np.cumsum([0, *LANDMARKS.values()])[:-1]
"""where each landmark field begins among all points"""


class Landmarks(NamedTuple):
    """Points of a picture, y down."""

    lid: NDArray[np.float64]
    """(16, 2)"""
    caruncle: NDArray[np.float64]
    """(7, 2)"""
    iris: NDArray[np.float64]
    """(32, 2)"""

    @classmethod
    def split(cls, points: NDArray[np.float64]) -> "Landmarks":
        """Of (55, 2) points, in this order."""
        return cls(*np.split(points, _STARTS[1:]))


def parse_label(source_id: str, raw: bytes) -> dict[str, Any]:
    """A label whose required fields are there. Raises `BadRender`."""
    try:
        label = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRender(source_id, f"label is not JSON ({error})") from error
    if not isinstance(label, dict):
        raise BadRender(source_id, f"label is a JSON {type(label).__name__}, not an object")
    missing = [name for name in REQUIRED if name not in label]
    if missing:
        raise BadRender(
            source_id,
            f"not a UnityEyes label: no {', '.join(missing)} (has {', '.join(sorted(label)[:6])})",
        )
    num_openings = raw.count(b"[") + raw.count(b"{")  # bounds the depth, and is quick to find
    if num_openings > MAX_NESTING and _nests_deeper(label, MAX_NESTING):
        raise BadRender(source_id, f"label is nested more than {MAX_NESTING} deep")
    if not isinstance(label["eye_details"], dict):
        raise BadRender(source_id, "eye_details is not an object")
    return label


def _nests_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_nests_deeper(part, levels - 1) for part in inner)


def landmarks(
    source_id: str, label: Mapping[str, Any], height: int, width: int
) -> NDArray[np.float64]:
    """(55, 2): all landmarks of a picture, in the order of `LANDMARKS`, y down.

    Raises:
        BadRender: too few, not numbers, outside the picture, or all in one place.
    """
    texts: list[object] = []
    for name, count in LANDMARKS.items():
        if not isinstance(label[name], list):
            found = type(label[name]).__name__
            raise BadRender(source_id, f"{name}: expected a list, found {found}")
        if len(label[name]) != count:
            raise BadRender(source_id, f"{name}: expected {count} points of 3 numbers")
        texts += label[name]
    try:
        points = _image_points(texts, height)
    except ValueError:
        for name in LANDMARKS:
            _check_points(source_id, name, label[name])
        raise
    if not _in_picture(points, height, width):
        for name, part in zip(LANDMARKS, Landmarks.split(points), strict=True):
            _check_in_picture(source_id, name, part, height, width)
    extent = np.maximum.reduceat(points, _STARTS) - np.minimum.reduceat(points, _STARTS)
    for name, largest in zip(LANDMARKS, extent.max(axis=1).tolist(), strict=True):
        if largest < 1:
            raise BadRender(source_id, f"{name}: all points coincide")
    return points


def image_point(
    source_id: str, label: Mapping[str, Any], name: str, height: int, width: int
) -> NDArray[np.float64]:
    """(2,): one point of a picture, y down. Raises `BadRender`."""
    _check_points(source_id, name, [label[name]])
    points = _image_points([label[name]], height)
    _check_in_picture(source_id, name, points, height, width)
    return np.asarray(points[0])


def _image_points(texts: Sequence[object], height: int) -> NDArray[np.float64]:
    """(n, 2), y down, of n texts `"(x, y, depth)"`. Raises `ValueError`."""
    inner = []
    for text in texts:
        if not isinstance(text, str) or text[:1] != "(" or text[-1:] != ")" or text.count(",") != 2:
            raise ValueError(f"expected three numbers, found {text!r}")
        inner.append(text[1:-1])
    numbers = np.array([float(part) for part in ",".join(inner).split(",")]).reshape(-1, 3)
    if not np.isfinite(numbers).all():
        raise ValueError("a number is not finite")
    points = numbers[:, :2]
    points[:, 1] = height - points[:, 1]
    return points


def _check_points(source_id: str, name: str, texts: Sequence[object]) -> None:
    """Say which text is no point."""
    for text in texts:
        if len(numbers_of(source_id, name, text)) != 3:
            raise BadRender(source_id, f"{name}: expected {len(texts)} points of 3 numbers")


def numbers_of(source_id: str, name: str, text: object) -> list[float]:
    """The finite numbers of `"(x, y, z)"`. Raises `BadRender`."""
    if not isinstance(text, str) or not (text.startswith("(") and text.endswith(")")):
        raise BadRender(source_id, f'{name}: expected "(x, y, ...)", found {str(text)[:60]!r}')
    try:
        values = [float(part) for part in text[1:-1].split(",")]
    except ValueError as error:
        raise BadRender(source_id, f"{name}: {error}") from error
    if not all(map(math.isfinite, values)):
        raise BadRender(source_id, f"{name}: not finite: {text}")
    return values


def _in_picture(points: NDArray[np.float64], height: int, width: int) -> bool:
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left >= 0 and top >= 0 and right <= width and bottom <= height


def _check_in_picture(
    source_id: str, name: str, points: NDArray[np.float64], height: int, width: int
) -> None:
    if not _in_picture(points, height, width):
        worst = points[np.abs(points - (width / 2, height / 2)).max(axis=1).argmax()]
        raise BadRender(
            source_id,
            f"{name}: a landmark at ({worst[0]:.4g}, {worst[1]:.4g}) is outside the "
            f"{width}x{height} picture",
        )


def gaze_of(source_id: str, label: Mapping[str, Any]) -> NDArray[np.float64]:
    """(3,): the gaze in the camera frame; UnityEyes is left-handed with y up."""
    text = label["eye_details"].get("look_vec")
    if text is None:
        raise BadRender(source_id, "eye_details has no look_vec")
    values = numbers_of(source_id, "look_vec", text)
    if len(values) not in (3, 4):
        raise BadRender(source_id, f"look_vec: expected 3 or 4 numbers, found {text}")
    x, y, z = values[0], -values[1], values[2]
    length = math.hypot(x, y, z)
    if abs(length - 1) > GAZE_LENGTH_TOLERANCE:
        raise BadRender(source_id, f"look_vec has length {length:.3f}, not 1: {text}")
    if z >= 0:
        raise BadRender(source_id, f"look_vec points away from the camera: {text}")
    return np.array((x / length, y / length, z / length))


def head_angles_of(source_id: str, label: Mapping[str, Any]) -> tuple[float, float]:
    """(pitch, yaw) in radians of the direction the face points.

    The file holds the camera's Euler angles in degrees: a camera above the face (positive pitch)
    sees it point down, and yaw 180 is a camera straight ahead.
    """
    values = numbers_of(source_id, "head_pose", label["head_pose"])
    if len(values) != 3:
        raise BadRender(source_id, f"head_pose: expected 3 numbers, found {label['head_pose']}")
    pitch, yaw = values[0], values[1]
    wrapped = (-pitch + 180) % 360 - 180, (180 - yaw + 180) % 360 - 180
    return math.radians(wrapped[0]), math.radians(wrapped[1])


def detail_of(source_id: str, label: Mapping[str, Any], name: str) -> float:
    """A number among the eye's details. Raises `BadRender`."""
    details = label["eye_details"]
    try:
        value = float(details[name])
    except (KeyError, TypeError, ValueError) as error:
        raise BadRender(
            source_id, f"eye_details has no number {name}: {details.get(name)!r}"
        ) from error
    if not abs(value) <= MAX_FLOAT32:
        raise BadRender(source_id, f"{name} is not a finite float32: {details[name]!r:.40}")
    return value


def identity_of(label: Mapping[str, Any]) -> str | None:
    """The skin texture, which stands for a person."""
    region = label.get("eye_region_details")
    texture = region.get("primary_skin_texture") if isinstance(region, dict) else None
    return texture if isinstance(texture, str) else None
