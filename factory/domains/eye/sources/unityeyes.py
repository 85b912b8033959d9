"""The source for UnityEyes renders (Wood et al., ETRA 2016) in a folder, tar or zip.

A render is a picture `N.jpg` with its label `N.json`. The built-in renderer writes the same format,
with the true pupil centre in a further field.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import (
    CroppedOptions,
    EyeCrop,
    Outline,
    PointXY,
    require_wide,
)
from factory.domains.eye.sources.gaze_filter import GazeFilter, angles_of
from factory.domains.eye.sources.pictures import require_upright
from factory.domains.eye.sources.unityeyes_label import (
    CARUNCLE,
    IRIS,
    LANDMARKS,
    LID,
    check_size,
    detail_of,
    gaze_of,
    head_angles_of,
    identity_of,
    image_point,
    landmarks,
    parse_label,
)
from factory.images.crop import Framing
from factory.images.jpeg import FULL_SCALE, GREY_OR_RGB, crop_jpeg, is_jpeg, jpeg_size
from factory.images.picture import picture_size, read_picture
from factory.images.png import UndecodableError
from factory.sources.base import BadRender, LeftOut, Loaded, SourceOptions, Vanished
from factory.sources.listing import IMAGE_SUFFIXES, StemSource
from schemas.dataset import DatasetKind

OUTER_CORNER = 8
"""index of the outer eye corner among the points of the lid"""


class UnityEyesOptions(CroppedOptions):
    """The options that decide the content of a sample of a render."""

    keep: GazeFilter = GazeFilter()
    min_decode_scale: float = Field(default=1.0, ge=1.0)
    """the JPEG is decoded at a scale with at least this many pixels for each pixel of the crop"""
    corner_error_px: float = Field(
        default=0.0, ge=0, le=4, allow_inf_nan=False, exclude_if=lambda error_px: error_px == 0
    )
    """standard deviation, along each axis and in px of the crop, of a random error of the two eye
    corners by which a crop is placed and scaled"""


class UnityEyesSource(StemSource):
    """UnityEyes renders, N.jpg + N.json.

    Reads one or several at a time; the folder is opened when it is first needed.
    """

    options: UnityEyesOptions
    options_kind: ClassVar[type[SourceOptions]] = UnityEyesOptions
    suffixes = IMAGE_SUFFIXES | {".json"}
    name: ClassVar[str] = "unityeyes"
    labelled: ClassVar[bool] = True
    kind: ClassVar[DatasetKind] = "synthetic"

    def digests(self, source_id: str) -> tuple[str, str | None]:
        image, label = self._read(source_id)
        return sha256(image), sha256(label)

    def identity(self, source_id: str) -> str | None:
        return identity_of(parse_label(source_id, self._read(source_id)[1]))

    def gaze_angles(self, source_id: str) -> tuple[float, float]:
        """(yaw, pitch) in radians, for which only the label is parsed.

        Raises:
            BadRender: the label has no such gaze.
        """
        return angles_of(gaze_of(source_id, parse_label(source_id, self._read(source_id)[1])))

    def load(self, source_id: str) -> Loaded:
        (loaded,) = self.load_batch([source_id])
        if isinstance(loaded, BadRender):
            raise loaded
        return loaded

    def load_batch(self, source_ids: Sequence[str]) -> list[Loaded | BadRender]:
        """What `load` returns or raises for each render.

        Each step is done for all renders before the next one begins, so that its code and tables
        stay in the processor's caches. That takes a fifth less time.
        """
        renders = [_Render(source_id) for source_id in source_ids]
        for step in (self._open, self._judge, self._frame, self._finish):
            for render in renders:
                if not isinstance(render.result, BadRender):
                    try:
                        step(render)
                    except BadRender as bad:
                        if step != self._open:
                            bad.digests = render.digests
                        # Its traceback would keep the batch in memory until garbage collection.
                        render.result = bad.with_traceback(None)
        return [render.result for render in renders if render.result is not None]

    def _open(self, render: "_Render") -> None:
        image, label = render.files = self._read(render.source_id)
        render.digests = sha256(image), sha256(label)

    def _judge(self, render: "_Render") -> None:
        source_id = render.source_id
        label = render.label = parse_label(source_id, render.files[1])
        gaze = gaze_of(source_id, label)
        head_pitch, head_yaw = head_angles_of(source_id, label)
        gaze_yaw, gaze_pitch = angles_of(gaze)
        kept_out = self.options.keep.reason(source_id, gaze_yaw, gaze_pitch, head_yaw)
        if kept_out is not None:
            raise LeftOut(source_id, kept_out)
        render.labels = {
            "mirrored": False,
            "gaze": np.array(gaze),
            "gaze_pitch_rad": gaze_pitch,
            "gaze_yaw_rad": gaze_yaw,
            "head_pitch_rad": head_pitch,
            "head_yaw_rad": head_yaw,
            "pupil_size": detail_of(source_id, label, "pupil_size"),
            "iris_size": detail_of(source_id, label, "iris_size"),
        }

    def _frame(self, render: "_Render") -> None:
        source_id, label, crop = render.source_id, render.label, self.options.crop
        height, width = render.size = _picture_size(source_id, render.files[0])
        check_size(source_id, label, height, width)
        points = landmarks(source_id, label, height, width)
        pupil, pupil_from = points.mean(IRIS), "iris_mean"
        if "pupil_2d" in label:
            pupil = image_point(source_id, label, "pupil_2d", height, width)
            pupil_from = "source"
        inner, outer = points.mean(CARUNCLE), (points.x[OUTER_CORNER], points.y[OUTER_CORNER])
        eye_width = math.dist(inner, outer)
        require_wide(source_id, eye_width)
        if self.options.keep.opening is not None:
            lid_y = points.y[LID]
            kept_out = self.options.keep.opening_reason((max(lid_y) - min(lid_y)) / eye_width)
            if kept_out is not None:
                raise LeftOut(source_id, kept_out)
        framing = render.framing = crop.framing(*self._found_corners(source_id, inner, outer))
        _check_inside(source_id, crop.outline(framing), height, width)
        points_px = framing.place([*points.x, pupil[0]], [*points.y, pupil[1]])
        render.labels |= {
            "pupil_px": points_px[-1],
            "pupil_from": pupil_from,
            "eye_side": "left" if inner[0] < outer[0] else "right",
            "iris_px": points_px[IRIS],
            "lid_px": points_px[LID],
            "caruncle_px": points_px[CARUNCLE],
            "eye_width_px": (
                eye_width * framing.scale if self.options.corner_error_px else crop.eye_width_px
            ),
        }

    def _found_corners(
        self, source_id: str, inner: PointXY, outer: PointXY
    ) -> tuple[PointXY, PointXY]:
        """The eye corners in px of the picture, with the errors that the options ask for. These
        depend on the input's id alone."""
        error_px = self.options.corner_error_px
        if not error_px:
            return inner, outer
        error_px *= math.dist(inner, outer) / self.options.crop.eye_width_px
        seed = int.from_bytes(hashlib.sha256(f"corners {source_id}".encode()).digest()[:8])
        errors = error_px * np.random.default_rng(seed).standard_normal((2, 2))
        inner, outer = (np.array([inner, outer]) + errors).tolist()
        return inner, outer

    def _finish(self, render: "_Render") -> None:
        crop, framing, label = self.options.crop, render.framing, render.label
        picture = render.files[0]
        min_scale = self.options.min_decode_scale * framing.scale
        render.result = Loaded(
            image=_cut(render.source_id, picture, render.size, crop, framing, min_scale),
            labels=render.labels,
            identity=identity_of(label),
            crop_affine=framing.affine(),
            extra={name: value for name, value in label.items() if name not in LANDMARKS},
            image_sha256=render.digests[0],
            label_sha256=render.digests[1],
        )
        render.files = b"", b""

    def _read(self, source_id: str) -> tuple[bytes, bytes]:
        """The bytes of the picture and of the label.

        Raises:
            Vanished: neither file exists any more.
            BadRender: one of them is missing, damaged, empty, or exists twice.
        """
        names = self.names(source_id)
        if not names:
            raise Vanished(source_id)
        labels = [name for name in names if name.lower().endswith(".json")]
        images = [name for name in names if name not in labels]
        if not images:
            raise BadRender(source_id, "no image beside the label")
        if not labels:
            raise BadRender(source_id, "no label beside the image")
        if len(names) > 2:
            raise BadRender(source_id, f"more than one pair: {', '.join(names)}")
        image, label = self.read_files(source_id, images[0], labels[0])
        return image, label


@dataclass(slots=True)
class _Render:
    """The state of one render between the steps of loading it."""

    source_id: str
    files: tuple[bytes, bytes] = b"", b""
    """the bytes of the picture and of the label"""
    digests: tuple[str, str] = field(init=False)
    """sha256 of both"""
    label: dict[str, Any] = field(default_factory=dict)
    """the label of UnityEyes"""
    labels: dict[str, Any] = field(default_factory=dict)
    """the labels of the sample"""
    size: tuple[int, int] = 0, 0
    """(height, width) of the picture in px"""
    framing: Framing = field(init=False)
    """of the crop"""
    result: Loaded | BadRender | None = None
    """None until the last step, or until the render is rejected"""


def _picture_size(source_id: str, raw: bytes) -> tuple[int, int]:
    """(height, width) from the header of a picture.

    Raises:
        BadRender: it is of no kind that is read, or too large, turned by its EXIF data, or a JPEG
            that is neither grey nor RGB.
    """
    try:
        if is_jpeg(raw):
            height, width, colours = jpeg_size(raw)
        else:
            (height, width), colours = picture_size(raw), "RGB"
    except UndecodableError as error:
        raise BadRender(source_id, f"image does not decode ({error})") from error
    require_upright(source_id, raw, "label")
    if colours not in GREY_OR_RGB:
        raise BadRender(source_id, f"image has {colours} colours, expected grey or RGB")
    return height, width


def _check_inside(source_id: str, outline: Outline, height: int, width: int) -> None:
    """Raise `BadRender` where a crop leaves the picture."""
    left, top, right, bottom = outline
    if left < -0.5 or top < -0.5 or right > width - 0.5 or bottom > height - 0.5:
        raise BadRender(
            source_id,
            f"the crop leaves the picture: x {left:.0f}..{right:.0f}, y {top:.0f}..{bottom:.0f} "
            f"of {width}x{height}",
        )


def _cut(
    source_id: str,
    raw: bytes,
    size: tuple[int, int],
    crop: EyeCrop,
    framing: Framing,
    min_scale: float,
) -> NDArray[np.uint8]:
    """The crop of a picture.

    A JPEG is decoded at the smallest scale, in eighths, with at least `min_scale` pixels for each
    pixel of the picture, because decoding takes most of the time of an ingest. Where the size is
    not a multiple of the scale, the last decoded pixel reaches beyond the edge; so coordinates are
    mapped with the scale, not with the ratio of the sizes.

    Raises:
        BadRender: the picture does not decode.
    """
    height, width = size
    read = partial(read_picture, raw, upright=False, camera_bits=crop.depth_bits)
    try:
        if crop.colour:
            return crop.cut(read(colour=True), framing)
        if not is_jpeg(raw):
            return crop.cut(_grey(read(colour=None)), framing)
        eighths = min(FULL_SCALE, math.ceil(FULL_SCALE * min_scale))
        return crop.finished(
            crop_jpeg(
                raw, framing, crop.height, crop.width, height=height, width=width, eighths=eighths
            )
        )
    except UndecodableError as error:
        raise BadRender(source_id, f"image does not decode ({error})") from error


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The (h, w) grey values of a picture that is grey or RGB."""
    if picture.ndim == 2:
        return picture
    return np.asarray(np.round(picture @ np.array((0.299, 0.587, 0.114))), np.uint8)
