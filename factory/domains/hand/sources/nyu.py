"""The source for the NYU hand pose set (Tompson et al., ACM TOG 2014) and renders in its format.

A folder has renders (`synthdepth_{camera}_{frame}.png`), camera frames
(`depth_{camera}_{frame}.png`), and the joints of every frame in `joint_data.mat`. Folders may be
nested, and may be in a tar or a zip.
"""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from factory.dataset.tar import sha256
from factory.domains.hand.geometry import NYU_CAMERA, Points
from factory.domains.hand.sources.depth import (
    Depth,
    HandCrop,
    Mask,
    unpack_depth,
    widened,
)
from factory.domains.hand.sources.nyu_files import (
    CAMERAS,
    JOINT_DATA,
    PNG_SPELLINGS,
    FrameName,
    FrameScan,
    Prefix,
    frame_name,
)
from factory.domains.hand.sources.nyu_joints import JointsError, JointTable
from factory.images.png import UndecodableError
from factory.sources.base import BadRender, Loaded, SourceOptions, Vanished, rejected_with
from factory.sources.files import Files
from factory.sources.listing import FileSource
from factory.sources.members import DamagedFileError
from factory.sources.scan import ScanItem, Seen
from factory.store.extras import MissingExtraError
from schemas.dataset import DatasetKind
from schemas.hand.sample import EVALUATED_JOINTS, MAX_CUBE_MM

NEAR_MM = 60.0
"""a joint is at most this far behind the depth at its pixel, which is that of the skin or of
another part of the hand"""
MIN_SHARE_NEAR = 0.25
"""smallest share of the joints with the hand's depth at their pixel; with fewer, the joints belong
to another frame"""


class NyuOptions(SourceOptions):
    """The options that decide the content of a sample of an NYU frame."""

    kind: Literal["synthetic", "real"] = "synthetic"
    """synthetic reads the renders, synthdepth_*.png; real the camera frames, depth_*.png"""
    cube_mm: Annotated[int, Field(ge=1, le=MAX_CUBE_MM)] = 300
    """side of the cube around the joints; what lies outside becomes background"""
    size_px: Annotated[int, Field(ge=16, le=1024)] = 224
    """height and width of a crop"""
    cameras: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    """the cameras whose pictures are read"""
    mask: Literal["twin", "cube"] = "twin"
    """for real frames only: twin keeps the pixels where the render of the same frame has the hand
    (Shrivastava et al. 2017, section 3.2); cube keeps all in the cube, for frames without a
    render"""
    mask_margin_px: Annotated[int, Field(ge=0, le=100)] = 0
    """for real frames with mask twin only: the render's silhouette is widened by this many pixels
    of the frame"""
    labelled: bool | None = None
    """whether samples carry the joints; by default renders do and camera frames do not"""

    @field_validator("cameras")
    @classmethod
    def _some(cls, cameras: tuple[int, ...]) -> tuple[int, ...]:
        if not cameras:
            raise ValueError("at least one of the cameras 1, 2 and 3 must be given")
        return tuple(sorted(set(cameras)))

    @property
    def image_size(self) -> tuple[int, int]:
        return self.size_px, self.size_px


class NyuSource(FileSource):
    """NYU's hands, synthdepth_* or depth_* with joints.

    Reads one frame at a time, with ids such as `train/depth_1_0000001`. The joints of a
    folder are read once for all its frames.
    """

    options: NyuOptions
    options_kind: ClassVar[type[SourceOptions]] = NyuOptions
    name: ClassVar[str] = "nyu"

    def __init__(self, location: str | Path, options: NyuOptions):
        super().__init__(location, options)
        self._joints = _Joints()

    @property
    def kind(self) -> DatasetKind:
        return self.options.kind

    @property
    def labelled(self) -> bool:
        labelled = self.options.labelled
        return self.kind == "synthetic" if labelled is None else labelled

    @property
    def _prefix(self) -> Prefix:
        return "synthdepth" if self.kind == "synthetic" else "depth"

    @property
    def _with_twin(self) -> bool:
        return self.kind == "real" and self.options.mask == "twin"

    def scan(self, seen: Seen) -> Iterable[ScanItem]:
        scan = FrameScan(
            prefix=self._prefix,
            cameras=set(self.options.cameras),
            with_twin=self._with_twin,
            problem_of=self._problem_of,
        )
        return scan.items(self.files, seen)

    def _problem_of(self, joint_data: str) -> str | None:
        """Why a file of joints cannot be read; None where it can."""
        try:
            self._joints.of(self.files, joint_data)
        except (JointsError, MissingExtraError) as error:
            return f"{joint_data}: {error}; the frames beside it wait until it can be read"
        return None

    def identity(self, source_id: str) -> str | None:
        return f"frame-{_name(source_id).frame:07d}"

    def digests(self, source_id: str) -> tuple[str, str | None]:
        name = _name(source_id)
        image = self._read(source_id)
        return sha256(image), sha256(self._row(name) + self._twin(name))

    def load(self, source_id: str) -> Loaded:
        name = _name(source_id)
        image = self._read(source_id)
        row, twin = self._row(name), self._twin(name)
        digests = sha256(image), sha256(row + twin)
        with rejected_with(digests):
            return self._loaded(name, image, twin, digests)

    def _loaded(
        self, name: FrameName, image: bytes, twin: bytes, digests: tuple[str, str]
    ) -> Loaded:
        source_id = name.stem
        try:
            xyz_mm = self._table(name).xyz_mm(name.camera, name.frame)
        except JointsError as error:
            raise BadRender(source_id, str(error)) from error
        crop = self._crop(source_id, xyz_mm)
        depth = _decode(source_id, "image", image)
        mask = self._mask(source_id, twin, crop) if self._with_twin else None
        stored = crop.cut(depth, mask)
        joints_uvd = crop.stored(xyz_mm)
        _check_fit(source_id, stored, joints_uvd)
        labels: dict[str, Any] = {
            "z_near_mm": crop.z_near_mm,
            "cube_mm": crop.cube_mm,
            "camera": {part: np.float32(value) for part, value in vars(crop.camera).items()},
        }
        if self.labelled:
            some = list(EVALUATED_JOINTS)
            labels |= {
                "joints_uvd": joints_uvd,
                "joints_xyz_mm": xyz_mm,
                "joints14_uvd": joints_uvd[some],
                "joints14_xyz_mm": xyz_mm[some],
            }
        return Loaded(
            image=stored,
            labels=labels,
            identity=self.identity(source_id),
            crop_affine=crop.affine,
            extra={"nyu_camera": name.camera, "nyu_frame": name.frame},
            image_sha256=digests[0],
            label_sha256=digests[1],
        )

    def _crop(self, source_id: str, xyz_mm: Points) -> HandCrop:
        options = self.options
        extent_mm = np.ptp(xyz_mm, axis=0).max()
        if extent_mm > options.cube_mm:
            raise BadRender(
                source_id,
                f"the joints span {extent_mm:.0f} mm, more than the cube of {options.cube_mm} mm; "
                "a larger cube_mm would hold them",
            )
        crop = HandCrop.around(xyz_mm, NYU_CAMERA, cube_mm=options.cube_mm, size_px=options.size_px)
        if crop.z_near_mm < 1:
            raise BadRender(source_id, f"the cube begins {-crop.z_near_mm} mm behind the camera")
        return crop

    def _mask(self, source_id: str, twin: bytes, crop: HandCrop) -> Mask:
        """(H, W) where the render has the hand; its background is 0 or behind the cube."""
        silhouette = crop.within(_decode(source_id, "its render", twin))
        return widened(silhouette, self.options.mask_margin_px)

    def _row(self, name: FrameName) -> bytes:
        """The bytes of a frame's joints, of which digests are taken."""
        if name.camera not in CAMERAS:
            raise BadRender(name.stem, f"camera {name.camera} is none of NYU's 1, 2 and 3")
        try:
            return self._table(name).bytes_of(name.camera, name.frame)
        except JointsError as error:
            raise BadRender(name.stem, f"{JOINT_DATA}: {error}") from error

    def _table(self, name: FrameName) -> JointTable:
        return self._joints.of(self.files, name.joint_data)

    def _twin(self, name: FrameName) -> bytes:
        """The bytes of the render of the same frame; empty where it does not matter."""
        if not self._with_twin:
            return b""
        try:
            return _read_png(self.files, name.twin_stem, PNG_SPELLINGS)
        except FileNotFoundError as error:
            raise BadRender(
                name.stem,
                "no render (synthdepth) of this frame to mask it; mask cube needs none",
            ) from error
        except DamagedFileError as error:
            raise BadRender(name.stem, str(error)) from error

    def _read(self, source_id: str) -> bytes:
        files = self.files  # opened here, because a missing folder is not the fault of a frame
        suffixes = (self._expected.get(source_id) or "").split()
        if len(suffixes) > 1:
            names = ", ".join(f"{source_id}{suffix}" for suffix in suffixes)
            raise BadRender(source_id, f"more than one picture: {names}")
        try:
            return _read_png(files, source_id, suffixes or PNG_SPELLINGS)
        except FileNotFoundError as error:
            raise Vanished(source_id) from error
        except DamagedFileError as error:
            raise BadRender(source_id, str(error)) from error


class _Joints:
    """The joints of the folder that was read last, or the reason why they cannot be read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name: str | None = None
        self._table: JointTable | str = ""

    def of(self, files: Files, name: str) -> JointTable:
        """The joints of a folder.

        Args:
            name: of the file with the joints.

        Raises:
            JointsError: there is no such file, or it has no joints.
        """
        with self._lock:  # several threads would otherwise read the large file at the same time
            if name != self._name:
                self._table, self._name = _read_joints(files, name), name
            if isinstance(self._table, str):
                raise JointsError(self._table)
            return self._table


def _read_png(files: Files, stem: str, suffixes: Sequence[str]) -> bytes:
    """The first file that exists of those with the stem and one of the suffixes."""
    for suffix in suffixes[:-1]:
        try:
            return files.read(f"{stem}{suffix}")
        except FileNotFoundError:
            continue
    return files.read(f"{stem}{suffixes[-1]}")


def _read_joints(files: Files, name: str) -> JointTable | str:
    try:
        return JointTable.read(files.read(name))
    except FileNotFoundError:
        return "missing; it has to lie beside the pictures"
    except (DamagedFileError, JointsError) as error:
        return str(error)


def _name(source_id: str) -> FrameName:
    name = frame_name(source_id)
    if name is None:
        raise BadRender(source_id, "not named as an NYU frame is: depth_{camera}_{frame}")
    return name


def _decode(source_id: str, what: str, raw: bytes) -> Depth:
    try:
        return unpack_depth(raw)
    except UndecodableError as error:
        raise BadRender(source_id, f"{what} is no depth picture: {error}") from error


def _check_fit(source_id: str, stored: Depth, joints_uvd: Points) -> None:
    """Check that these can be the joints of the hand in the crop.

    Raises:
        BadRender: the crop is empty, or too few joints have the hand's depth at their pixel.
    """
    if not stored.any():
        raise BadRender(source_id, "nothing of the hand is in the cube around its joints")
    size = len(stored)
    columns, rows = np.floor(joints_uvd[:, :2].T + 0.5).astype(int)
    seen = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    depth = np.where(seen, stored[rows.clip(0, size - 1), columns.clip(0, size - 1)], 0)
    near = (depth > 0) & (np.abs(depth - joints_uvd[:, 2]) <= NEAR_MM)
    if near.mean() < MIN_SHARE_NEAR:
        raise BadRender(
            source_id,
            f"only {near.sum()} of {len(near)} joints have the hand's depth at their pixel: the "
            "joints of another frame?",
        )
