"""The source for unlabelled camera images: any folder or archive of pictures, one eye in each."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import CroppedOptions, EyeCrop
from factory.images.crop import Framing
from factory.images.picture import is_turned, read_picture
from factory.images.png import UndecodableError
from factory.sources.base import BadRender, Loaded, SourceOptions, Vanished, rejected_with
from factory.sources.listing import IMAGE_SUFFIXES, StemSource
from schemas.dataset import DatasetKind

MIN_SIDE_PX = 16
"""pictures with a shorter side are rejected"""


class PicturesOptions(CroppedOptions):
    """The options that decide the content of a sample of a picture."""


def cover(height: int, width: int, crop: EyeCrop) -> Framing:
    """The map with which the middle of a picture fills the crop, without a change of aspect.

    Args:
        height, width: of the picture.
    """
    scale = max(crop.height / height, crop.width / width)
    return Framing(
        scale,
        (crop.width - 1) / 2 - scale * (width - 1) / 2,
        (crop.height - 1) / 2 - scale * (height - 1) / 2,
    )


def decoded(source_id: str, raw: bytes, crop: EyeCrop) -> NDArray[np.uint8]:
    """The pixels of a picture, upright and in the colours of the crop.

    Raises:
        BadRender: it does not decode, or a side is shorter than `MIN_SIDE_PX`.
    """
    try:
        picture = read_picture(raw, colour=crop.colour, camera_bits=crop.depth_bits)
    except UndecodableError as error:
        raise BadRender(source_id, f"image does not decode ({error})") from error
    height, width = picture.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise BadRender(source_id, f"picture of {width}x{height} px is too small")
    return picture


def require_upright(source_id: str, raw: bytes, beside: str) -> None:
    """Raise `BadRender` for a picture that its EXIF data turns.

    Args:
        raw: the picture, whose size is known to be allowed.
        beside: what gives places in the picture, for the message.
    """
    if is_turned(raw):
        raise BadRender(
            source_id,
            f"the picture is turned by its EXIF data, and the {beside} may be of either way; turn "
            "the pixels themselves, and leave the EXIF data out",
        )


class PicturesSource(StemSource):
    """Any folder of unlabelled pictures of eyes.

    Reads one picture at a time; on the command line this source is called `images`.
    """

    options: PicturesOptions
    options_kind: ClassVar[type[SourceOptions]] = PicturesOptions
    suffixes = IMAGE_SUFFIXES
    name: ClassVar[str] = "images"
    labelled: ClassVar[bool] = False
    kind: ClassVar[DatasetKind] = "real"

    def identity(self, source_id: str) -> str | None:
        return None

    def digests(self, source_id: str) -> tuple[str, str | None]:
        return sha256(self._read(source_id)), None

    def load(self, source_id: str) -> Loaded:
        raw = self._read(source_id)
        image_sha256 = sha256(raw)
        with rejected_with((image_sha256, None)):
            return self._loaded(source_id, raw, image_sha256)

    def _loaded(self, source_id: str, raw: bytes, image_sha256: str) -> Loaded:
        crop = self.options.crop
        picture = decoded(source_id, raw, crop)
        height, width = picture.shape[:2]
        framing = cover(height, width, crop)
        return Loaded(
            image=crop.cut(picture, framing),
            labels={},
            identity=None,
            crop_affine=framing.affine(),
            extra={},
            image_sha256=image_sha256,
            label_sha256=None,
        )

    def _read(self, source_id: str) -> bytes:
        names = self.names(source_id)
        if len(names) > 1:
            raise BadRender(source_id, f"more than one picture: {', '.join(names)}")
        if not names:
            raise Vanished(source_id)
        (raw,) = self.read_files(source_id, names[0])
        return raw
