"""The source for eyes with hand-made masks, whose iris centres are known.

An eye is a picture `NAME.jpg` (or of another usual kind) with its mask `NAME.mask.png`, whose grey
values are 0 for the background, 1 for the sclera, 2 for the iris and 3 for the pupil; other values
count as background.
"""

import math
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import CroppedOptions, EyeCrop, require_wide
from factory.domains.eye.sources.pictures import require_upright
from factory.images.crop import Framing
from factory.images.picture import read_picture
from factory.images.png import Affine, Grey, UndecodableError, chain
from factory.sources.base import BadRender, LeftOut, Loaded, SourceOptions, Vanished, rejected_with
from factory.sources.listing import IMAGE_SUFFIXES, StemSource
from schemas.dataset import DatasetKind

MASK = ".mask"
"""what stands before the suffix of a mask"""
SCLERA, IRIS, PUPIL = 1, 2, 3
EYE_WIDTH_SHARE = 0.94
"""the distance from the caruncle's middle to the outer corner, as a share of the opening's length:
the median of 128 UnityEyes renders whose lids and caruncle were drawn as a mask"""
BLUNT_SHARE = 0.03
"""of the opening's length, which at each end is averaged to the corner's height"""
MIN_BORDER_PX = 30
"""pixels of the iris beside the sclera that an ellipse is fitted to, at least"""
MIN_SIDE_SHARE = 0.2
"""of these pixels, which have to lie on either side of the iris centre"""
MIN_ASPECT = 0.6
"""of the ellipse; a narrower one is fitted to too little of the border"""
MARGIN_PX = 4
"""of the level picture around the crop, in px of the crop"""
MAX_SIDE_PX = (1 << 15) - 1
"""of a picture that OpenCV turns"""

Point = NDArray[np.float64]
"""(2,) x and y, px"""


class IrisMasksOptions(CroppedOptions):
    """The options that decide the content of a sample of an eye with a mask."""

    only_names: str | None = None
    """pattern of the names of the pictures that are kept, without folder and suffix, e.g. `r*`"""


class IrisMasksSource(StemSource):
    """Eyes with masks of the iris, NAME.jpg + NAME.mask.png.

    Reads one picture with its mask at a time. The truth is kept in `extra`, as training uses no
    labels of real images.
    """

    options: IrisMasksOptions
    options_kind: ClassVar[type[SourceOptions]] = IrisMasksOptions
    suffixes = IMAGE_SUFFIXES
    marks = (MASK,)
    name: ClassVar[str] = "iris-masks"
    labelled: ClassVar[bool] = False
    kind: ClassVar[DatasetKind] = "real"

    def identity(self, source_id: str) -> str | None:
        return None

    def digests(self, source_id: str) -> tuple[str, str | None]:
        image, mask = self._read(source_id)
        return sha256(image), sha256(mask)

    def load(self, source_id: str) -> Loaded:
        pattern = self.options.only_names
        if pattern is not None and not fnmatchcase(source_id.rpartition("/")[2], pattern):
            raise LeftOut(source_id, f"its name is not like {pattern}")
        files = self._read(source_id)
        digests = sha256(files[0]), sha256(files[1])
        with rejected_with(digests):
            return self._loaded(source_id, *files, digests)

    def _loaded(
        self, source_id: str, raw_image: bytes, raw_mask: bytes, digests: tuple[str, str]
    ) -> Loaded:
        crop = self.options.crop
        require_upright(source_id, raw_image, "mask")
        picture = _decoded(source_id, "image", raw_image, crop.colour, crop.depth_bits)
        mask = _decoded(source_id, "mask", raw_mask)
        if mask.ndim == 3:
            if (mask != mask[:, :, :1]).any():
                raise BadRender(source_id, "the mask is in colour; expected grey values, 0 to 3")
            mask = np.ascontiguousarray(mask[:, :, 0])
        if mask.shape != picture.shape[:2]:
            (height, width), (high, wide) = picture.shape[:2], mask.shape
            raise BadRender(
                source_id, f"the mask has {wide}x{high} px, its picture {width}x{height} px"
            )
        if max(mask.shape) > MAX_SIDE_PX:
            raise BadRender(source_id, f"a side has more than {MAX_SIDE_PX} px")
        corners = opening_corners(mask)
        if corners is None:
            raise BadRender(source_id, "the mask has no opening: no line of values from 1 to 3")
        require_wide(source_id, EYE_WIDTH_SHARE * math.dist(*corners))
        center = limbus_center(mask)
        if center is None:
            raise BadRender(
                source_id,
                "the mask does not show the border of iris and sclera on both sides of the iris",
            )
        levelled = Levelled.of(crop, *corners)
        affine = levelled.affine()
        center_px = affine[:, :2] @ center + affine[:, 2]
        return Loaded(
            image=levelled.cut(picture, crop),
            labels={},
            identity=None,
            crop_affine=affine,
            extra={
                "iris_center_px": center_px.round(3).tolist(),
                "outside_share": round(outside_share(affine, crop, mask.shape), 3),
            },
            image_sha256=digests[0],
            label_sha256=digests[1],
        )

    def _read(self, source_id: str) -> tuple[bytes, bytes]:
        """The bytes of the picture and of the mask.

        Raises:
            Vanished: neither file exists any more.
            BadRender: one of them is missing, damaged, empty, or exists twice.
        """
        names = self.names(source_id)
        if not names:
            raise Vanished(source_id)
        masks = [name for name in names if name.startswith(f"{source_id}{MASK}.")]
        images = [name for name in names if name not in masks]
        if not images:
            raise BadRender(source_id, "no picture beside the mask")
        if not masks:
            raise BadRender(source_id, f"no mask ({MASK}.png) beside the picture")
        if len(names) > 2:
            raise BadRender(source_id, f"more than one pair: {', '.join(names)}")
        image, mask = self.read_files(source_id, images[0], masks[0])
        return image, mask


class Levelled(NamedTuple):
    """A crop of a picture that is turned, so that the eye corners are on a horizontal line."""

    turn: Affine
    """from the picture to a level one of the same scale, which is a little larger than the crop"""
    size: tuple[int, int]
    """(height, width) of the level one"""
    framing: Framing
    """from there to the crop"""

    @classmethod
    def of(cls, crop: EyeCrop, left: Point, right: Point) -> "Levelled":
        """The crop whose middle is between two eye corners.

        Args:
            left, right: the ends of the opening, in px of the picture.
        """
        length_px = math.dist(left, right)
        scale = crop.eye_width_px / (EYE_WIDTH_SHARE * length_px)
        height, width = (
            math.ceil((side + 2 * MARGIN_PX) / scale) for side in (crop.height, crop.width)
        )
        cos, sin = (right - left) / length_px
        turn = np.array([[cos, sin], [-sin, cos]])
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        shift = middle - turn @ ((left + right) / 2)
        x, y = np.array([(crop.width - 1) / 2, (crop.height - 1) / 2]) - scale * middle
        return cls(np.column_stack([turn, shift]), (height, width), Framing(scale, x, y))

    def affine(self) -> Affine:
        """The map from the picture to the crop."""
        return chain(self.framing.affine(), self.turn)

    def cut(self, picture: NDArray[np.uint8], crop: EyeCrop) -> NDArray[np.uint8]:
        """The crop; beyond the picture's border its edge is repeated."""
        import cv2

        height, width = self.size
        level = cv2.warpAffine(
            picture,
            self.turn,
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return crop.cut(np.asarray(level, np.uint8), self.framing)


def opening_corners(mask: Grey) -> tuple[Point, Point] | None:
    """The left and the right end of the opening between the lids, px; None where there is none."""
    points = np.argwhere((mask >= SCLERA) & (mask <= PUPIL))[:, ::-1].astype(np.float64)
    if len(points) < 2:
        return None
    mean = points.mean(axis=0)
    axis = np.linalg.eigh(np.cov((points - mean).T))[1][:, 1]
    axis = axis if axis[0] > 0 else -axis
    along = (points - mean) @ axis
    first, last = along.min(), along.max()
    blunt = BLUNT_SHARE * (last - first)
    left, right = points[along <= first + blunt].mean(axis=0), points[along >= last - blunt]
    right = right.mean(axis=0)
    left += axis * (first - (left - mean) @ axis)
    right += axis * (last - (right - mean) @ axis)
    return left, right


def limbus_center(mask: Grey) -> Point | None:
    """Centre of the ellipse through the pixels of the iris beside the sclera, px.

    None unless both sides of the iris show, as the ellipse is not certain otherwise.
    """
    import cv2

    iris = (mask == IRIS) | (mask == PUPIL)
    beside = cv2.dilate((mask == SCLERA).astype(np.uint8), np.ones((3, 3), np.uint8))
    points = np.argwhere(iris & (beside > 0))[:, ::-1].astype(np.float32)
    if len(points) < MIN_BORDER_PX:
        return None
    (x, y), axes, _ = cv2.fitEllipseDirect(points)
    side = np.sign(points[:, 0] - x)
    both = min((side < 0).mean(), (side > 0).mean()) > MIN_SIDE_SHARE
    return np.array([x, y]) if both and min(axes) > MIN_ASPECT * max(axes) else None


def outside_share(affine: Affine, crop: EyeCrop, size: tuple[int, ...]) -> float:
    """The share of a crop's pixels that lie beyond the border of a picture.

    Args:
        affine: from the picture to the crop.
        size: (height, width) of the picture.
    """
    rows, columns = np.mgrid[: crop.height, : crop.width]
    in_crop = np.stack([columns.ravel(), rows.ravel()]) - affine[:, 2:]
    x, y = np.linalg.solve(affine[:, :2], in_crop)
    height, width = size[:2]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return float(1 - inside.mean())


def _decoded(
    source_id: str,
    what: str,
    raw: bytes,
    colour: bool | None = None,
    camera_bits: int | None = None,
) -> NDArray[np.uint8]:
    try:
        return read_picture(raw, colour=colour, upright=False, camera_bits=camera_bits)
    except UndecodableError as error:
        raise BadRender(source_id, f"{what} does not decode ({error})") from error
