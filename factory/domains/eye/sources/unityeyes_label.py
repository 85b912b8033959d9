"""The label of a UnityEyes render: JSON whose numbers are in strings, with y from the bottom.

Parsing a label point by point takes a third of the time of reading its picture. So all points are
parsed at once, and one by one only in labels where that fails.
"""

import codecs
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from factory.sources.base import BadRender

LANDMARKS: Mapping[str, int] = {"interior_margin_2d": 16, "caruncle_2d": 7, "iris_2d": 32}
"""the label fields of landmarks, with the number of their points; a sample has them in crop pixels,
and all other fields unchanged in `extra`"""
REQUIRED = (*LANDMARKS, "eye_details", "head_pose")
SIZES: Mapping[str, str | None] = {
    **dict.fromkeys(("image_size", "picture_size", "screen_size", "resolution")),
    **{f"{of}width": f"{of}height" for of in ("", "image_", "picture_", "screen_")},
}
"""fields in which some renderers name the size of their pictures: both numbers, or the width, and
in the field on the right the height"""
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
    except orjson.JSONDecodeError:  # seldom, so that good labels are not looked at twice
        label = _loads_otherwise(source_id, raw)
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


def _loads_otherwise(source_id: str, raw: bytes) -> Any:
    """Parse a label in UTF-8 with a byte order mark, or in UTF-16.

    Raises:
        BadRender: it is none of both, or not JSON.
    """
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = raw.decode("utf-16")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRender(
            source_id, f"label is not JSON (neither UTF-8 nor UTF-16: {error.reason})"
        ) from error
    try:
        return orjson.loads(text.encode())
    except orjson.JSONDecodeError as error:
        rest = text[error.pos : error.pos + 3]
        why = str(error)
        if rest[:1] in ("N", "I") or rest[1:2] == "I":
            why = "it holds NaN or Infinity, which JSON has no numbers for"
        elif rest and not rest[0].isascii():
            sign = unicodedata.name(rest[0], "character").lower()
            why = f"it has a {sign} (U+{ord(rest[0]):04X}) outside of texts"
        raise BadRender(source_id, f"label is not JSON ({why}: line {error.lineno})") from error
    except UnicodeEncodeError as error:
        raise BadRender(source_id, "label is not JSON (halves of characters)") from error


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
        raise _wrong_count(source_id, name, "points of 3 numbers", text)
    return values


def numbers_of(source_id: str, name: str, text: object) -> list[float]:
    """The numbers of a string such as `"(x, y, z)"`.

    Raises:
        BadRender: it is not such a string, or a number is not finite.
    """
    if isinstance(text, list | int | float):
        raise BadRender(
            source_id,
            f"{name} holds numbers instead of texts, so another program wrote the label: expected "
            f'"(x, y, ...)", found {str(text)[:60]!r}',
        )
    if not isinstance(text, str) or not (text.startswith("(") and text.endswith(")")):
        raise BadRender(source_id, f'{name}: expected "(x, y, ...)", found {str(text)[:60]!r}')
    try:
        values = [float(part) for part in text[1:-1].split(",")]
    except ValueError as error:
        raise _other_locale(source_id, name, text) or BadRender(
            source_id, f"{name}: {error}"
        ) from error
    if not all(map(math.isfinite, values)):
        raise BadRender(source_id, f"{name}: not finite: {text}")
    return values


def _wrong_count(source_id: str, name: str, expected: str, text: object) -> BadRender:
    """What is said of a text with too few or too many numbers."""
    return _other_locale(source_id, name, str(text)) or BadRender(
        source_id, f"{name}: expected {expected}, found {text}"
    )


def _other_locale(source_id: str, name: str, text: str) -> BadRender | None:
    """What is said of numbers as some languages write them; None where that is not what is wrong
    with them."""
    signs = {
        "decimal commas": re.search(r"\d,\d", text),
        "minus signs U+2212 instead of hyphens": "\N{MINUS SIGN}" in text,
        "no-break spaces": re.search("[\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}]", text),
    }
    separators = " and ".join(sign for sign, is_there in signs.items() if is_there)
    if not separators:
        return None
    return BadRender(
        source_id,
        f"the numbers of {name} have {separators}, so the renderer ran in another locale; render "
        f"again with English number formats, or rewrite the labels: ({text[:60]!r})",
    )


def check_size(source_id: str, label: Mapping[str, Any], height: int, width: int) -> None:
    """Compare the size of a picture with that which its label names; most labels name none.

    Raises:
        BadRender: they differ, as after resizing or turning the picture.
    """
    for name in label.keys() & SIZES.keys():
        named = _size_in(label, name)
        if named is not None and named not in ((width, height), (height, width)):
            raise BadRender(
                source_id,
                f"the picture is {width}x{height}, its label is for {named[0]}x{named[1]} ({name}):"
                " the picture was resized or cropped after rendering",
            )


def _size_in(label: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    """The two numbers of a size, in the order of the label; None where they are no such numbers."""
    other = SIZES[name]
    value = label[name] if other is None else f"{label[name]} {label.get(other)}"
    numbers = re.findall(r"\d+(?:\.0*)?", str(value)[:60])
    return (int(float(numbers[0])), int(float(numbers[1]))) if len(numbers) == 2 else None


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
        raise _wrong_count(source_id, "look_vec", "3 or 4 numbers", text)
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
        raise _wrong_count(source_id, "head_pose", "3 numbers", label["head_pose"])
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
        detail = details.get(name)
        raise _other_locale(source_id, name, str(detail)) or BadRender(
            source_id, f"eye_details has no number {name}: {detail!r:.60}"
        ) from error
    if not abs(value) <= MAX_FLOAT32:
        raise BadRender(source_id, f"{name} is not a finite float32: {details[name]!r:.40}")
    return value


def identity_of(label: Mapping[str, Any]) -> str | None:
    """The name of the skin texture, which identifies the person; None where there is none."""
    region = label.get("eye_region_details")
    texture = region.get("primary_skin_texture") if isinstance(region, dict) else None
    return texture if isinstance(texture, str) else None
