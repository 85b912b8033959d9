"""UnityEyes renders: `N.jpg` with `N.json` (Wood et al., ETRA 2016), in a folder, tar or zip.

Our own renderer writes the same format, with the true pupil centre in a field of its own.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson
import simplejpeg
from numpy.typing import NDArray
from pydantic import Field

from factory.images import (
    Affine,
    Pixels,
    UndecodableError,
    chain,
    decode_png,
    is_png,
    scaling,
    transform,
)
from factory.shards import sha256
from factory.sources.base import BadRender, LeftOut, Loaded
from factory.sources.crop import EyeCrop
from factory.sources.files import DamagedFileError
from factory.sources.gaze_filter import GazeFilter, angles_of
from factory.sources.listing import IMAGE_SUFFIXES, StemFiles
from schemas.base import Model
from schemas.dataset import DatasetKind, InputFacts

NUM_LID, NUM_CARUNCLE, NUM_IRIS = 16, 7, 32
OUTER_CORNER = 8
"""index of the outer eye corner in interior_margin_2d"""
MIN_EYE_WIDTH_PX = 16.0
"""source pixels: a smaller eye has less detail than the crop"""
MAX_PICTURE_PX = 64_000_000
GAZE_LENGTH_TOLERANCE = 0.02
MAX_NESTING = 32
"""of a label's objects and lists: JSON libraries stop at different depths, all deeper"""
REQUIRED = ("interior_margin_2d", "caruncle_2d", "iris_2d", "eye_details", "head_pose")
CONVERTED = frozenset({"interior_margin_2d", "caruncle_2d", "iris_2d"})
"""label fields that crop pixels replace; every other one is kept in `extra`"""


class UnityEyesOptions(Model):
    """What decides the content of a sample made from a render."""

    crop: EyeCrop = EyeCrop()
    keep: GazeFilter = GazeFilter()
    min_decode_scale: float = Field(default=1.0, ge=1.0)
    """decode the JPEG at no less than this many source pixels a crop pixel"""


class UnityEyesSource:
    """Reads one input at a time; opens its files when first asked."""

    name: ClassVar[str] = "unityeyes"
    labelled: ClassVar[bool] = True
    kind: ClassVar[DatasetKind] = "synthetic"

    def __init__(self, location: str | Path, options: UnityEyesOptions):
        self.options = options
        self.location = location
        self._inputs = StemFiles(location, [*IMAGE_SUFFIXES, ".json"])

    def listing(self) -> list[InputFacts]:
        return self._inputs.listing()

    def digests(self, source_id: str) -> tuple[str, str | None]:
        image, label = self._read(source_id)
        return sha256(image), sha256(label)

    def identity(self, source_id: str) -> str | None:
        return _identity(_parse(source_id, self._read(source_id)[1]))

    def gaze_angles(self, source_id: str) -> tuple[float, float]:
        """(yaw, pitch) in radians, from the label alone. Raises `BadRender`."""
        return angles_of(_gaze(source_id, _parse(source_id, self._read(source_id)[1])))

    def load(self, source_id: str) -> Loaded:
        image_bytes, label_bytes = self._read(source_id)
        digests = sha256(image_bytes), sha256(label_bytes)
        try:
            return self._loaded(source_id, image_bytes, label_bytes, digests)
        except BadRender as bad:
            bad.digests = digests
            raise

    def _loaded(
        self, source_id: str, image_bytes: bytes, label_bytes: bytes, digests: tuple[str, str]
    ) -> Loaded:
        label = _parse(source_id, label_bytes)
        gaze = _gaze(source_id, label)
        head_pitch, head_yaw = _head_angles(source_id, label["head_pose"])
        gaze_yaw, gaze_pitch = angles_of(gaze)
        kept_out = self.options.keep.reason(source_id, gaze_yaw, gaze_pitch, head_yaw)
        if kept_out is not None:
            raise LeftOut(source_id, kept_out)

        height, width = _picture_size(source_id, image_bytes)
        lid, caruncle, iris = (
            _landmarks(source_id, label, name, count, height, width)
            for name, count in (
                ("interior_margin_2d", NUM_LID),
                ("caruncle_2d", NUM_CARUNCLE),
                ("iris_2d", NUM_IRIS),
            )
        )
        pupil, pupil_from = iris.mean(axis=0), "iris_mean"
        if "pupil_2d" in label:
            point = _points(source_id, "pupil_2d", [label["pupil_2d"]], 1, height)
            _check_in_picture(source_id, "pupil_2d", point, height, width)
            pupil, pupil_from = point[0], "source"
        inner, outer = caruncle.mean(axis=0), lid[OUTER_CORNER]
        eye_width = float(np.hypot(*(outer - inner)))
        if eye_width < MIN_EYE_WIDTH_PX:
            raise BadRender(
                source_id, f"eye is {eye_width:.1f} px wide, at least {MIN_EYE_WIDTH_PX:.0f} needed"
            )
        crop = self.options.crop
        affine = crop.affine(inner, outer)
        _check_inside(source_id, crop, affine, height, width)
        image, decoded = _decode(
            source_id, image_bytes, (height, width), affine, self.options.min_decode_scale
        )
        pixels = crop.cut(image, chain(affine, decoded))

        iris_px, lid_px, caruncle_px = (transform(affine, p) for p in (iris, lid, caruncle))
        details = label["eye_details"]
        return Loaded(
            image=pixels,
            labels={
                "pupil_px": transform(affine, pupil[None])[0],
                "pupil_from": pupil_from,
                "eye_side": "left" if inner[0] < outer[0] else "right",
                "mirrored": False,
                "iris_px": iris_px,
                "lid_px": lid_px,
                "caruncle_px": caruncle_px,
                "eye_width_px": eye_width * crop.scale(inner, outer),
                "gaze": gaze,
                "gaze_pitch_rad": gaze_pitch,
                "gaze_yaw_rad": gaze_yaw,
                "head_pitch_rad": head_pitch,
                "head_yaw_rad": head_yaw,
                "pupil_size": _number(source_id, details, "pupil_size"),
                "iris_size": _number(source_id, details, "iris_size"),
            },
            identity=_identity(label),
            crop_affine=affine,
            extra={name: value for name, value in label.items() if name not in CONVERTED},
            image_sha256=digests[0],
            label_sha256=digests[1],
        )

    def _read(self, source_id: str) -> tuple[bytes, bytes]:
        """The bytes of the pair."""
        names = self._inputs.by_stem.get(source_id, [])
        labels = [name for name in names if name.lower().endswith(".json")]
        images = [name for name in names if name not in labels]
        if not images:
            raise BadRender(source_id, "no image beside the label")
        if not labels:
            raise BadRender(source_id, "no label beside the image")
        if len(names) > 2:
            raise BadRender(source_id, f"more than one pair: {', '.join(names)}")
        try:
            image, label = self._inputs.files.read(images[0]), self._inputs.files.read(labels[0])
        except FileNotFoundError as error:
            raise BadRender(source_id, "vanished since it was listed") from error
        except DamagedFileError as error:
            raise BadRender(source_id, str(error)) from error
        for name, content in ((images[0], image), (labels[0], label)):
            if not content:
                raise BadRender(source_id, f"{name} is empty")
        return image, label


def _parse(source_id: str, raw: bytes) -> dict[str, Any]:
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
    if _nests_deeper(label, MAX_NESTING):
        raise BadRender(source_id, f"label is nested more than {MAX_NESTING} deep")
    if not isinstance(label["eye_details"], dict):
        raise BadRender(source_id, "eye_details is not an object")
    return label


def _nests_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_nests_deeper(part, levels - 1) for part in inner)


def _tuple(source_id: str, name: str, text: object) -> list[float]:
    """The numbers of `"(x, y, z)"`."""
    if not isinstance(text, str) or not (text.startswith("(") and text.endswith(")")):
        raise BadRender(source_id, f'{name}: expected "(x, y, ...)", found {str(text)[:60]!r}')
    try:
        values = [float(part) for part in text[1:-1].split(",")]
    except ValueError as error:
        raise BadRender(source_id, f"{name}: {error}") from error
    if not all(map(math.isfinite, values)):
        raise BadRender(source_id, f"{name}: not finite: {text}")
    return values


def _points(
    source_id: str, name: str, texts: Sequence[object], count: int, height: int
) -> NDArray[np.float64]:
    """(count, 2) image points, y down."""
    rows = [_tuple(source_id, name, text) for text in texts]
    if len(rows) != count or any(len(row) != 3 for row in rows):
        raise BadRender(source_id, f"{name}: expected {count} points of 3 numbers")
    points = np.array(rows)[:, :2]
    points[:, 1] = height - points[:, 1]
    return points


def _landmarks(
    source_id: str, label: Mapping[str, Any], name: str, count: int, height: int, width: int
) -> NDArray[np.float64]:
    texts = label[name]
    if not isinstance(texts, list):
        raise BadRender(source_id, f"{name}: expected a list, found {type(texts).__name__}")
    points = _points(source_id, name, texts, count, height)
    _check_in_picture(source_id, name, points, height, width)
    if np.ptp(points, axis=0).max() < 1:
        raise BadRender(source_id, f"{name}: all points coincide")
    return points


def _check_in_picture(
    source_id: str, name: str, points: NDArray[np.float64], height: int, width: int
) -> None:
    if (points < 0).any() or (points > (width, height)).any():
        worst = points[np.abs(points - (width / 2, height / 2)).max(axis=1).argmax()]
        raise BadRender(
            source_id,
            f"{name}: a landmark at ({worst[0]:.4g}, {worst[1]:.4g}) is outside the "
            f"{width}x{height} picture",
        )


def _gaze(source_id: str, label: Mapping[str, Any]) -> NDArray[np.float64]:
    """The gaze vector in the camera frame; UnityEyes is left-handed with y up."""
    text = label["eye_details"].get("look_vec")
    if text is None:
        raise BadRender(source_id, "eye_details has no look_vec")
    values = _tuple(source_id, "look_vec", text)
    if len(values) not in (3, 4):
        raise BadRender(source_id, f"look_vec: expected 3 or 4 numbers, found {text}")
    vector = np.array(values[:3]) * (1, -1, 1)
    length = math.hypot(*vector)
    if abs(length - 1) > GAZE_LENGTH_TOLERANCE:
        raise BadRender(source_id, f"look_vec has length {length:.3f}, not 1: {text}")
    if vector[2] >= 0:
        raise BadRender(source_id, f"look_vec points away from the camera: {text}")
    return vector / length


def _head_angles(source_id: str, text: object) -> tuple[float, float]:
    """(pitch, yaw) in radians of the direction the face points.

    The file holds the camera's Euler angles in degrees: a camera above the face (positive pitch)
    sees it point down, and yaw 180 is a camera straight ahead.
    """
    values = _tuple(source_id, "head_pose", text)
    if len(values) != 3:
        raise BadRender(source_id, f"head_pose: expected 3 numbers, found {text}")
    pitch, yaw = values[0], values[1]
    wrapped = (-pitch + 180) % 360 - 180, (180 - yaw + 180) % 360 - 180
    return math.radians(wrapped[0]), math.radians(wrapped[1])


def _number(source_id: str, details: Mapping[str, Any], name: str) -> float:
    try:
        value = float(details[name])
    except (KeyError, TypeError, ValueError) as error:
        raise BadRender(
            source_id, f"eye_details has no number {name}: {details.get(name)!r}"
        ) from error
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise BadRender(source_id, f"{name} is not a finite float32: {details[name]!r:.40}")
    return value


def _identity(label: Mapping[str, Any]) -> str | None:
    region = label.get("eye_region_details")
    texture = region.get("primary_skin_texture") if isinstance(region, dict) else None
    return texture if isinstance(texture, str) else None


def _picture_size(source_id: str, raw: bytes) -> tuple[int, int]:
    if is_png(raw):
        height, width = int.from_bytes(raw[20:24]), int.from_bytes(raw[16:20])
    else:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(raw)
        except ValueError as error:
            raise BadRender(source_id, f"image is neither JPEG nor PNG ({error})") from error
        if colours not in ("Gray", "YCbCr", "RGB"):
            raise BadRender(source_id, f"image has {colours} colours, expected grey or RGB")
    if height * width > MAX_PICTURE_PX:
        raise BadRender(source_id, f"a picture of {width}x{height} px is absurdly large")
    return height, width


def _check_inside(source_id: str, crop: EyeCrop, affine: Affine, height: int, width: int) -> None:
    left, top, right, bottom = crop.source_box(affine)
    if left < -0.5 or top < -0.5 or right > width - 0.5 or bottom > height - 0.5:
        raise BadRender(
            source_id,
            f"the crop leaves the picture: x {left:.0f}..{right:.0f}, y {top:.0f}..{bottom:.0f} "
            f"of {width}x{height}",
        )


def _decode(
    source_id: str, raw: bytes, size: tuple[int, int], affine: Affine, min_scale: float
) -> tuple[Pixels, Affine]:
    """Grey pixels, and the map from decoded pixels to picture pixels.

    JPEG is decoded at the smallest scale (in eighths) that still has `min_scale` pixels for each
    crop pixel: that is most of the speed of an ingest. Where the size is no multiple of the scale,
    the last decoded pixel hangs over the edge, so the map is that of the scale, not of the sizes.
    """
    height, width = size
    eighths = 8
    try:
        if is_png(raw):
            grey = decode_png(raw)
            if grey.dtype == np.uint8 and grey.ndim == 3:
                grey = np.round(grey @ np.array((0.299, 0.587, 0.114))).astype(np.uint8)
        else:
            per_crop_px = 1 / math.sqrt(abs(np.linalg.det(affine[:, :2])))
            eighths = min(8, math.ceil(8 * min_scale / per_crop_px))
            grey = simplejpeg.decode_jpeg(
                raw,
                colorspace="GRAY",
                min_height=math.ceil(height * eighths / 8),
                min_width=math.ceil(width * eighths / 8),
                min_factor=1.0,
                strict=True,
            )[:, :, 0]
    except (ValueError, UndecodableError) as error:
        raise BadRender(source_id, f"image does not decode ({error})") from error
    if grey.dtype != np.uint8:
        raise BadRender(source_id, f"image has {grey.dtype} pixels, expected 8 bits")
    if grey.shape != (math.ceil(height * eighths / 8), math.ceil(width * eighths / 8)):
        raise BadRender(source_id, f"image is not the {width}x{height} px that its header says")
    return grey, scaling(8 / eighths, 8 / eighths)
