"""What a camera does to a picture; and the statement that none was there.

Everything made here is a **stand-in** for camera images: it lets the factory run, be tested
and be shown with nothing downloaded. It is not evidence about any real camera.
"""

import cv2
import numpy as np
import numpy.typing as npt

from factory.domains.eye.renderer.scene import Scenes, View
from factory.domains.eye.renderer.texture import Field

CROP_HEIGHT, CROP_WIDTH = 36, 60
OVERSAMPLE = 2
"""crops are drawn this much larger, then blurred and reduced as a lens and a sensor would"""
STAND_IN = (
    "STAND-IN, not a photograph: a computer-made stand-in for a camera image, drawn by the "
    "built-in eye renderer of simgan-factory (style camera). No person and no camera is shown."
)


def photograph(linear: Field, scenes: Scenes, view: View) -> npt.NDArray[np.uint8]:
    """Lens, sensor and codec: blur, vignetting, contrast and gamma, noise, JPEG.

    Blur and noise are those of a 60-pixel-wide crop; on larger pictures they are scaled, so
    that a crop of them looks the same. No pixel moves.

    Args:
        linear: (n, height, width) or (n, 3, height, width) float32, linear light.
        view: how the scenes lie on it.

    Returns:
        (n, height, width) or (n, height, width, 3) uint8.
    """
    rows = np.linspace(-1, 1, view.height, dtype=np.float32)[:, None]
    cols = np.linspace(-1, 1, view.width, dtype=np.float32)[None]
    if linear.ndim == 4:
        linear = np.ascontiguousarray(np.moveaxis(linear, 1, -1))
    found = np.empty(linear.shape, np.uint8)
    for i in range(len(scenes)):
        rng = np.random.default_rng([scenes.seed, int(scenes.index[i]), 6])
        fine = float(max(1.0, view.px_per_mm[i] / 1.6))
        blur, gamma, edge = rng.uniform(0.5, 1.1), rng.uniform(0.75, 1.5), rng.uniform(0.0, 0.4)
        white, lift, grain = (
            rng.uniform(0.45, 0.95),
            rng.uniform(0.0, 0.08),
            rng.uniform(0.003, 0.018),
        )
        tilt = rng.uniform(-0.25, 0.25, 2)
        quality = int(rng.integers(65, 92))
        image = cv2.GaussianBlur(linear[i], (0, 0), blur * fine)
        falloff = (1 - edge * (rows**2 + cols**2) / 2) * (1 + tilt[0] * rows + tilt[1] * cols)
        noise = rng.standard_normal(image.shape[:2], np.float32)
        if fine > 1:
            noise = cv2.GaussianBlur(noise, (0, 0), 0.35 * fine) * np.float32(fine * 0.8)
        if image.ndim == 3:
            falloff, noise = falloff[..., None], noise[..., None]
        image = np.maximum(image * falloff, 0)
        image *= np.float32(white) / max(float(np.percentile(image, 90)), 1e-3)
        image = np.power(image, np.float32(0.5 * gamma))
        image = lift + (1 - lift) * image + np.float32(grain) * noise * (0.5 + image)
        exact = np.clip(image * 255, 0, 255).astype(np.uint8)
        found[i] = decode_jpeg(encode_jpeg(exact, quality, None))
    return found


def develop(linear: Field) -> npt.NDArray[np.uint8]:
    """Linear light (n, 3, h, w) to (n, h, w, 3) of 8 bits: gamma 2, clipped, no noise."""
    shown = np.sqrt(np.clip(linear, 0, 1)) * np.float32(255) + np.float32(0.5)
    return np.ascontiguousarray(np.moveaxis(shown.astype(np.uint8), 1, -1))


def encode_jpeg(image: npt.NDArray[np.uint8], quality: int, comment: str | None) -> bytes:
    """A JPEG of grey (h, w) or RGB (h, w, 3) pixels, with `comment` in its COM marker."""
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "cv2 could not encode a picture of ours"
    raw = coded.tobytes()
    if comment is None:
        return raw
    text = comment.encode("ascii")
    return raw[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + raw[2:]


def decode_jpeg(raw: bytes) -> npt.NDArray[np.uint8]:
    """Grey (h, w) or RGB (h, w, 3), as it was encoded."""
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None, "cv2 could not decode a picture of ours"
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
