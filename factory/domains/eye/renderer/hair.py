"""Lashes and brow. Hairs are curves in space and are drawn as anti-aliased lines."""

import cv2
import numpy as np
import numpy.typing as npt

from factory.domains.eye.renderer.scene import Lids, View, people
from factory.domains.eye.renderer.texture import Field


def hairs_of(lids: Lids, view: View) -> Field:
    """(n, h, w) float32 cover of lashes and brow in [0, 1]."""
    scenes = lids.scenes
    crowd = people(scenes.population)
    cover = np.empty((len(scenes), view.height, view.width), np.float32)
    thick_px = 0.16 * view.px_per_mm
    bundles = [_lashes(lids, "upper", 1.0), _lashes(lids, "lower", -0.45), _brow(lids)]
    for i in range(len(scenes)):
        masks = [np.zeros((view.height, view.width), np.uint8) for _ in bundles]
        for mask, bundle in zip(masks, bundles, strict=True):
            flat = bundle[i][..., :2] * np.array([1.0, -1.0]) * view.px_per_mm[i]
            _draw(mask, flat + view.centre_px[i], max(1, round(thick_px[i])))
        faint = np.float32(min(1.0, thick_px[i] * 1.1 + 0.25) / 255)
        lashes = cv2.addWeighted(masks[0], 1.0, masks[1], 0.5, 0)
        cover[i] = lashes * (faint * np.float32(crowd.hair_darkness[scenes.person[i]]))
        soft = cv2.GaussianBlur(masks[2], (0, 0), 0.7 * view.px_per_mm[i])
        brow = cv2.addWeighted(masks[2], 0.35, soft, 0.75, 0)
        cover[i] += brow * np.float32(1.2 * crowd.hair_darkness[scenes.person[i]] / 255)
    np.minimum(cover, 1, out=cover)
    return cover


def _lashes(lids: Lids, name: str, upwards: float) -> list[npt.NDArray[np.float64]]:
    """The lashes along a lid margin.

    Args:
        name: `upper` or `lower`.
        upwards: how much the lashes rise; negative for lashes that point down.

    Returns:
        For each scene (k, 5, 3): k hairs of 5 points in the camera frame, mm.
    """
    scenes, crowd = lids.scenes, people(lids.scenes.population)
    along = np.linspace(0, 1, 5)[:, None]
    rngs = [
        np.random.default_rng([scenes.seed, int(index), 5, int(upwards > 0)])
        for index in scenes.index
    ]
    counts = (crowd.num_lashes[scenes.person] * (1 if upwards > 0 else 0.6)).astype(int)
    t = np.zeros((len(scenes), counts.max()))
    for i, rng in enumerate(rngs):
        t[i, : counts[i]] = np.sort(rng.uniform(0.2, 0.99, counts[i]))
    roots = lids.curve(name, t)
    lashes = []
    for i, (rng, count) in enumerate(zip(rngs, counts, strict=True)):
        s = t[i, :count]
        length = crowd.lash_mm[scenes.person[i]] * rng.uniform(0.6, 1.0, count)
        length *= abs(upwards) ** 0.5 * (0.55 + 0.45 * np.sin(np.pi * s**1.2))
        fan = (s - 0.4) * 1.3 + rng.normal(0, 0.08, count)
        tilt = lids.heights["upper"][i] - 4.5
        rise = (0.38 + 0.06 * tilt) * upwards + rng.normal(0, 0.06, count)
        bend = np.stack([fan, rise, np.full(count, -0.8)], -1)[:, None] * along
        bend = bend + np.array([0.0, 0.35 * upwards, 0.1]) * (along**2 - 0.6 * along)
        hairs = bend * length[:, None, None]
        lashes.append(roots[i, :count, None] + np.einsum("kpj,ij->kpi", hairs, lids.rotation[i]))
    return lashes


def _brow(lids: Lids) -> list[npt.NDArray[np.float64]]:
    """The hairs of the brow: for each scene (k, 4, 3), k hairs of 4 camera-frame points, mm."""
    scenes, crowd = lids.scenes, people(lids.scenes.population)
    along = np.linspace(0, 1, 4)[:, None]
    hairs_of_scenes = []
    for i, person in enumerate(scenes.person):
        rng = np.random.default_rng([11, int(person), int(scenes.population == "camera")])
        count = 260
        t = rng.uniform(0, 1, count)
        spread = crowd.brow_thick_mm[person] * (1.2 - 0.8 * t)
        x = -19 + 40 * t
        y = crowd.brow_mm[person] + 3.5 * np.sin(np.pi * t**0.8) - 3.5 * t**3
        y = y + rng.normal(0, 0.6, count) * spread
        roots = np.stack([x, y, -12.0 + np.abs(x) * 0.2], -1)
        lean = np.stack([0.35 + 0.9 * t, 1.0 - 1.3 * t, np.zeros(count)], -1)
        lean += rng.normal(0, 0.15, lean.shape)
        length = rng.uniform(3.0, 5.5, count)[:, None, None]
        hairs = roots[:, None] + lean[:, None] * along * length
        hairs_of_scenes.append(np.einsum("kpj,ij->kpi", hairs, lids.rotation[i]))
    return hairs_of_scenes


def _draw(mask: npt.NDArray[np.uint8], hairs_px: npt.NDArray[np.float64], thick: int) -> None:
    """Draw hairs into a mask.

    Args:
        mask: (h, w), changed in place.
        hairs_px: (k, p, 2): k lines through p points (x, y).
        thick: width of the lines in pixels.
    """
    fixed = np.rint(np.clip(hairs_px, -4000, 4000) * 16).astype(np.int32)
    cv2.polylines(mask, list(fixed), False, 255, thick, cv2.LINE_AA, shift=4)
