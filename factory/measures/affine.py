"""Affine registration: how a picture was turned, stretched, sheared and shifted against another
look of its scene.

The second picture is explained by the first in one least-squares fit (Lucas and Kanade 1981, with
the look as further unknowns, as in Bartoli 2008, "Groupwise geometric and photometric direct image
registration"). The look is a sum of features of the first picture that have no direction: what it
is at four scales of blur, and how steep it is at three. Such features can express a change of tone,
of contrast or of sharpness, but no movement, so what moves has to be explained by the affine map.
Three more choices make the answer steady where a network has redrawn a picture:

- Both sides lose what is smooth (`HIGH_PASS_PX`), so slow changes of light do not count.
- Pixels that fit badly count little (Cauchy weights), so one part that was redrawn, or that moved
  by itself, does not pull the others.
- Movements are taken to be small (`PRIOR`) where the picture says little, as a flat one does.
  Answers about such pictures are too small rather than wild: in a look that is hard to recognise, a
  turn of 5 degrees may come back as 3.

The fit starts from no movement and follows slopes, so shifts of more than about 2 px may be missed;
`factory.measures.registration` searches further. On 2,468 UnityEyes crops of 35x55 px that a mild
refiner changed, half of the turns it finds are under 0.16 degrees and half of the stretches along x
under 0.31 %; planted turns of 5 degrees come back as 4.8 in the median, stretches of 6 % as 5.7 %.
A pair takes 1.6 ms on one core, with its region.

Axes in names: N pictures, H height, W width, F features, P pixels.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.measures.registration import peak

Images = NDArray[np.uint8]
Values = NDArray[np.float32]
Floats = NDArray[np.float64]

SCALES_PX = (0.7, 1.4, 2.8, 5.6)
"""standard deviations of the Gaussians through which the first picture is seen"""
STEEP_PX = SCALES_PX[:3]
"""those at which its steepness is a feature too"""
SMOOTH_PX = 0.5
"""standard deviation of the smoothing of the second picture"""
HIGH_PASS_PX = 1.5
"""standard deviation of the Gaussian whose result is taken away from both sides"""
MARGIN_PX = 4
"""width of the border that is left out: padding of a refiner, and content that moved in"""
PRIOR = (2.0, 2.0, 0.08, 0.05, 0.05, 0.02)
"""standard deviations of movements that are taken for likely: shift in x and in y (px), turn (rad),
stretch along x and along y (shares), half of the shear (rad)"""
CORRELATED_PX = 10.0
"""pixels that tell as much as one would if their errors were independent"""
ITERATIONS = 4
REACH_PX = 4
"""the largest displacement of a region that is searched, in x and in y"""
APART_PX = 1.5
"""standard deviation of a region's own movement, in x and in y, that is taken for likely"""
CORRELATED_IN_REGION_PX = 20.0
"""as `CORRELATED_PX`; a region is all of one kind, so its errors have more in common"""
LEAST_PIXELS = 60
"""of a region that is measured"""
LEAST_CONTRAST = 0.02
"""standard deviation of what the high pass leaves, in grey levels of equalised pictures over 64,
under which a picture has no edges to match"""
_LOOK_RIDGE = 1e-2


class AffineMotion(NamedTuple):
    """What became of N pictures. All values are NaN where a picture has no edges to match.

    About the picture's centre, content at x is found at shift + R S x in the second picture, where
    R turns and S, which is symmetric, stretches and shears.
    """

    turn_deg_N: Values  # noqa: N815
    """(N,) float32, positive from x towards y, which is clockwise on the screen"""
    stretch_percent_N2: Values  # noqa: N815
    """(N, 2) float32, along x and along y; 0 where nothing was stretched"""
    shear_deg_N: Values  # noqa: N815
    """(N,) float32, by which the right angle between the axes closed. Rows that slide along x, each
    by s times its y, are sheared by s rad and turned by -s/2"""
    shift_px_N2: Values  # noqa: N815
    """(N, 2) float32, (x, y) by which the picture's centre moved"""


def motion_and_apart(
    before_NHW: Images, after_NHW: Images, region_NHW: NDArray[np.bool_]
) -> tuple[AffineMotion, Values]:
    """The affine movement of whole pictures, and that of one region of each against the rest.

    The movement of the whole is found first and undone; how far the region is then from its place,
    by up to `REACH_PX`, is what it moved by itself. A region that makes up much of the picture
    takes part in the movement of the whole, and a small movement is taken to be likelier than a
    large one (`APART_PX`), so about half of what a region moved comes back. In return hardly any of
    it is noise.

    Args:
        before_NHW, after_NHW: (N, H, W) uint8; image k of both shows one scene.
        region_NHW: (N, H, W) bool, in the first pictures. Regions of fewer than `LEAST_PIXELS` that
            can be moved by `REACH_PX` inside the picture are not measured.

    Returns:
        The movements, and (N, 2) float32 (x, y) px by which each region moved against the rest; NaN
        where it or the picture is not measured.

    Raises:
        ValueError: the pictures are too small: fewer than `MARGIN_PX` x 4 px in height or width.
    """
    rows_N6 = np.full((len(before_NHW), 6), np.nan)
    apart_N2 = np.full((len(before_NHW), 2), np.nan, np.float32)
    pairs = zip(before_NHW, after_NHW, region_NHW, strict=True)
    for i, (before, after, region) in enumerate(pairs):
        explained = _Explained(before, after)
        rows_N6[i] = explained.motion()
        apart_N2[i] = explained.apart(region)
    rows = np.asarray(rows_N6, np.float32)
    motion = AffineMotion(
        np.degrees(rows[:, 2]), 100 * rows[:, 3:5], np.degrees(2 * rows[:, 5]), rows[:, :2]
    )
    return motion, apart_N2


class _Frame(NamedTuple):
    """What depends on the size of pictures alone."""

    x_HW: Values  # noqa: N815
    """px from the centre"""
    y_HW: Values  # noqa: N815
    inner: tuple[slice, slice]


@lru_cache(maxsize=8)
def _frame(height: int, width: int) -> _Frame:
    if min(height, width) < 4 * MARGIN_PX:
        raise ValueError(f"pictures of {height}x{width} are too small to register")
    y_HW, x_HW = np.indices((height, width), np.float32)
    inner = slice(MARGIN_PX, height - MARGIN_PX), slice(MARGIN_PX, width - MARGIN_PX)
    return _Frame(x_HW - (width - 1) / 2, y_HW - (height - 1) / 2, inner)


class _Explained:
    """One picture, explained by another."""

    def __init__(self, before_HW: Images, after_HW: Images) -> None:
        self.frame = _frame(*before_HW.shape)
        features_HWF = _features(before_HW)
        self.slope_x_HWF = _scharr(features_HWF, 1, 0)
        self.slope_y_HWF = _scharr(features_HWF, 0, 1)
        light_HW3 = np.dstack(
            [np.ones_like(self.frame.x_HW), self.frame.x_HW / 32, self.frame.y_HW / 32]
        )
        self.look_HWF = _high_passed(np.concatenate([features_HWF, light_HW3], axis=2))
        self.num_features = features_HWF.shape[2]
        self.after_HW = _blurred(_equalised(after_HW), SMOOTH_PX)
        self.motion_6 = np.zeros(6)
        self.look_F: Floats | None = None
        contrasts = (
            _high_passed(picture)[self.frame.inner].std()
            for picture in (features_HWF[..., 0], self.after_HW)
        )
        self.has_edges = min(contrasts) > LEAST_CONTRAST

    def motion(self) -> Floats:
        """(6,) in the order of `PRIOR`; NaN where a picture has no edges."""
        if not self.has_edges:
            return np.full(6, np.nan)
        prior_6 = np.array(PRIOR)
        look_PF = self.look_HWF[self.frame.inner].reshape(-1, self.look_HWF.shape[2])
        look_PF = look_PF.astype(np.float64)
        num = look_PF.shape[1]
        ridge = _LOOK_RIDGE * np.eye(num)
        look_F: Floats = np.zeros(num)
        for step in range(ITERATIONS):
            seen_P = _high_passed(self._undone())[self.frame.inner].ravel().astype(np.float64)
            if step == 0:
                normal, right = look_PF.T @ look_PF + ridge, look_PF.T @ seen_P
                look_F = np.asarray(np.linalg.solve(normal, right), np.float64)
            error_P = seen_P - look_PF @ look_F
            weight_P = _cauchy(error_P) if step else np.ones(len(error_P))
            variance = float((weight_P * error_P**2).sum() / weight_P.sum())
            moved_P6 = _high_passed(self._moving(look_F))[self.frame.inner].reshape(-1, 6)
            design = np.concatenate([look_PF, moved_P6], axis=1)
            weighted = design * weight_P[:, None]
            normal, right = weighted.T @ design, weighted.T @ seen_P
            believed_6 = CORRELATED_PX * max(variance, 1e-9) / prior_6**2
            normal[:num, :num] += ridge
            normal[num:, num:] += np.diag(believed_6)
            right[num:] -= believed_6 * self.motion_6
            solved = np.linalg.solve(normal, right)
            look_F, self.motion_6 = solved[:num], self.motion_6 + solved[num:]
        self.look_F = look_F
        return self.motion_6

    def apart(self, region_HW: NDArray[np.bool_]) -> Floats:
        """(2,) px by which a region moved against the whole, whose movement was found before.

        The look is that of the whole too, up to contrast and brightness. All shifts by whole pixels
        are tried; a parabola through the likeliest one finds the fraction.
        """
        reach, window = slice(REACH_PX, -REACH_PX), 2 * REACH_PX + 1
        within = np.zeros_like(region_HW)
        within[reach, reach] = region_HW[reach, reach]
        num = int(within.sum())
        if self.look_F is None or num < LEAST_PIXELS:
            return np.full(2, np.nan)
        expected_P = self.look_HWF[within] @ self.look_F
        expected_P -= expected_P.mean()
        sliding = np.lib.stride_tricks.sliding_window_view(
            _high_passed(self._undone()), (window, window)
        )
        seen_PS = sliding[within[reach, reach]].reshape(num, -1).astype(np.float64)
        seen_PS -= seen_PS.mean(axis=0)
        likeness_S = (expected_P @ seen_PS) / (
            np.linalg.norm(expected_P) * np.linalg.norm(seen_PS, axis=0) + 1e-9
        )
        unexplained_S = 1 - np.maximum(likeness_S, 0) ** 2
        away = np.arange(-REACH_PX, REACH_PX + 1) ** 2
        believed_YX = (-num / (2 * CORRELATED_IN_REGION_PX) * np.log(unexplained_S + 1e-6)).reshape(
            window, window
        ) - (away[:, None] + away) / (2 * APART_PX**2)
        row, column = np.unravel_index(int(believed_YX.argmax()), believed_YX.shape)
        best_x = peak(believed_YX[row], int(column))
        return np.array([best_x, peak(believed_YX[:, column], int(row))]) - REACH_PX

    def _moving(self, look_F: Floats) -> Values:
        """(H, W, 6) change of the explained picture for each unit of movement."""
        look = look_F[: self.num_features].astype(np.float32)
        along_x, along_y = -(self.slope_x_HWF @ look), -(self.slope_y_HWF @ look)
        x, y = self.frame.x_HW, self.frame.y_HW
        turn, shear = along_y * x - along_x * y, along_x * y + along_y * x
        return np.dstack([along_x, along_y, turn, along_x * x, along_y * y, shear])

    def _undone(self) -> Values:
        """(H, W) the second picture with its content moved back."""
        shift_x, shift_y, turn, stretch_x, stretch_y, shear = self.motion_6
        cosine, sine = np.cos(turn), np.sin(turn)
        map_22 = np.array([[cosine, -sine], [sine, cosine]]) @ np.array(
            [[1 + stretch_x, shear], [shear, 1 + stretch_y]]
        )
        height, width = self.after_HW.shape
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        offset = centre + np.array([shift_x, shift_y]) - map_22 @ centre
        return np.asarray(
            cv2.warpAffine(
                self.after_HW,
                np.column_stack([map_22, offset]),
                (width, height),
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


def _features(image_HW: Images) -> Values:
    """(H, W, F) of a picture, none of which has a direction."""
    grey_HW = _equalised(image_HW)
    blurred = {scale: _blurred(grey_HW, scale) for scale in SCALES_PX}
    steep = [
        scale * np.hypot(_scharr(blurred[scale], 1, 0), _scharr(blurred[scale], 0, 1))
        for scale in STEEP_PX
    ]
    return np.dstack([*blurred.values(), *steep])


def _equalised(image_HW: Images) -> Values:
    """Ranks of grey values, 0 to 4: a change of gamma or contrast hardly moves them."""
    return np.asarray(cv2.equalizeHist(image_HW) / np.float32(64), np.float32)


def _blurred(picture: Values, sigma_px: float) -> Values:
    return np.asarray(
        cv2.GaussianBlur(picture, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), np.float32
    )


def _scharr(picture: Values, dx: int, dy: int) -> Values:
    return np.asarray(
        cv2.Scharr(picture, cv2.CV_32F, dx, dy, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    )


def _high_passed(picture: Values) -> Values:
    return picture - _blurred(picture, HIGH_PASS_PX)


def _cauchy(error_P: Floats) -> Floats:
    """(P,) weights that fall with the error; its usual size is its median's."""
    usual = 2 * 1.4826 * float(np.median(np.abs(error_P))) + 1e-9
    return np.asarray(1 / (1 + (error_P / usual) ** 2), np.float64)
