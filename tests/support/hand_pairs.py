"""Hands of known geometry as crops, and refined datasets whose pixels a test chooses."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import Stage, collect, run_here
from factory.networks.refiner import Refiner
from factory.networks.refiner_files import save_refiner
from factory.refinement.card import refined_card
from factory.refinement.shards import ShardPixels, missing_shards
from factory.refinement.stages import refine_stages
from schemas.dataset import ImageSpec
from schemas.hand.sample import EVALUATED_JOINTS
from schemas.refiner import RefinerConfig, RefinerDescription
from support import fakes

CUBE_MM, SIZE_PX, Z_NEAR_MM = 300, 224, 600
CAMERA = {"fx_px": 500.0, "fy_px": 500.0, "cx_px": 111.5, "cy_px": 111.5}
SKIN_MM = 9.0
"""the skin lies so far before every joint"""
Change = Callable[[np.ndarray, int], np.ndarray]
"""(N, H, W) pictures of a shard and its number to others"""


def drawn_hands(num: int, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Index rows and (num, 224, 224) uint16 crops of hands: a palm, and six fingers of six joints,
    the lowest before the palm."""
    rng = np.random.default_rng(seed)
    made = [_drawn(rng) for _ in range(num)]
    uvd = np.array([joints for joints, _ in made])
    u, v, depth = np.moveaxis(uvd, -1, 0)
    z = depth + Z_NEAR_MM - 1
    xyz = np.stack([(u - 111.5) * z / 500, (v - 111.5) * z / 500, z], -1)
    some = list(EVALUATED_JOINTS)
    rows = pa.table(
        {
            "key": [f"000000-{k:06d}" for k in range(num)],
            "identity": [f"frame-{k:07d}" for k in range(num)],
            "cube_mm": pa.array([CUBE_MM] * num, pa.int32()),
            "z_near_mm": pa.array([Z_NEAR_MM] * num, pa.int32()),
            "joints_uvd": uvd.tolist(),
            "joints_xyz_mm": xyz.tolist(),
            "joints14_uvd": uvd[:, some].tolist(),
            "joints14_xyz_mm": xyz[:, some].tolist(),
        }
    )
    return rows, np.array([image for _, image in made])


def _drawn(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(36, 3) joints and the picture of one hand."""
    turn = rng.uniform(-0.5, 0.5)
    middle, depth = np.array([111.5, 111.5]) + rng.uniform(-8, 8, 2), rng.uniform(100, 180)
    slope = rng.uniform(-0.3, 0.3, 2)
    image = np.full((SIZE_PX, SIZE_PX), np.inf, np.float32)
    across = np.array([np.cos(turn), np.sin(turn)])
    up = np.array([np.sin(turn), -np.cos(turn)])
    rows_px, columns_px = np.mgrid[:SIZE_PX, :SIZE_PX]

    def surface(extra_mm: float) -> np.ndarray:
        x, y = columns_px - middle[0], rows_px - middle[1]
        return depth + extra_mm + slope[0] * x + slope[1] * y

    def draw(start: np.ndarray, end: np.ndarray, width_px: int, extra_mm: float) -> None:
        ends = [tuple(int(c) for c in np.rint(16 * point)) for point in (start, end)]
        mask = np.zeros(image.shape, np.uint8)
        cv2.line(mask, *ends, 1, width_px, cv2.LINE_8, 4)
        near = surface(extra_mm)
        image[mask > 0] = np.minimum(image, near)[mask > 0]

    draw(middle + 40 * up, middle - 40 * up, 56, 0.0)
    joints = []
    for finger in range(6):
        root = middle + (finger - 2.5) * 18 * across + 10 * up
        extra = 0.0 if finger else -30.0
        towards = up if finger else (0.3 * across - up) / np.hypot(0.3, 1)
        tip = root + (62 if finger else 40) * towards
        draw(root, tip, 12, extra)
        for k in range(6):
            u, v = root + (tip - root) * (k / 5)
            z = depth + extra + slope @ (np.array([u, v]) - middle) + SKIN_MM
            joints.append([u, v, z])
    return np.array(joints), np.where(np.isfinite(image), np.rint(image), 0).astype(np.uint16)


def save_hand_refiner(
    folder: Path, refiner: Refiner, *, bits: int = 16, empty_below: float = 0
) -> None:
    """A refiner of crops of hands as training writes it."""
    described = RefinerDescription(
        domain="hand",
        image=ImageSpec(height=SIZE_PX, width=SIZE_PX, bits=bits),
        full_scale=CUBE_MM + 1,
        empty_below=empty_below,
        architecture=refiner.config,
        weights="last",
        sha256=fakes.SHA,
        step=1,
        train={},
        config=fakes.SHA,
    )
    save_refiner(folder, refiner, described)


def refined_by(parent: Dataset, change: Change, folder: Path) -> Dataset:
    """A refined dataset, committed as the refine job does, of pixels that a test makes."""
    save_hand_refiner(folder / "refiner", Refiner(RefinerConfig(maps=4, blocks=1), seed=1))
    child = Dataset.enter(folder / "refined", refined_card(parent, folder / "refiner", "refined"))
    read, _, commit = refine_stages(parent, child, folder / "refiner")
    changed = Stage("refine", partial(_changer, change), ShardPixels)
    outcomes = collect(run_here((read, changed, commit), missing_shards(parent, child)))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    return child


def _changer(change: Change) -> Callable[[ShardPixels], ShardPixels]:
    return lambda pixels: replace(pixels, images=change(pixels.images, pixels.shard), engine="test")


def disc(x: float, y: float, radius: float, depth: int = 100) -> np.ndarray:
    """(224, 224) uint16: a disc of one depth around a centre, and nothing behind it."""
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    return np.where(np.hypot(columns - x, rows - y) <= radius, depth, 0).astype(np.uint16)


def discs_64px(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(num, 64, 64) uint16: a disc of one depth in each; and the (num, 2) x, y of their centres."""
    centres_px = np.random.default_rng(seed).uniform(12, 52, (num, 2))
    return np.array([disc(x, y, 7, 60)[:64, :64] for x, y in centres_px]), centres_px
