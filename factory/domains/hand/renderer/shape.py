"""The flesh of a hand: spheres at its 36 joints and between them, joined by cones and wedges.

Lengths are in mm of a hand of size 1, in which the joint at the ulnar side of the wrist is 67.4 mm
from the centre of the palm; they scale with the hand. The breadths of fingers, palm and wrist
follow Greiner 1991 ("Hand anthropometry of U.S. Army personnel"). The depth of the joints below the
skin follows the joints and the measured depth of the NYU set.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factory.domains.hand.renderer.depth import Array, Body
from schemas.hand.sample import NUM_JOINTS

LITTLE, RING, MIDDLE, INDEX, THUMB, PALM = range(0, NUM_JOINTS, 6)
"""number of the first joint of each part; that of a finger is its tip, and the others follow
towards the wrist"""
WRIST_ULNAR, WRIST_RADIAL, PALM_CENTRE, PALM_ULNAR, PALM_MIDDLE, WRIST = range(PALM, NUM_JOINTS)
JOINT_NAMES = tuple(
    f"{finger}_{knuckle}"
    for finger in ("F1", "F2", "F3", "F4", "TH")
    for knuckle in ("KNU3_A", "KNU3_B", "KNU2_A", "KNU2_B", "KNU1_A", "KNU1_B")
) + tuple(f"PALM_{k}" for k in range(1, 7))
SIZE_1_MM = 67.4
"""distance from `WRIST_ULNAR` to `PALM_CENTRE`, which are both in the stiff palm, in size 1"""
FOREARM_MM = 70.0
"""length of the forearm that is drawn"""

_RADII_MM = (
    (7.0, 8.0, 8.4, 8.6, 9.0, 11.0),
    (7.6, 8.7, 9.0, 9.2, 9.8, 12.0),
    (7.8, 8.9, 9.4, 9.8, 11.0, 14.0),
    (7.6, 8.6, 9.2, 9.8, 11.0, 14.0),
    (8.4, 10.2, 11.0, 12.0, 13.0, 11.0),
    (7.0, 7.0, 9.0, 13.0, 9.0, 4.0),
)
"""radii of the spheres at the joints, in the order of the joints"""


@dataclass(frozen=True)
class _Extra:
    """A sphere whose centre is a weighted mean of joints, plus an offset."""

    joints: tuple[int, ...]
    """numbers of the joints"""
    weights: tuple[float, ...]
    """of the joints, with the sum 1"""
    offset_mm: tuple[float, float, float]
    """towards the thumb, towards the fingers, out of the palm"""
    radius_mm: float
    forearm_mm: float = 0.0
    """a further offset, towards the elbow"""


def _web(finger: int, radius_mm: float) -> _Extra:
    """A sphere on a finger at the height where the skin between two fingers ends."""
    return _Extra((finger + 5, finger + 4), (0.45, 0.55), (0, 0, 0), radius_mm)


_EXTRAS = {
    "web little": _web(LITTLE, 7.6),
    "web ring": _web(RING, 8.6),
    "web middle": _web(MIDDLE, 9.2),
    "web index": _web(INDEX, 9.2),
    "palm centre": _Extra((PALM_CENTRE,), (1,), (0, 0, 5), 15.0),
    "palm middle": _Extra((PALM_MIDDLE,), (1,), (0, 0, 6), 16.0),
    "heel ulnar": _Extra((LITTLE + 5, WRIST_ULNAR), (0.3, 0.7), (0, 0, 10), 13.0),
    "edge ulnar": _Extra((LITTLE + 5, WRIST_ULNAR), (0.65, 0.35), (-1, 0, 2), 12.5),
    "ball of thumb": _Extra((THUMB + 5, THUMB + 4), (0.5, 0.5), (3, -3, -2), 15.0),
    "web thumb": _Extra((THUMB + 4, THUMB + 3, INDEX + 5), (0.35, 0.25, 0.4), (0, 0, -3), 8.0),
    "wrist ulnar": _Extra((WRIST_ULNAR,), (1,), (-1, -4, 7), 14.5),
    "wrist radial": _Extra((WRIST_RADIAL,), (1,), (2, -4, 7), 14.5),
    "forearm ulnar": _Extra((WRIST_ULNAR,), (1,), (-3, -4, 4), 17.0, FOREARM_MM),
    "forearm radial": _Extra((WRIST_RADIAL,), (1,), (3, -4, 4), 17.0, FOREARM_MM),
}
_NUMBER = {name: NUM_JOINTS + k for k, name in enumerate(_EXTRAS)}

_WEDGES: tuple[tuple[int | str, int | str, int | str], ...] = (
    (LITTLE + 5, RING + 5, "web little"),
    ("web little", "web ring", RING + 5),
    (RING + 5, MIDDLE + 5, "web ring"),
    ("web ring", "web middle", MIDDLE + 5),
    (MIDDLE + 5, INDEX + 5, "web middle"),
    ("web middle", "web index", INDEX + 5),
    (LITTLE + 5, RING + 5, PALM_ULNAR),
    (RING + 5, MIDDLE + 5, "palm centre"),
    (RING + 5, PALM_ULNAR, "palm centre"),
    (MIDDLE + 5, INDEX + 5, "palm centre"),
    (INDEX + 5, "palm centre", "palm middle"),
    (PALM_ULNAR, "palm centre", "palm middle"),
    (LITTLE + 5, PALM_ULNAR, "edge ulnar"),
    ("edge ulnar", PALM_ULNAR, "palm middle"),
    ("edge ulnar", "heel ulnar", "palm middle"),
    ("heel ulnar", "palm middle", "wrist ulnar"),
    ("palm middle", "wrist ulnar", "wrist radial"),
    ("palm middle", "wrist radial", THUMB + 5),
    ("palm middle", THUMB + 5, "ball of thumb"),
    ("palm middle", "ball of thumb", "web thumb"),
    ("palm middle", "web thumb", INDEX + 5),
    ("ball of thumb", THUMB + 4, "web thumb"),
    (THUMB + 4, THUMB + 3, "web thumb"),
    (THUMB + 5, "ball of thumb", "wrist radial"),
    ("wrist ulnar", "wrist radial", "forearm ulnar"),
    ("wrist radial", "forearm radial", "forearm ulnar"),
)


def _numbers(wedge: tuple[int | str, ...]) -> tuple[int, ...]:
    """The numbers of a wedge's spheres, of which the further ones are given by name."""
    return tuple(_NUMBER[corner] if isinstance(corner, str) else corner for corner in wedge)


def _edges() -> set[tuple[int, int]]:
    """The pairs of spheres that a cone joins: along each finger, and the sides of all wedges."""
    chains = {(k, k + 1) for k in range(PALM) if k % 6 != 5}
    sides = {
        (min(wedge[k - 1], wedge[k]), max(wedge[k - 1], wedge[k]))
        for wedge in map(_numbers, _WEDGES)
        for k in range(3)
    }
    return chains | sides


TRIPLES: npt.NDArray[np.intp] = np.array([_numbers(wedge) for wedge in _WEDGES])
PAIRS: npt.NDArray[np.intp] = np.array(sorted(_edges()))


@dataclass(frozen=True)
class Hand:
    """One hand before the camera."""

    joints_mm: Array
    """(36, 3) in the camera frame, in NYU's order"""
    forearm: Array
    """(3,) unit vector from the wrist to the elbow"""
    thickness: float = 1.0
    """factor on the radii that are usual for a hand of this size"""


def size_of(joints_mm: Array) -> Array:
    """(...,) sizes of hands, given their (..., 36, 3) joints.

    A size of 1 is that for which this module states lengths.
    """
    palm = joints_mm[..., PALM_CENTRE, :] - joints_mm[..., WRIST_ULNAR, :]
    return np.asarray(np.linalg.norm(palm, axis=-1) / SIZE_1_MM)


def palm_frame(joints_mm: Array) -> Array:
    """(..., 3, 3) frames of palms, given (..., 36, 3) joints of right hands.

    The rows are unit vectors towards the thumb, towards the fingers and out of the palm. All hands
    of the NYU set look like right hands, because its pictures of left hands are mirrored.
    """
    across = _unit(joints_mm[..., WRIST_RADIAL, :] - joints_mm[..., WRIST_ULNAR, :])
    up = joints_mm[..., PALM_CENTRE, :] - joints_mm[..., WRIST, :]
    up = _unit(up - (up * across).sum(-1, keepdims=True) * across)
    return np.stack([across, up, np.cross(across, up)], -2)


def straight_forearm(joints_mm: Array) -> Array:
    """(3,) direction of the forearm, which is not among the joints: that of the palm, prolonged."""
    return np.asarray(_unit(joints_mm[WRIST] - joints_mm[PALM_CENTRE]))


def body_of(hand: Hand) -> Body:
    """The spheres, cones and wedges of a hand."""
    size = float(size_of(hand.joints_mm))
    frame = palm_frame(hand.joints_mm)
    extra = [
        np.array(sphere.weights) @ hand.joints_mm[list(sphere.joints)]
        + size * (np.array(sphere.offset_mm) @ frame + sphere.forearm_mm * hand.forearm)
        for sphere in _EXTRAS.values()
    ]
    radii = np.array(
        [*np.ravel(_RADII_MM), *(sphere.radius_mm for sphere in _EXTRAS.values())], np.float64
    )
    return Body(
        centres=np.concatenate([hand.joints_mm, extra]),
        radii=radii * size * hand.thickness,
        pairs=PAIRS,
        triples=TRIPLES,
    )


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
