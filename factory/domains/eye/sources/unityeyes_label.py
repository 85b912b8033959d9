"""The label of a UnityEyes render: numbers in texts, y counted from the bottom.

Read point by point, a label costs a third of what its picture does; so all points are converted
at once, and only a label where that fails is gone through text by text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from factory.sources.base import BadRender

LANDMARKS: Mapping[str, int] = {"interior_margin_2d": 16, "caruncle_2d": 7, "iris_2d": 32}
"""label fields that crop pixels replace, with their counts; every other one is kept in `extra`"""
REQUIRED = (*LANDMARKS, "eye_details", "head_pose")
MAX_NESTING = 32
"""of a label's objects and lists: JSON libraries stop at different depths, all deeper"""
GAZE_LENGTH_TOLERANCE = 0.02
MAX_FLOAT32 = float(np.finfo(np.float32).max)
LID, CARUNCLE, IRIS = slice(0, 16), slice(16, 23), slice(23, 55)
"""where each landmark field is among all points"""
_OF_NUMBERS = b"0123456789+-.eE "
_AS_ONE_LIST = bytes.maketrans(b"();", b"  ,")


class Landmarks(NamedTuple):
    """All landmarks of a picture in the order of `LANDMARKS`, y down. Lists, not arrays: of so few
    numbers Python computes sums and bounds in a fraction of the time."""

    x: list[float]
    y: list[float]

    def mean(self, part: slice) -> tuple[float, float]:
        """The middle of one field's points."""
        count = part.stop - part.start
        return math.fsum(self.x[part]) / count, math.fsum(self.y[part]) / count


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


def landmarks(source_id: str, label: Mapping[str, Any], height: int, width: int) -> Landmarks:
    """All landmarks of a picture.

    Raises:
        BadRender: too few, not numbers, outside the picture, or all in one place.
    """
    for name, count in LANDMARKS.items():
        if not isinstance(label[name], list):
            kind = type(label[name]).__name__
            raise BadRender(source_id, f"{name}: expected a list, found {kind}")
        if len(label[name]) != count:
            raise BadRender(source_id, f"{name}: expected {count} points of 3 numbers")
    texts = [text for name in LANDMARKS for text in label[name]]
    x, y = _xy_at_once(texts) or _xy(source_id, label)
    y = [height - value for value in y]
    for name, part in zip(LANDMARKS, (LID, CARUNCLE, IRIS), strict=True):
        xs, ys = sorted(x[part]), sorted(y[part])  # in half the time of four searches
        left, top, right, bottom = xs[0], ys[0], xs[-1], ys[-1]
        if min(left, top) < 0 or right > width or bottom > height:
            points = zip(x[part], y[part], strict=True)
            worst = max(points, key=lambda p: max(abs(p[0] - width / 2), abs(p[1] - height / 2)))
            raise _outside(source_id, name, worst, height, width)
        if max(right - left, bottom - top) < 1:
            raise BadRender(source_id, f"{name}: all points coincide")
    return Landmarks(x, y)


def image_point(
    source_id: str, label: Mapping[str, Any], name: str, height: int, width: int
) -> tuple[float, float]:
    """(x, y) of one point of a picture, y down. Raises `BadRender`."""
    x, y, _ = _triple(source_id, name, label[name])
    point = x, height - y
    if min(point) < 0 or point[0] > width or point[1] > height:
        raise _outside(source_id, name, point, height, width)
    return point


def _xy_at_once(texts: Sequence[Any]) -> tuple[list[float], list[float]] | None:
    """x and y of texts `"(x, y, z)"`; None if they are not all such, in plain digits."""
    try:
        joined = ";".join(texts).encode()
        if joined.translate(None, _OF_NUMBERS) != b";".join([b"(,,)"] * len(texts)):
            return None
        if joined.count(b");(") + 1 != len(texts) or joined[:1] + joined[-1:] != b"()":
            return None  # numbers outside of the brackets
        numbers = orjson.loads(b"[%b]" % joined.translate(_AS_ONE_LIST))
    except (TypeError, ValueError):
        return None
    return numbers[0::3], numbers[1::3]


def _xy(source_id: str, label: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """The same of the landmark fields, text by text. Raises `BadRender` for the first bad one."""
    points = [_triple(source_id, name, text) for name in LANDMARKS for text in label[name]]
    return [x for x, _, _ in points], [y for _, y, _ in points]


def _triple(source_id: str, name: str, text: object) -> list[float]:
    values = numbers_of(source_id, name, text)
    if len(values) != 3:
        raise BadRender(source_id, f"{name}: expected points of 3 numbers, found {text}")
    return values


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


def _outside(
    source_id: str, name: str, point: Sequence[float], height: int, width: int
) -> BadRender:
    position = f"({point[0]:.4g}, {point[1]:.4g})"
    return BadRender(
        source_id, f"{name}: a landmark at {position} is outside the {width}x{height} picture"
    )


def gaze_of(source_id: str, label: Mapping[str, Any]) -> tuple[float, float, float]:
    """The gaze in the camera frame; UnityEyes is left-handed with y up."""
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
    return x / length, y / length, z / length


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
