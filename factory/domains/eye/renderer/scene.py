"""The geometry and light of a picture of an eye: people, gaze, head, lids, lamps.

The camera frame here is in millimetres with its origin at the centre of the eyeball, x right,
y **up**, z away from the camera; it is the left-handed frame of UnityEyes labels. The *head frame*
is the same when the face looks straight ahead. The projection is orthographic, so a picture is
given by a scale and an offset, and looking into the camera is exactly (0, 0, -1) wherever the eye
is in the picture.

Shapes in docstrings: n scenes, k points, p people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Population = Literal["render", "camera"]

EYEBALL_MM = 12.0
"""radius of the eyeball"""
IRIS_MM = 6.1
"""radius of the iris at `iris_size` 1"""
NUM_COEFFS = 20
"""length of a shape vector, as in UnityEyes labels"""
MAX_ZOOM = 1.08
"""the largest relative scale of a picture"""
NUM_PEOPLE = 20
"""of each population"""
CREASE_END_MM = 2.0
"""how far above the outer corner the crease of the upper lid ends"""
INNER_X, OUTER_X = -14.6, 12.4
"""x in the head frame, mm, of the corners in which upper and lower lid meet; the caruncle lies in
the inner corner"""
IRISES = ("brown", "dark", "amber", "hazel", "green", "grey", "blue")
_NAMES = {"render": "drawn", "camera": "standin"}
SKIES = ("overcast", "indoor", "evening", "studio")
_SKY_TINT = np.array([[0.96, 1.0, 1.06], [1.05, 1.0, 0.92], [1.12, 1.0, 0.86], [1.0, 1.0, 1.0]])
_SKIN_TONES = np.array(
    [[0.80, 0.56, 0.45], [0.72, 0.47, 0.36], [0.62, 0.39, 0.28], [0.46, 0.27, 0.18],
     [0.27, 0.15, 0.10], [0.82, 0.60, 0.52]]
)  # fmt: skip


@dataclass(frozen=True)
class People:
    """The people of a population, one row each. A person looks the same in every picture."""

    names: tuple[str, ...]
    skin_rgb: Array
    """(p, 3) linear reflectance in [0, 1]"""
    hair_darkness: Array
    """(p,) darkness of lashes and brow in [0, 1]"""
    shape: Array
    """(p, 20) mean shape coefficients, see `Scenes.shape`"""
    crease_mm: Array
    """(p,) height of the lid crease above the open upper lid"""
    brow_mm: Array
    """(p,) height of the brow above the eyeball's centre"""
    brow_thick_mm: Array
    """(p,) thickness of the brow"""
    lash_mm: Array
    """(p,) greatest length of a lash"""
    num_lashes: npt.NDArray[np.int64]
    """(p,) on the upper lid"""
    iris: npt.NDArray[np.int64]
    """(p,) index into `IRISES`"""
    roughness: Array
    """(p,) strength of pores, spots and wrinkles in [0, 1]"""
    decentration_mm: Array
    """(p, 2) position of the pupil's centre minus that of the iris, in the plane of the iris, x
    (negative towards the nose) and y up"""


@lru_cache
def people(population: Population) -> People:
    """The fixed people of a population; `render` and `camera` have different ones."""
    rng = np.random.default_rng([20170724, {"render": 0, "camera": 1}[population]])
    p = NUM_PEOPLE
    tone = rng.permutation(np.arange(p) % len(_SKIN_TONES))
    skin = _SKIN_TONES[tone] * rng.uniform(0.85, 1.1, (p, 1)) * rng.uniform(0.96, 1.04, (p, 3))
    dark = skin[:, 0] < 0.5
    pale = rng.integers(0, len(IRISES) if population == "render" else 4, p)
    iris = np.where(dark, rng.integers(0, 2, p), pale)
    shape = np.zeros((p, NUM_COEFFS))
    shape[:, :8] = rng.normal(0, 0.6, (p, 8))
    return People(
        names=tuple(f"{_NAMES[population]}_{i + 1:02d}" for i in range(p)),
        skin_rgb=np.clip(skin, 0.05, 0.9),
        hair_darkness=rng.uniform(0.6, 0.95, p),
        shape=shape,
        crease_mm=rng.uniform(*((1.6, 4.0) if population == "render" else (2.2, 5.0)), p),
        brow_mm=rng.uniform(15.5, 20.0, p),
        brow_thick_mm=rng.uniform(1.6, 3.4, p),
        lash_mm=rng.uniform(*((5.5, 8.5) if population == "render" else (3.5, 6.5)), p),
        num_lashes=rng.integers(50, 90, p),
        iris=iris,
        roughness=rng.uniform(0.2, 1.0, p),
        decentration_mm=np.stack([rng.uniform(-0.12, 0, p), rng.uniform(0, 0.06, p)], 1),
    )


@dataclass(frozen=True)
class Scenes:
    """n scenes, one row each. `dataclasses.replace` changes a property of sampled scenes."""

    index: npt.NDArray[np.int64]
    """(n,) numbers of the pictures"""
    seed: int
    """of the random choices for all n"""
    population: Population
    """which people are shown"""
    person: npt.NDArray[np.int64]
    """(n,) row of `people(population)`"""
    gaze: Array
    """(n, 3) unit vector, camera frame, y up; (0, 0, -1) looks into the camera"""
    head_deg: Array
    """(n, 2) pitch (positive: the face points down) and yaw (positive: to image right), degrees"""
    shape: Array
    """(n, 20) coefficients of this renderer's own shape space, in standard deviations: height of
    the upper lid, of the lower lid, slant, position of the peak, roundness, crease, width,
    caruncle; the rest is 0"""
    openness: Array
    """(n,) share of the opening that the gaze's pitch gives; 1 is fully open, 0 nearly shut"""
    iris_size: Array
    """(n,) relative radius, 0.9 to 1"""
    pupil_size: Array
    """(n,) -0.5 (narrow) to 0.5 (wide)"""
    light_deg: Array
    """(n, 2) elevation and azimuth (positive: from image right) of the key light, degrees"""
    light_intensity: Array
    """(n,) of the key light"""
    ambient: Array
    """(n,) intensity of the light from all sides"""
    exposure: Array
    """(n,) factor on all light"""
    sky: npt.NDArray[np.int64]
    """(n,) index into `SKIES`"""
    sky_rotation_deg: Array
    """(n,) written into labels only"""
    offset: Array
    """(n, 2) position of the eyeball's centre minus that of the picture, in picture widths, y
    down"""
    zoom: Array
    """(n,) relative scale of the picture, about 1"""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def iris_mm(self) -> Array:
        """(n,) radius of the iris."""
        return IRIS_MM * self.iris_size

    @property
    def iris_depth_mm(self) -> Array:
        """(n,) distance of the plane of the iris from the eyeball's centre.

        The pupil is drawn in that plane, because seen through the cornea it appears about 10.4 mm
        from the centre of rotation, where the limbus lies.
        """
        return np.sqrt(EYEBALL_MM**2 - self.iris_mm**2)

    @property
    def pupil_mm(self) -> Array:
        """(n,) radius of the pupil."""
        return self.iris_mm * (0.42 + 0.26 * self.pupil_size)

    @property
    def light(self) -> Array:
        """(n, 3) unit vector towards the key light, camera frame."""
        return _direction(self.light_deg[:, 0], self.light_deg[:, 1])

    @property
    def tint(self) -> Array:
        """(n, 3) colour of the light."""
        return _SKY_TINT[self.sky]


def _direction(up_deg: Array, right_deg: Array) -> Array:
    """(n, 3) unit vectors from the eye, given elevation and azimuth (to image right) in degrees."""
    up, right = np.radians(up_deg), np.radians(right_deg)
    return np.stack([np.sin(right) * np.cos(up), np.sin(up), -np.cos(right) * np.cos(up)], -1)


def sample_scenes(indices: Sequence[int], seed: int, population: Population) -> Scenes:
    """Sample the scenes of the given picture numbers.

    Scene k depends on (seed, k, population) only. `render` has broad distributions, as UnityEyes
    does: head yaw within 20 and head pitch within 12 degrees, gaze within 35 and 25 degrees of the
    face, and at most 48 degrees off the camera. `camera` shows people before a screen: gaze yaw
    within 20 and gaze pitch from -20 to +5 degrees, head yaw within 10 and head pitch within 8.

    Raises:
        ValueError: no picture numbers are given.
    """
    crowd = people(population)
    rows = []
    for index in indices:
        rng = np.random.default_rng([seed, int(index), {"render": 2, "camera": 3}[population]])
        person = int(rng.integers(NUM_PEOPLE))
        if population == "render":
            pitch, yaw = rng.uniform(-12, 12), rng.uniform(-20, 20)
            up, right = rng.uniform(-25, 25) - pitch, rng.uniform(-35, 35) + yaw
            light_deg = rng.uniform(5, 60), rng.uniform(-65, 65)
            wide = rng.uniform(0.88, 1.06)
            light, ambient = rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.5)
        else:
            pitch, yaw = rng.uniform(-8, 8), rng.uniform(-10, 10)
            up, right = rng.uniform(-20, 5), rng.uniform(-20, 20)
            light_deg = rng.uniform(-10, 75), rng.uniform(-85, 85)
            wide = rng.uniform(0.78, 1.02)
            light, ambient = rng.uniform(0.4, 1.2), rng.uniform(0.12, 0.35)
        off = np.hypot(up, right)
        up, right = np.array([up, right]) * min(1.0, 48 / max(off, 1e-9))
        shape = crowd.shape[person].copy()
        shape[:8] += rng.normal(0, 0.5, 8)
        rows.append(
            dict(
                index=int(index), person=person, gaze=_direction(up, right),
                head_deg=(pitch, yaw), shape=np.clip(shape, -2, 2),
                openness=wide * (1 if rng.random() > 0.1 else rng.uniform(0.6, 1)),
                iris_size=rng.uniform(0.9, 1.0), pupil_size=rng.uniform(-0.45, 0.45),
                light_deg=light_deg, light_intensity=light, ambient=ambient,
                exposure=rng.uniform(0.8, 1.2), sky=int(rng.integers(len(SKIES))),
                sky_rotation_deg=float(rng.integers(360)),
                offset=rng.uniform(-0.03, 0.03, 2), zoom=rng.uniform(0.92, MAX_ZOOM),
            )
        )  # fmt: skip
    if not rows:
        raise ValueError("no picture numbers given")
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Scenes(seed=seed, population=population, **columns)


def head_rotation(scenes: Scenes) -> Array:
    """(n, 3, 3) matrices that turn head-frame points into the camera frame."""
    pitch, yaw = np.radians(scenes.head_deg).T
    c, s, one, nil = np.cos(pitch), np.sin(pitch), np.ones_like(pitch), np.zeros_like(pitch)
    nod = np.stack([one, nil, nil, nil, c, s, nil, -s, c], -1).reshape(-1, 3, 3)
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.stack([c, nil, -s, nil, one, nil, s, nil, c], -1).reshape(-1, 3, 3)
    return np.asarray(np.einsum("nij,njk->nik", turn, nod))


def _turn(rotation: Array, points: Array) -> Array:
    """(n, k, 3) points in the camera frame, from points in the head frame."""
    return np.asarray(np.einsum("nij,nkj->nki", rotation, points))


@dataclass(frozen=True)
class Lids:
    """Lid curves of n scenes, as heights over the line between the two corners of the eye."""

    scenes: Scenes
    rotation: Array
    """(n, 3, 3) from the head frame to the camera frame"""
    inner: Array
    """(n, 2) x and y of the inner corner, beside the nose, in the head frame"""
    outer: Array
    """(n, 2) x and y of the outer corner"""
    heights: dict[str, Array]
    """(n,) greatest height of each curve over that line, mm; negative below it"""
    peak: Array
    """(n, 2) exponents of the lids' profile"""

    def curve(self, name: str, t: Array) -> Array:
        """(n, k, 3) points of a curve in the camera frame, mm.

        Args:
            name: `upper` or `lower` for the margins, `crease` or `bag` for the folds above and
                below them.
            t: (k,) or (n, k) from 0 at the inner corner to 1 at the outer corner.
        """
        t = np.broadcast_to(t, (len(self.scenes), np.shape(t)[-1]))
        a, b = self.peak[:, :1], self.peak[:, 1:]
        if name in ("lower", "bag"):
            a, b = a + 0.05, b + 0.08
        top = (a / (a + b)) ** a * (b / (a + b)) ** b
        line = self.inner[:, None] * (1 - t)[..., None] + self.outer[:, None] * t[..., None]
        y = line[..., 1] + self.heights[name][:, None] * t**a * (1 - t) ** b / top
        if name == "crease":
            y = y + CREASE_END_MM * t**2
        return _turn(self.rotation, on_face(line[..., 0], y))


def on_face(x: Array, y: Array) -> Array:
    """(..., 3) head-frame points on the surface of the lids, which bulges over the eyeball."""
    return np.stack([x, y, -13.0 * np.sqrt(np.clip(1 - ((x + 1.2) ** 2 + y**2) / 17**2, 0, 1))], -1)


def lids_of(scenes: Scenes) -> Lids:
    """The lids of n scenes. They follow the gaze's pitch, the upper lid more than the lower."""
    rotation = head_rotation(scenes)
    gaze_in_head = np.einsum("nij,ni->nj", rotation, scenes.gaze)
    lift = EYEBALL_MM * gaze_in_head[:, 1]
    shape = scenes.shape.T
    width = 1 + 0.025 * shape[6]
    inner = np.stack([INNER_X * width, -0.9 - 0.3 * shape[2]], 1)
    outer = np.stack([OUTER_X * width, 0.5 + 0.7 * shape[2]], 1)
    upper = 4.5 + 0.45 * shape[0] + 0.62 * lift
    lower = -5.4 - 0.35 * shape[1] + np.where(lift < 0, 0.36, 0.12) * lift
    gap = np.maximum((upper - lower) * scenes.openness, 1.5)
    lower = lower + 0.35 * (upper - lower - gap)
    upper = lower + gap
    crease = people(scenes.population).crease_mm[scenes.person] * (1 + 0.1 * shape[5])
    rest = 4.5 + 0.45 * shape[0] + 0.25 * lift
    fold = np.maximum(rest, upper) + crease
    heights = {"upper": upper, "lower": lower, "crease": fold, "bag": lower - 4.6 + 0.4 * shape[1]}
    peak = np.stack([1.05 + 0.08 * shape[3], 0.66 - 0.05 * shape[3] + 0.04 * shape[4]], 1)
    return Lids(scenes, rotation, inner, outer, heights, peak)


@dataclass(frozen=True)
class Landmarks:
    """True points of n scenes in the camera frame, millimetres, y up."""

    margin: Array
    """(n, 16, 3) points of the lid margins: 0 at the caruncle, 1 to 7 along the upper lid, 8 at the
    outer corner, 9 to 15 back along the lower lid"""
    caruncle: Array
    """(n, 7, 3)"""
    iris: Array
    """(n, 32, 3) the full circle of the limbus, also where a lid covers it"""
    pupil: Array
    """(n, 3) centre of the pupil as it is seen"""


def iris_axes(scenes: Scenes) -> tuple[Array, Array]:
    """Two (n, 3) unit vectors that span the plane of the iris: to image right, and up."""
    right = np.cross([0.0, 1.0, 0.0], -scenes.gaze)
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    return right, np.cross(-scenes.gaze, right)


def landmarks_of(lids: Lids) -> Landmarks:
    """The labelled points, which follow from the geometry."""
    scenes = lids.scenes
    along = np.array([0.17, 0.25, 0.37, 0.52, 0.68, 0.81, 0.91])
    upper, lower = lids.curve("upper", along), lids.curve("lower", along)
    mouth = np.array([0.15])
    start = (lids.curve("upper", mouth) + lids.curve("lower", mouth)) / 2
    margin = np.concatenate([start, upper, lids.curve("upper", np.ones(1)), lower[:, ::-1]], axis=1)
    nook = np.array([0.0, 0.04, 0.08, 0.12])
    caruncle = np.concatenate(
        [lids.curve("upper", nook[::-1]), lids.curve("lower", nook[1:])], axis=1
    )
    right, up = iris_axes(scenes)
    angle = np.arange(32) * (2 * np.pi / 32)
    circle = (
        np.cos(angle)[:, None] * right[:, None] + np.sin(angle)[:, None] * up[:, None]
    ) * scenes.iris_mm[:, None, None]
    centre = scenes.gaze * scenes.iris_depth_mm[:, None]
    off = people(scenes.population).decentration_mm[scenes.person]
    pupil = centre + off[:, :1] * right + off[:, 1:] * up
    return Landmarks(margin, caruncle, centre[:, None] + circle, pupil)


@dataclass(frozen=True)
class View:
    """Where n scenes lie on pictures: x = centre_x + scale * X, y = centre_y - scale * Y."""

    height: int
    """pixels"""
    width: int
    """pixels"""
    px_per_mm: Array
    """(n,) the scale"""
    centre_px: Array
    """(n, 2) position (x, y down) of the eyeball's centre; pixel centres are at integers"""
    largest_px_per_mm: float
    """the largest scale that sampled scenes can have in such a view"""

    def to_px(self, points: Array) -> Array:
        """(n, k, 2) positions (x, y down) in the picture of (n, k, 3) camera-frame points."""
        flat = points[..., :2] * np.array([1.0, -1.0])
        return np.asarray(self.centre_px[:, None] + self.px_per_mm[:, None, None] * flat)


def picture_view(scenes: Scenes, height: int, width: int) -> View:
    """The view of a full picture: the eye is near its middle and about a fifth of its width."""
    centre = (np.array([width, height]) - 1) / 2 + scenes.offset * width
    scale = 0.0084 * width
    return View(height, width, scale * scenes.zoom, centre, scale * MAX_ZOOM)


def crop_view(scenes: Scenes, landmarks: Landmarks, height: int, width: int) -> View:
    """The view of a crop, which is centred between the eye's corners, with some jitter."""
    jitter = np.array(
        [np.random.default_rng([scenes.seed, int(k), 4]).uniform(-1, 1, 3) for k in scenes.index]
    )
    corners = landmarks.caruncle.mean(1)[:, :2], landmarks.margin[:, 8, :2]
    middle = (corners[0] + corners[1]) / 2
    scale = width * (0.71 + 0.04 * jitter[:, 2]) / np.hypot(*(corners[1] - corners[0]).T)
    centre = (np.array([width, height]) - 1) / 2 + jitter[:, :2] * np.array([0.025, 0.02]) * width
    offset = middle * np.array([1.0, -1.0]) * scale[:, None]
    return View(height, width, scale, centre - offset, 0.05 * width)
