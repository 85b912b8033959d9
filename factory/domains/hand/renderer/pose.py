"""Random hands: proportions, plausible joint angles, and a position before the camera.

The skeleton has a hinge at the middle and last joint of each finger, a universal joint at its
knuckle, and a stiff palm. The lengths of the bones are those of Buryanov and Kotiuk 2010,
"Proportions of hand segments". The limits of the angles of the fingers are those of Lin, Wu and
Huang 2000, "Modeling the constraints of human hand motion", where the last joint bends 2/3 as far
as the middle one. Those of thumb and wrist are the norms of the American Academy of Orthopaedic
Surgeons (Greene and Heckman 1994).

The hand's own frame has its origin at the wrist, x towards the thumb, y towards the fingers and z
out of the palm. The order of the fingers is that of NYU: little, ring, middle, index.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial.transform import Rotation

from factory.domains.base import Style
from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX
from factory.domains.hand.renderer.depth import Array
from factory.domains.hand.renderer.shape import Hand, size_of

MCP_DEG, PIP_DEG, DIP_DEG = (-15.0, 90.0), (0.0, 110.0), (0.0, 90.0)
"""flexion of a finger's knuckle, middle and last joint"""
SPREAD_DEG = 15.0
"""greatest abduction of a finger to either side, from its direction in a straight hand"""
THUMB_RADIAL_DEG, THUMB_PALMAR_DEG = (25.0, 70.0), (0.0, 60.0)
"""angles of the thumb's metacarpal: away from the fingers' direction, and out of the palm"""
THUMB_MP_DEG, THUMB_IP_DEG = (0.0, 60.0), (-10.0, 80.0)
"""flexion of the thumb's middle and last joint"""
WRIST_FLEXION_DEG, WRIST_DEVIATION_DEG = (-60.0, 60.0), (-30.0, 20.0)
"""angles of the wrist: towards the palm, and towards the thumb"""
YAW_DEG, PITCH_DEG, ROLL_DEG = 60.0, 45.0, 60.0
"""greatest rotations of the hand in either sense; at 0 the palm faces the camera, fingers up"""
DISTANCE_MM = 500.0, 1100.0
"""distance of the hand's centre along the optical axis"""

_CANDIDATES = 8
"""number of poses that are drawn for a hand; the first whose fingers keep `APART_MM` is taken"""
APART_MM = 12.0
"""distance between joints of two fingers in a hand of size 1; if it is smaller, flesh overlaps"""
_MARGIN_MM = 25.0
"""thickness of the flesh around the joints"""
_BONES_MM = np.array(
    [[32.7, 18.1, 12.9], [41.4, 25.7, 13.9], [44.6, 26.3, 13.8], [39.8, 22.4, 12.4]]
)
"""lengths of each finger's bones: proximal, middle, and distal minus the radius of the tip"""
_THUMB_MM = np.array([46.2, 31.6, 18.6])
"""lengths of the thumb's bones: metacarpal, proximal, and distal minus the radius of the tip"""
_KNUCKLES_MM = np.array([[-34.0, 79, 10], [-16, 88, 5], [4, 91, 2], [23, 88, -1]])
_THUMB_BASE_MM = np.array([11.0, 25, 18])
_PALM_MM = np.array(
    [[-14.6, 4.8, 3], [14.6, 4.8, 3], [0, 70.5, 0], [-19.5, 62, 9], [0, 47, 0], [0, 0, 0]]
)
"""positions of NYU's palm joints in a hand of size 1"""
_FAN_DEG = np.array([-9.0, -4, 0, 4])
"""directions of the fingers of a straight hand, positive towards the thumb"""
_ABDUCTION_DEG = np.array([-13.0, -5, 1, 11])
"""what a fully spread hand adds to these"""
_THUMB_BENDS_TO = np.array([-0.9, 0.35, 0.25])

_VIEWS = [Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix() for yaw_deg in (40, -40)]
"""rotations of a hand for the second and third camera"""

_OUT, _BENT, _IN = (4.0, 8.0), (30.0, 40.0), (82.0, 98.0)
_OVER = (42.0, 32.0, 42.0, 45.0)
"""the thumb laid over bent fingers"""
_PRESETS = (
    # Share; degrees of (knuckle, middle joint) of little, ring, middle, index; spread; thumb.
    (3, (_OUT, _OUT, _OUT, _OUT), 0.8, (60, 20, 6, 6)),
    (2, (_OUT, _OUT, _OUT, _OUT), 0.1, (42, 8, 8, 8)),
    (3, ((32, 42), (28, 38), (24, 34), (18, 28)), 0.3, (52, 26, 18, 20)),
    (2, (_IN, _IN, _IN, _IN), 0.0, _OVER),
    (2, (_IN, _IN, _IN, _OUT), 0.2, _OVER),
    (2, (_IN, _IN, _OUT, _OUT), 0.8, (42, 34, 48, 50)),
    (1, (_IN, _OUT, _OUT, _OUT), 0.6, (42, 34, 50, 50)),
    (1, (_OUT, _OUT, _OUT, _OUT), 0.5, (38, 34, 50, 45)),
    (1, (_IN, _IN, _IN, _IN), 0.0, (66, 10, 4, 0)),
    (2, (_BENT, _BENT, (38, 48), (44, 54)), 0.2, (46, 42, 26, 26)),
    (2, (_OUT, (10, 14), (20, 22), (46, 54)), 0.5, (46, 42, 26, 26)),
    (2, ((45, 55), (45, 55), (45, 52), (42, 50)), 0.5, (54, 40, 20, 24)),
    (1, ((2, 70), (2, 72), (2, 72), (2, 70)), 0.6, (56, 22, 20, 40)),
    (1, (_OUT, _IN, _IN, _IN), 0.4, (66, 12, 4, 0)),
    (1, (_OUT, _IN, _IN, _OUT), 0.4, _OVER),
    (1, ((75, 8), (76, 8), (76, 8), (75, 8)), 0.1, (46, 28, 12, 12)),
)
"""open, flat, relaxed, fist, pointing, two, three, four, thumb up, pinch, ring, grasp, claw,
telephone, horns, bent at the knuckles"""


@dataclass(frozen=True)
class Angles:
    """Joint angles of n poses in degrees. The fingers are little, ring, middle, index."""

    mcp_deg: Array
    """(n, 4) flexion of the knuckles"""
    pip_deg: Array
    """(n, 4) flexion of the middle joints"""
    dip_deg: Array
    """(n, 4) flexion of the last joints"""
    spread_deg: Array
    """(n, 4) abduction towards the thumb, from the direction in a straight hand"""
    thumb_deg: Array
    """(n, 4) of the thumb: radial, palmar, middle joint, last joint"""
    wrist_deg: Array
    """(n, 2) flexion and deviation of the wrist"""

    def pose(self, k: int) -> "Angles":
        """The angles of pose k alone."""
        return Angles(*(getattr(self, field.name)[k : k + 1] for field in fields(self)))


@dataclass(frozen=True)
class Proportions:
    """The proportions of one hand, as factors on those of a hand of size 1."""

    size: float
    """of the whole hand"""
    fingers: Array
    """(5,) of the lengths of the fingers, the thumb last"""
    thickness: float
    """of the flesh"""


def sample_hand(index: int, seed: int, population: Style) -> Hand:
    """Sample hand number `index`; it depends on the arguments alone."""
    rng = np.random.default_rng([seed, index, 0 if population == "render" else 1])
    proportions = draw_proportions(rng, population)
    angles = draw_angles(rng, _CANDIDATES)
    candidates = joints_of(angles, proportions)
    gaps = gaps_of(candidates) / size_of(candidates)
    chosen = int(np.argmax(gaps >= APART_MM)) if (gaps >= APART_MM).any() else gaps.argmax()
    turn = _rotation(rng)
    joints = candidates[chosen] @ turn.T
    forearm = turn @ forearm_of(angles.pose(int(chosen)))[0]
    return Hand(_placed(joints, rng), forearm, proportions.thickness)


def draw_proportions(rng: np.random.Generator, population: Style) -> Proportions:
    """Sample the proportions of a person; those of `camera` have larger and thicker hands."""
    size, thickness = (1.0, 1.0) if population == "render" else (1.1, 1.06)
    long = np.clip(rng.normal(1, 0.03), 0.93, 1.07)
    return Proportions(
        size=size * float(np.clip(rng.normal(1, 0.06), 0.85, 1.15)),
        fingers=long * np.clip(rng.normal(1, 0.04, 5), 0.9, 1.1),
        thickness=thickness * float(np.clip(rng.normal(1, 0.05), 0.88, 1.12)),
    )


def draw_angles(rng: np.random.Generator, count: int) -> Angles:
    """Sample `count` poses within all limits.

    Half of them are near one of the presets, the others near a mixture of two.
    """
    shares = np.array([preset[0] for preset in _PRESETS], np.float64)
    ends = rng.choice(len(_PRESETS), (count, 2), p=shares / shares.sum())
    way = np.where(rng.random(count) < 0.5, 0.0, rng.random(count))
    fingers = _between(np.array([preset[1] for preset in _PRESETS], np.float64), ends, way)
    spread = _between(np.array([preset[2] for preset in _PRESETS], np.float64), ends, way)
    thumb = _between(np.array([preset[3] for preset in _PRESETS], np.float64), ends, way)
    together = rng.normal(0, 4, (count, 1))  # neighbouring fingers move together
    mcp = np.clip(fingers[..., 0] + together + rng.normal(0, 5, (count, 4)), *MCP_DEG)
    pip = np.clip(fingers[..., 1] + together + rng.normal(0, 6, (count, 4)), *PIP_DEG)
    dip = np.clip(pip * 2 / 3 + rng.normal(0, 4, (count, 4)), *DIP_DEG)
    straight = np.clip(1 - mcp / 90, 0, 1)  # a bent knuckle cannot spread
    opening = np.clip(spread + rng.normal(0, 0.2, count), -0.2, 1.2)[:, None]
    abduction = (opening * _ABDUCTION_DEG + rng.normal(0, 1.5, (count, 4))) * straight
    limits = np.array([THUMB_RADIAL_DEG, THUMB_PALMAR_DEG, THUMB_MP_DEG, THUMB_IP_DEG])
    thumb = np.clip(thumb + rng.normal(0, 5, (count, 4)), limits[:, 0], limits[:, 1])
    wrist = rng.normal([0, -4], [16, 8], (count, 2))
    bounds = np.array([WRIST_FLEXION_DEG, WRIST_DEVIATION_DEG])
    return Angles(
        mcp_deg=mcp,
        pip_deg=pip,
        dip_deg=dip,
        spread_deg=np.clip(abduction, -SPREAD_DEG, SPREAD_DEG),
        thumb_deg=thumb,
        wrist_deg=np.clip(wrist, bounds[:, 0], bounds[:, 1]),
    )


def joints_of(angles: Angles, proportions: Proportions) -> Array:
    """(n, 36, 3) joints in NYU's order and the hand's own frame, mm."""
    count = len(angles.mcp_deg)
    joints = np.empty((count, 36, 3))
    side = np.radians(_FAN_DEG + angles.spread_deg)
    ahead = np.stack([np.sin(side), np.cos(side), np.zeros_like(side)], -1)
    up = np.broadcast_to([0.0, 0.0, 1.0], ahead.shape)
    bends = np.stack([angles.mcp_deg, angles.pip_deg, angles.dip_deg], -1)
    lengths = _BONES_MM * proportions.fingers[:4, None]
    for finger in range(4):
        joints[:, 6 * finger : 6 * finger + 6] = _chain(
            _KNUCKLES_MM[finger], ahead[:, finger], up[:, finger], bends[:, finger], lengths[finger]
        )
    away, out, *_ = np.radians(angles.thumb_deg.T)
    ahead = np.stack([np.sin(away) * np.cos(out), np.cos(away) * np.cos(out), np.sin(out)], -1)
    up = _THUMB_BENDS_TO - (ahead @ _THUMB_BENDS_TO)[:, None] * ahead
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    bends = np.stack([np.zeros(count), angles.thumb_deg[:, 2], angles.thumb_deg[:, 3]], -1)
    joints[:, 24:30] = _chain(_THUMB_BASE_MM, ahead, up, bends, _THUMB_MM * proportions.fingers[4])
    joints[:, 30:] = _PALM_MM
    return joints * proportions.size


def forearm_of(angles: Angles) -> Array:
    """(n, 3) unit vectors from wrist to elbow, in the hand's own frame."""
    flexion, deviation = np.radians(angles.wrist_deg.T)
    return np.stack(
        [
            np.sin(deviation) * np.cos(flexion),
            -np.cos(deviation) * np.cos(flexion),
            np.sin(flexion),
        ],
        -1,
    )


def views_of(hand: Hand, count: int) -> list[Hand]:
    """A hand as the first `count` of cameras 1, 2 and 3 see it.

    For each camera it is rotated about its centre, which keeps its position.
    """
    centre = centre_of(hand.joints_mm)
    return [hand] + [
        Hand((hand.joints_mm - centre) @ turn.T + centre, turn @ hand.forearm, hand.thickness)
        for turn in _VIEWS[: count - 1]
    ]


def centre_of(joints_mm: Array) -> Array:
    """(3,) the centre of the joints' bounding box."""
    return np.asarray((joints_mm.max(0) + joints_mm.min(0)) / 2)


def _chain(base: Array, ahead: Array, up: Array, bends_deg: Array, lengths_mm: Array) -> Array:
    """(n, 6, 3) joints of a finger, the tip first: ends of its bones and points on two of them.

    Args:
        base: (3,) position of the knuckle.
        ahead, up: (n, 3) the finger's direction when straight, and the one that it bends towards.
        bends_deg: (n, 3) angles at the beginning of each bone.
        lengths_mm: (3,) of the bones.
    """
    bent = np.radians(np.cumsum(bends_deg, -1))[..., None]
    bones = (np.cos(bent) * ahead[:, None] + np.sin(bent) * up[:, None]) * lengths_mm[:, None]
    first, second, third = np.moveaxis(bones, 1, 0)
    middle = base + first
    last = middle + second
    return np.stack(
        [last + third, last, middle + 0.45 * second, middle, base + 0.5 * first, base + 0 * first],
        1,
    )


def _between(values: Array, ends: np.ndarray, way: Array) -> Array:
    """Values between those of two presets.

    Args:
        values: (p, ...) of the presets.
        ends: (n, 2) numbers of the two presets.
        way: (n,) 0 for the first preset to 1 for the second.
    """
    first, second = values[ends[:, 0]], values[ends[:, 1]]
    return np.asarray(first + (second - first) * way.reshape(-1, *[1] * (first.ndim - 1)))


def gaps_of(joints: Array) -> Array:
    """(n,) the least distance between the joints of two fingers, or of a finger and the palm."""
    tips = joints[:, :30].reshape(-1, 5, 6, 3)[:, :, :4]
    gaps = np.full(len(joints), np.inf)
    for finger in range(5):
        others = tips[:, finger + 1 :].reshape(len(joints), -1, 3)
        palm = joints[:, 32:35]
        near = np.concatenate([others, palm], 1)
        distance = np.linalg.norm(tips[:, finger, :, None] - near[:, None], axis=-1)
        gaps = np.minimum(gaps, distance.min((1, 2)))
    return gaps


def _rotation(rng: np.random.Generator) -> Array:
    """(3, 3) a random rotation from the hand's own frame to the camera frame.

    The palm faces the camera, with the fingers up, more or less.
    """
    limits = np.array([ROLL_DEG, PITCH_DEG, YAW_DEG])
    angles = np.clip(rng.normal(0, limits / 2.5), -limits, limits)
    return np.asarray(Rotation.from_euler("zxy", angles, degrees=True).as_matrix() * [1, -1, -1])


def _placed(joints: Array, rng: np.random.Generator) -> Array:
    """Move a hand to a random position where all of it is in the picture, however it is rotated."""
    centre = centre_of(joints)
    reach = float(np.linalg.norm(joints - centre, axis=-1).max()) + _MARGIN_MM
    distance = rng.uniform(*DISTANCE_MM)
    middle = np.array([NYU_CAMERA.cx_px, NYU_CAMERA.cy_px])
    focal = np.array([NYU_CAMERA.fx_px, NYU_CAMERA.fy_px])
    room = np.minimum(middle, np.array([NYU_WIDTH_PX, NYU_HEIGHT_PX]) - 1 - middle) / focal
    side = room * (distance - reach) - reach
    position = rng.uniform(-1, 1, 2) * np.maximum(side, 0)
    return np.asarray(joints - centre + [*position, distance])
