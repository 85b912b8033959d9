"""Effects of a camera on a rendered picture: lens, sensor and codec.

The pictures that result are **stand-ins** for camera images, that is drawn pictures in the place
of real ones. With them the factory can run and be tested without any download. They are no
evidence about any real camera, and `STAND_IN` says so beside every one of them.
"""

import cv2
import numpy as np
import numpy.typing as npt

from factory.domains.eye.renderer.scene import Scenes, View
from factory.domains.eye.renderer.texture import Field

CROP_HEIGHT, CROP_WIDTH = 36, 60
OVERSAMPLE = 2
"""crops are drawn this many times larger and then reduced, as a sensor averages over its pixels"""
STAND_IN = (
    "STAND-IN, not a photograph: a computer-made stand-in for a camera image, drawn by the "
    "built-in eye renderer of simgan-factory (style camera). No person and no camera is shown."
)


def photograph(linear: Field, scenes: Scenes, view: View) -> npt.NDArray[np.uint8]:
    """Apply blur, vignetting, contrast, gamma, noise and JPEG, each scene with its own strengths.

    Blur and noise are given for a crop that is 60 pixels wide; on larger pictures they are scaled,
    so that a crop of them looks the same. Nothing moves.

    Args:
        linear: (n, height, width) or (n, 3, height, width) float32, linear light.
        scenes: the n scenes, whose seeds and numbers draw the strengths.
        view: where the scenes lie on the pictures.

    Returns:
        (n, height, width) or (n, height, width, 3) uint8.
    """
    rows = np.linspace(-1, 1, view.height, dtype=np.float32)[:, None]
    cols = np.linspace(-1, 1, view.width, dtype=np.float32)[None]
    if linear.ndim == 4:
        linear = np.ascontiguousarray(np.moveaxis(linear, 1, -1))
    photographs = np.empty(linear.shape, np.uint8)
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
        photographs[i] = decode_jpeg(encode_jpeg(exact, quality, None))
    return photographs


def develop(linear: Field) -> npt.NDArray[np.uint8]:
    """Convert linear light (n, 3, h, w) to (n, h, w, 3) uint8 with a gamma of 2, clipped."""
    shown = np.sqrt(np.clip(linear, 0, 1)) * np.float32(255) + np.float32(0.5)
    return np.ascontiguousarray(np.moveaxis(shown.astype(np.uint8), 1, -1))


def encode_jpeg(image: npt.NDArray[np.uint8], quality: int, comment: str | None) -> bytes:
    """The bytes of a JPEG file.

    Args:
        image: (h, w) grey or (h, w, 3) RGB.
        quality: 0 to 100.
        comment: ASCII text for the file's COM marker; None for no such marker.
    """
    pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, f"OpenCV could not encode a picture of {image.shape} as JPEG"
    raw = coded.tobytes()
    if comment is None:
        return raw
    text = comment.encode("ascii")
    return raw[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + raw[2:]


def decode_jpeg(raw: bytes) -> npt.NDArray[np.uint8]:
    """The pixels of a file that `encode_jpeg` made: (h, w) grey or (h, w, 3) RGB."""
    image = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None, f"OpenCV could not decode {len(raw)} bytes of JPEG"
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
