"""The label of a UnityEyes render: JSON whose numbers are in strings, with y from the bottom.

Parsing a label point by point takes a third of the time of reading its picture. So all points are
parsed at once, and one by one only in labels where that fails.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from factory.sources.base import BadRender

LANDMARKS: Mapping[str, int] = {"interior_margin_2d": 16, "caruncle_2d": 7, "iris_2d": 32}
"""the label fields of landmarks, with the number of their points; a sample has them in crop pixels,
and all other fields unchanged in `extra`"""
REQUIRED = (*LANDMARKS, "eye_details", "head_pose")
MAX_NESTING = 32
"""greatest depth of a label's objects and lists; every JSON library can read at least this depth"""
GAZE_LENGTH_TOLERANCE = 0.02
"""how much the length of `look_vec` may differ from 1"""
MAX_FLOAT32 = float(np.finfo(np.float32).max)
LID, CARUNCLE, IRIS = slice(0, 16), slice(16, 23), slice(23, 55)
"""the positions of each field's points among all landmarks"""
_OF_NUMBERS = b"0123456789+-.eE "
_AS_ONE_LIST = bytes.maketrans(b"();", b"  ,")


class Landmarks(NamedTuple):
    """All landmarks of a picture in the order of `LANDMARKS`, in picture pixels, y down.

    They are lists, because for so few numbers Python's sums and bounds are faster than numpy's.
    """

    x: list[float]
    y: list[float]

    def mean(self, part: slice) -> tuple[float, float]:
        """The mean (x, y) of one field's points."""
        count = part.stop - part.start
        return math.fsum(self.x[part]) / count, math.fsum(self.y[part]) / count


def parse_label(source_id: str, raw: bytes) -> dict[str, Any]:
    """Parse a label and check that it has the required fields.

    Raises:
        BadRender: it is not JSON, not an object, lacks a field, or is nested too deeply.
    """
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
    num_openings = raw.count(b"[") + raw.count(b"{")  # an upper bound of the depth, quick to count
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
    """All landmarks of a picture of height x width pixels.

    Raises:
        BadRender: there are too few, or they are not numbers, or outside the picture, or all of a
            field are at one position.
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
    """(x, y) of the point in one field of a label, in picture pixels, y down.

    Raises:
        BadRender: it is not a point inside the picture.
    """
    x, y, _ = _triple(source_id, name, label[name])
    point = x, height - y
    if min(point) < 0 or point[0] > width or point[1] > height:
        raise _outside(source_id, name, point, height, width)
    return point


def _xy_at_once(texts: Sequence[Any]) -> tuple[list[float], list[float]] | None:
    """x and y of strings `"(x, y, z)"`; None unless all of them have this form, in plain digits."""
    try:
        joined = ";".join(texts).encode()
        if joined.translate(None, _OF_NUMBERS) != b";".join([b"(,,)"] * len(texts)):
            return None
        if joined.count(b");(") + 1 != len(texts) or joined[:1] + joined[-1:] != b"()":
            return None  # there are numbers outside the brackets
        numbers = orjson.loads(b"[%b]" % joined.translate(_AS_ONE_LIST))
    except (TypeError, ValueError):
        return None
    return numbers[0::3], numbers[1::3]


def _xy(source_id: str, label: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """x and y of the landmark fields, string by string.

    Raises:
        BadRender: a string is not a point; the reason names the first such one.
    """
    points = [_triple(source_id, name, text) for name in LANDMARKS for text in label[name]]
    return [x for x, _, _ in points], [y for _, y, _ in points]


def _triple(source_id: str, name: str, text: object) -> list[float]:
    values = numbers_of(source_id, name, text)
    if len(values) != 3:
        raise BadRender(source_id, f"{name}: expected points of 3 numbers, found {text}")
    return values


def numbers_of(source_id: str, name: str, text: object) -> list[float]:
    """The numbers of a string such as `"(x, y, z)"`.

    Raises:
        BadRender: it is not such a string, or a number is not finite.
    """
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
    """The gaze (x, y, z), a unit vector in the camera frame.

    UnityEyes' own frame is left-handed with y up, so the sign of y changes.

    Raises:
        BadRender: there is no `look_vec` of length 1 that points towards the camera's side.
    """
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
    """(pitch, yaw) in radians of the direction of the face.

    The file has the camera's Euler angles in degrees. From a camera above the face (positive
    pitch) the face points down, and a yaw of 180 is a camera straight ahead.

    Raises:
        BadRender: `head_pose` does not have 3 numbers.
    """
    values = numbers_of(source_id, "head_pose", label["head_pose"])
    if len(values) != 3:
        raise BadRender(source_id, f"head_pose: expected 3 numbers, found {label['head_pose']}")
    pitch, yaw = values[0], values[1]
    wrapped = (-pitch + 180) % 360 - 180, (180 - yaw + 180) % 360 - 180
    return math.radians(wrapped[0]), math.radians(wrapped[1])


def detail_of(source_id: str, label: Mapping[str, Any], name: str) -> float:
    """A number among the eye's details.

    Raises:
        BadRender: there is none of this name, or it does not fit into a finite float32.
    """
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
    """The name of the skin texture, which identifies the person; None where there is none."""
    region = label.get("eye_region_details")
    texture = region.get("primary_skin_texture") if isinstance(region, dict) else None
    return texture if isinstance(texture, str) else None
