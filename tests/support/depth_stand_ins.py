"""Hands of depth that are no hands: smooth blobs as renders, and as a camera would see them.

What differs between the two is known, because it was put there: the camera's outlines are ragged,
pixels near them are missing, and depths come in steps. `raggedness` and `hole_rate` measure it.
"""

import cv2
import numpy as np

CUBE_MM = 300
FULL_SCALE = CUBE_MM + 1.0
STEP_MM = 3
"""between depths that the camera tells apart"""
RIM_PX = 6
"""how far from the outline its holes reach"""


def blobs(count: int, seed: int, side_px: int = 224) -> np.ndarray:
    """(n, side, side) uint16 renders, stored depths 1..301 on a background of 0: a palm and some
    fingers of it, of smooth outline and smooth depth."""
    rng = np.random.default_rng(seed)
    return np.stack([_blob(rng, side_px) for _ in range(count)])


def _blob(rng: np.random.Generator, side_px: int) -> np.ndarray:
    shape = np.zeros((side_px, side_px), np.uint8)
    middle = side_px * (0.5 + rng.uniform(-0.06, 0.06, 2))
    palm = side_px * rng.uniform(0.12, 0.2)
    cv2.circle(shape, _at(middle), int(palm), 255, -1)
    first = rng.uniform(0, 2 * np.pi)
    for number in range(rng.integers(3, 6)):
        angle = first + 0.5 * number + rng.normal(0, 0.1)
        tip = middle + side_px * rng.uniform(0.25, 0.4) * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(shape, _at(middle), _at(tip), 255, max(2, int(side_px * rng.uniform(0.03, 0.06))))
    inside = cv2.GaussianBlur(shape, (0, 0), side_px / 75) > 127
    thickness = np.sqrt(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5))
    ys, xs = np.mgrid[:side_px, :side_px] / side_px - 0.5
    tilt = rng.uniform(-100, 100, 2)
    depth = rng.uniform(120, 180) + tilt[0] * xs + tilt[1] * ys - 60 * thickness / side_px**0.5
    return np.where(inside, depth.clip(20, CUBE_MM).round(), 0).astype(np.uint16)


def _at(xy: np.ndarray) -> tuple[int, int]:
    return int(xy[0]), int(xy[1])


def seen_by_camera(renders: np.ndarray, seed: int) -> np.ndarray:
    """The same with a ragged outline, holes near it, and depths in steps of `STEP_MM`."""
    rng = np.random.default_rng(seed)
    return np.stack([_seen(render, rng) for render in renders])


def _seen(render: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    is_hand = (render > 0).astype(np.uint8)
    depth_px = cv2.distanceTransform(is_hand, cv2.DIST_L2, 5)
    bites = cv2.GaussianBlur(rng.normal(size=render.shape), (0, 0), 1.0)
    kept = depth_px > np.abs(bites) * 2.0 / bites.std()
    near_rim = (depth_px > 0) & (depth_px <= RIM_PX)
    kept &= ~(near_rim & (rng.random(render.shape) < 0.04))
    steps = np.round(render / STEP_MM) * STEP_MM
    return np.where(kept & (render > 0), steps.clip(1, CUBE_MM + 1), 0).astype(np.uint16)


def raggedness(images: np.ndarray) -> float:
    """Length of the outlines over that of the same shapes smoothed, in the mean: 1 is smooth."""
    ratios = []
    for image in images:
        is_hand = _filled(image)
        smooth = (cv2.GaussianBlur(255 * is_hand, (0, 0), 2.5) > 127).astype(np.uint8)
        if smooth.any():
            ratios.append(_outline_px(is_hand) / _outline_px(smooth))
    return float(np.mean(ratios))


def hole_rate(images: np.ndarray) -> float:
    """Share of the pixels near the outline, inside it, that are empty."""
    empty, total = 0, 0
    for image in images:
        smooth = (cv2.GaussianBlur(255 * _filled(image), (0, 0), 2.5) > 127).astype(np.uint8)
        inside_px = cv2.distanceTransform(smooth, cv2.DIST_L2, 5)
        near_rim = (inside_px > 1.5) & (inside_px <= RIM_PX)
        empty += int((near_rim & (image == 0)).sum())
        total += int(near_rim.sum())
    return empty / max(1, total)


def _filled(image: np.ndarray) -> np.ndarray:
    """Where there is something, its holes filled; specks are left out."""
    is_hand = (image > 0).astype(np.uint8)
    outlines, _ = cv2.findContours(is_hand, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(is_hand)
    cv2.drawContours(filled, [o for o in outlines if len(o) > 20], -1, 1, cv2.FILLED)
    return filled


def _outline_px(is_hand: np.ndarray) -> float:
    outlines, _ = cv2.findContours(is_hand, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return sum(cv2.arcLength(outline, True) for outline in outlines)
