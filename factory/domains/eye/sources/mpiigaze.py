"""The source for MPIIGaze's normalised set (Zhang et al., CVPR 2015).

The set has `.mat` files of 36 x 60 grey eye images, one file a person and day. Gaze and head pose
are kept as labels for evaluation; training uses no labels of real images.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import ClassVar, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from factory.dataset.tar import sha256
from factory.domains.eye.sources.framing import CroppedOptions
from factory.domains.eye.sources.gaze_filter import angles_of
from factory.domains.eye.sources.mpiigaze_days import Day, Side
from factory.domains.eye.sources.pictures import cover
from factory.images.png import chain
from factory.sources.archives import is_archive
from factory.sources.base import BadRender, Loaded, SourceOptions, Vanished, rejected_with
from factory.sources.listing import FileSource
from factory.sources.members import DamagedFileError
from factory.sources.scan import (
    Container,
    FileBatch,
    Ignored,
    ScanItem,
    Seen,
    batch_of,
    joined_problems,
)
from factory.store.extras import MissingExtraError
from schemas.dataset import DatasetKind

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".mat"})
OTHER_SUFFIXES = (".h5", ".hdf5")
"""of files that hold the set in a form of somebody else's"""
NOT_MAT = "(MPIIGaze's own files are .mat files, one a person and day)"
MAX_DAYS = 2
"""files of which the eyes are held in memory"""
_PERSON = re.compile(r"p\d+(?![^\W_])")


class MpiiGazeOptions(CroppedOptions):
    """The options that decide the content of a sample of a normalised eye image."""


class MpiiGazeSource(FileSource):
    """MPIIGaze's normalised .mat files.

    Reads one eye at a time, with ids such as `p00/day01.mat:right:000012`.
    """

    options: MpiiGazeOptions
    options_kind: ClassVar[type[SourceOptions]] = MpiiGazeOptions
    name: ClassVar[str] = "mpiigaze"
    labelled: ClassVar[bool] = True
    kind: ClassVar[DatasetKind] = "real"

    def __init__(self, location: str | Path, options: MpiiGazeOptions):
        super().__init__(location, options)
        self._days: dict[str, Day] = {}
        """by file, those that were read last"""
        self._lock = Lock()

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        """List every eye of every file, and name each file that cannot be read, or only in part."""
        one_sided: list[str] = []
        damaged: dict[str | None, list[str]] = defaultdict(list)
        """by archive, what is wrong with its files"""
        for item in self.files.walk(SUFFIXES, seen):
            if isinstance(item, Container):
                problems = [item.problem] if item.problem else []
                problems += damaged.pop(item.name, [])
                yield replace(item, problem=joined_problems(problems))
                continue
            if not isinstance(item, FileBatch):
                yield _with_hints(item)
                continue
            named, misnamed = item.split_off_misnamed()
            yield from misnamed
            for file in named.files():
                as_container = Container(*file)
                known = seen.get(file.name)
                if known is not None and as_container.is_unchanged(known):
                    yield replace(as_container, num_inputs=known.num_inputs)
                    continue
                in_archive = item.container is not None
                ids, problem, absent = self._look_into(file.name)
                if absent is not None:
                    one_sided.append(absent)
                if ids:
                    yield batch_of(ids, file, item.container if in_archive else file.name)
                if not in_archive:
                    yield replace(as_container, problem=problem)
                elif problem is not None:
                    damaged[item.container].append(problem)
        if one_sided:
            log.warning("files with the eyes of one side alone: %s", joined_problems(one_sided))

    def _look_into(self, name: str) -> tuple[list[str], str | None, str | None]:
        """The ids of the eyes in a file, what is wrong with it, and which side it does not have."""
        try:
            day = self._day(name)
        except Vanished:
            return [], None, None
        except MissingExtraError as error:
            return [], f"{name}: {error}", None
        ids = [
            f"{name}:{side}:{row:06d}"
            for side, eyes in day.eyes.items()
            for row in range(len(eyes.image))
        ]
        problem = f"{name}: {'; '.join(day.problems)}" if day.problems else None
        return ids, problem, f"{name} {day.absent}" if day.absent is not None else None

    def identity(self, source_id: str) -> str | None:
        """The person: the last part of the path that is named as MPIIGaze names persons, `p00`;
        else the folder of the file. A file that is in none is taken for a person of its own."""
        path = PurePosixPath(_parts(source_id)[0])
        for part in reversed(path.parts):
            person = _PERSON.match(part)
            if person is not None:
                return person[0]
        folder = path.parent.name
        return folder if folder and not is_archive(folder) else path.stem

    def digests(self, source_id: str) -> tuple[str, str | None]:
        _, image, gaze, pose = self._row(source_id)
        return _digests(image, gaze, pose)

    def load(self, source_id: str) -> Loaded:
        row = self._row(source_id)
        digests = _digests(*row[1:])
        with rejected_with(digests):
            return self._loaded(source_id, *row, digests)

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
        if side is None:  # earlier versions planned a file that they could not read as one input
            problems = self._day(name).problems
            raise BadRender(source_id, "; ".join(problems) or "its eyes are inputs of their own")
        day = self._day(name)
        if side not in day.eyes:
            raise BadRender(source_id, day.absent or "; ".join(day.problems))
        eyes = day.eyes[side]
        if row >= len(eyes.image):
            raise Vanished(source_id)
        return side, eyes.image[row], eyes.gaze[row], eyes.pose[row]

    def _day(self, name: str) -> Day:
        """What a file has.

        Raises:
            BadRender: the file cannot be read at all.
            MissingExtraError: it is of MATLAB 7.3, and h5py is not installed.
        """
        files = self.files  # opened here, because a missing folder is not the fault of a file
        with self._lock:  # several threads would otherwise read one file at the same time
            if name not in self._days:
                try:
                    self._days[name] = Day.read(files.read(name))
                except FileNotFoundError as error:
                    raise Vanished(name) from error
                except DamagedFileError as error:
                    self._days[name] = Day({}, (str(error),))
                while len(self._days) > MAX_DAYS:
                    del self._days[next(iter(self._days))]
            return self._days[name]


def _with_hints(item: Ignored) -> Ignored:
    """The ignored files, with what the set itself consists of where somebody else's form is met."""
    hinted = {
        f"{suffix} {NOT_MAT}" if suffix in OTHER_SUFFIXES else suffix: count
        for suffix, count in item.counts.items()
    }
    return Ignored(hinted)


def _parts(source_id: str) -> tuple[str, Side | None, int]:
    """(file, side, row) of one eye; no side for a file that could not be read."""
    match = re.fullmatch(r"(.+):(left|right):(\d+)", source_id)
    return (match[1], cast(Side, match[2]), int(match[3])) if match else (source_id, None, 0)


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
