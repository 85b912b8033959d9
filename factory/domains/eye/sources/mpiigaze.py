"""The source for MPIIGaze's normalised set (Zhang et al., CVPR 2015).

The set has `.mat` files of 36 x 60 grey eye images, one file a person and day. Gaze and head pose
are kept as labels for evaluation; training uses no labels of real images.
"""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.gaze_filter import angles_of
from factory.domains.eye.sources.pictures import MIN_SIDE_PX, cover
from factory.images.png import chain
from factory.sources.archives import DamagedFileError
from factory.sources.base import BadRender, Loaded, SourceOptions, Vanished
from factory.sources.files import NOTHING_SEEN, Files, open_files
from factory.sources.listing import Listing
from factory.sources.scan import Container, FileBatch, ScanItem, Seen, batch_of
from schemas.dataset import DatasetKind, InputFacts

Side = Literal["left", "right"]
SUFFIXES = frozenset({".mat"})
SIDES: tuple[Side, ...] = ("left", "right")


class MpiiGazeOptions(SourceOptions):
    """The options that decide the content of a sample of a normalised eye image."""

    crop: EyeCrop = EyeCrop()

    @property
    def image_size(self) -> tuple[int, int]:
        return self.crop.height, self.crop.width


class MpiiGazeSource:
    """Reads one eye at a time, with ids such as `p00/day01.mat:right:000012`."""

    options_kind: ClassVar[type[SourceOptions]] = MpiiGazeOptions
    name: ClassVar[str] = "mpiigaze"
    labelled: ClassVar[bool] = True
    kind: ClassVar[DatasetKind] = "real"

    def __init__(self, location: str | Path, options: MpiiGazeOptions):
        self.location = location
        self.options = options
        self._day = lru_cache(maxsize=2)(self._load_day)

    @cached_property
    def _files(self) -> Files:
        return open_files(self.location)

    def listing(self) -> Sequence[InputFacts]:
        return Listing.of(self.scan(NOTHING_SEEN))

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        """List every eye of every file.

        A file that cannot be read is one input, so that it is rejected with a reason.
        """
        for item in self._files.walk(SUFFIXES, seen):
            if not isinstance(item, FileBatch):
                yield item
                continue
            for file in item.files():
                as_container = Container(*file)
                known = seen.get(file.name)
                if known is not None and as_container.is_unchanged(known):
                    yield replace(as_container, num_inputs=known.num_inputs)
                    continue
                in_archive = item.container is not None
                container = item.container if in_archive else file.name
                yield batch_of(self._ids(file.name), file, container)
                if not in_archive:
                    yield as_container

    def expect(self, suffixes: Mapping[str, str | None]) -> None:
        pass  # the id of an eye gives the name of its file

    def _ids(self, name: str) -> list[str]:
        try:
            day = self._day(name)
        except BadRender:
            return [name]
        return [
            f"{name}:{side}:{row:06d}" for side in SIDES for row in range(len(day[side]["image"]))
        ]

    def identity(self, source_id: str) -> str | None:
        person = PurePosixPath(_parts(source_id)[0]).parent.name
        return person or None

    def digests(self, source_id: str) -> tuple[str, str | None]:
        _, image, gaze, pose = self._row(source_id)
        return _digests(image, gaze, pose)

    def load(self, source_id: str) -> Loaded:
        row = self._row(source_id)
        digests = _digests(*row[1:])
        try:
            return self._loaded(source_id, *row, digests)
        except BadRender as bad:
            bad.digests = digests
            raise

    def _loaded(
        self,
        source_id: str,
        side: Side,
        image: NDArray[np.uint8],
        raw_gaze: NDArray[np.float64],
        pose: NDArray[np.float64],
        digests: tuple[str, str],
    ) -> Loaded:
        gaze = raw_gaze
        if not (np.isfinite(gaze).all() and np.isfinite(pose).all()):
            raise BadRender(source_id, "gaze or head pose is not finite")
        if np.abs(pose).max() > 2 * np.pi:
            raise BadRender(source_id, f"head pose is no rotation vector: {pose.tolist()}")
        length = float(np.linalg.norm(gaze))
        if abs(length - 1) > 0.02:
            raise BadRender(source_id, f"gaze has length {length:.3f}, not 1")
        mirrored = side == "right"
        gaze = gaze / length
        facing = _facing(pose)
        crop = self.options.crop
        framing = cover(image.shape[0], image.shape[1], crop)
        affine, pixels = framing.affine(), image
        if mirrored:  # right eyes are mirrored to look like left ones
            flip = np.array([[-1.0, 0, image.shape[1] - 1], [0, 1, 0]])
            affine, pixels = chain(affine, flip), np.ascontiguousarray(image[:, ::-1])
            gaze, facing = gaze * (-1, 1, 1), facing * (-1, 1, 1)
        gaze_yaw, gaze_pitch = angles_of(gaze)
        head_yaw, head_pitch = angles_of(facing)
        return Loaded(
            image=crop.cut(pixels, framing),
            labels={
                "pupil_px": None,
                "pupil_from": None,
                "eye_side": side,
                "mirrored": mirrored,
                "iris_px": None,
                "lid_px": None,
                "caruncle_px": None,
                "eye_width_px": None,
                "gaze": gaze,
                "gaze_pitch_rad": gaze_pitch,
                "gaze_yaw_rad": gaze_yaw,
                "head_pitch_rad": head_pitch,
                "head_yaw_rad": head_yaw,
                "pupil_size": None,
                "iris_size": None,
            },
            identity=self.identity(source_id),
            crop_affine=affine,
            extra={"gaze": raw_gaze.tolist(), "pose": pose.tolist()},
            image_sha256=digests[0],
            label_sha256=digests[1],
        )

    def _row(
        self, source_id: str
    ) -> tuple[Side, NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
        """(side, image (36, 60), gaze (3,), rotation vector (3,)) of one eye."""
        name, side, row = _parts(source_id)
        if side is None:
            self._day(source_id)  # raises `BadRender` with the reason
            raise BadRender(source_id, "was unreadable when it was listed, and reads now")
        eye = self._day(name)[side]
        if row >= len(eye["image"]):
            raise Vanished(source_id)
        return side, eye["image"][row], eye["gaze"][row], eye["pose"][row]

    def _load_day(self, name: str) -> dict[Side, dict[str, Any]]:
        import scipy.io

        files = self._files  # opened here, because a missing folder is not the fault of a file
        try:
            raw = files.read(name)
        except FileNotFoundError as error:
            raise Vanished(name) from error
        except DamagedFileError as error:
            raise BadRender(name, str(error)) from error
        try:
            # Without squeezing, arrays of a day with one frame keep their first axis.
            day = scipy.io.loadmat(cast(Any, io.BytesIO(raw)), squeeze_me=False)["data"][0, 0]
            return {side: _eye(day[side][0, 0], name, side) for side in SIDES}
        except BadRender:
            raise
        except Exception as error:
            raise BadRender(
                name, f"not a file of MPIIGaze's normalised set ({type(error).__name__}: {error})"
            ) from error


def _parts(source_id: str) -> tuple[str, Side | None, int]:
    """(file, side, row) of one eye; no side for a file that could not be read."""
    match = re.fullmatch(r"(.+):(left|right):(\d+)", source_id)
    return (match[1], cast(Side, match[2]), int(match[3])) if match else (source_id, None, 0)


def _eye(struct: Any, name: str, side: Side) -> dict[str, Any]:
    """The arrays of one side: image (n, 36, 60), gaze (n, 3) and pose (n, 3).

    Raises:
        BadRender: they have other shapes or types.
    """
    image = np.asarray(struct["image"])
    gaze = np.asarray(struct["gaze"], np.float64)
    pose = np.asarray(struct["pose"], np.float64)
    if image.ndim != 3 or image.dtype != np.uint8 or min(image.shape[1:]) < MIN_SIDE_PX:
        raise BadRender(
            name, f"{side} images are {image.shape} {image.dtype}, expected (n, 36, 60)"
        )
    if gaze.shape != (len(image), 3) or pose.shape != (len(image), 3):
        raise BadRender(name, f"{side}: {len(image)} images, gaze {gaze.shape}, pose {pose.shape}")
    return {"image": image, "gaze": gaze, "pose": pose}


def _facing(rotation_vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) direction of the face: the head's -z axis, which at rest points to the camera."""
    import cv2

    rotation, _ = cv2.Rodrigues(rotation_vector)
    return np.asarray(-rotation[:, 2], np.float64)


def _digests(
    image: NDArray[np.uint8], gaze: NDArray[np.float64], pose: NDArray[np.float64]
) -> tuple[str, str]:
    label = orjson.dumps([gaze.tolist(), pose.tolist()])
    return sha256(np.ascontiguousarray(image).tobytes()), sha256(label)
