"""MediaPipe's iris model: a judge that nobody here trained, and that learnt from photographs.

Ablavatski et al. 2020, "Real-time pupil tracking from monocular video for digital puppetry"
(arXiv:2006.11341). `factory.domains.eye.networks.mediapipe_wheel` takes the model out of Google's
wheel; OpenVINO runs it.

The eye region is MediaPipe's: a square 2.3 eye widths wide, centred between the eye corners, its
border pixels repeated where the picture ends. Unlike MediaPipe, which mirrors the eye of one side,
every eye is shown to the model as it is and mirrored, and the mean of the two answers counts: they
err to opposite sides, and the mean is steadier than either (docs/validation.md has figures).
"""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from factory.store.extras import require
from factory.store.open import open_store
from schemas.base import FormatError

MODEL_NAME = "iris_landmark.tflite"
MODEL_SHA256 = "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f"
PROGRAM = "python -m factory.domains.eye.networks.mediapipe_wheel"
"""takes the model out of its wheel"""
INPUT_PX = 64
REGION_EYE_WIDTHS = 2.3
"""side of the region that the model sees"""

IrisModel = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""(64, 64, 3) RGB in [0, 1] to (5, 2): x and y of the centre of the iris and of four points on its
border, in px from the corner of the input, so that the centre of its first pixel is at 0.5"""


def read_model(location: str | Path) -> bytes:
    """The model's file.

    Args:
        location: the folder that `PROGRAM` wrote, or s3://bucket/prefix.

    Raises:
        FileNotFoundError: there is no model.
        FormatError: it is damaged, or another one.
    """
    store = open_store(location)
    try:
        content = store.read(MODEL_NAME)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{location}: no {MODEL_NAME} of MediaPipe; `{PROGRAM} FOLDER` gets it"
        ) from error
    require_model(content, where=f"{store.location}/{MODEL_NAME}")
    return content


def require_model(content: bytes, *, where: str) -> None:
    """Raises FormatError for a file that is not the model whose input and output are known here."""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != MODEL_SHA256:
        raise FormatError(
            f"{where}: not the iris model of MediaPipe that is expected: its SHA-256 is {sha256}, "
            f"not {MODEL_SHA256}; `{PROGRAM} FOLDER` gets that one"
        )


def check_model(location: str | Path) -> str:
    """Make sure that `load_model` will work, without loading anything.

    Returns:
        The model's SHA-256.

    Raises:
        as `load_model`.
    """
    read_model(location)
    _require_openvino()
    return MODEL_SHA256


def load_model(location: str | Path) -> IrisModel:
    """The model on one core.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        as `read_model`.
    """
    content = read_model(location)
    _require_openvino()
    from factory.refinement.engines.openvino import on_one_core, read_network

    with tempfile.TemporaryDirectory(prefix="mediapipe-") as folder:
        # OpenVINO reads models of TensorFlow Lite from files alone.
        path = Path(folder) / MODEL_NAME
        path.write_bytes(content)
        compiled = on_one_core(read_network(path), "float32")
    request, iris = compiled.create_infer_request(), compiled.output("output_iris")

    def found(given_HW3: NDArray[np.float32]) -> NDArray[np.floating]:
        results = request.infer({0: given_HW3[None]})
        return np.array(results[iris]).reshape(-1, 3)[:, :2]

    return found


def _require_openvino() -> None:
    require("openvino", "the witness mediapipe")


def found_iris_px(
    model: IrisModel, images_NHW: NDArray[np.uint8], eye_width_px: float
) -> NDArray[np.float64]:
    """The centre of the iris that a model finds in grey crops, each centred between eye corners.

    Args:
        eye_width_px: distance of the eye corners.

    Returns:
        (N, 2) x and y, px of the crops.
    """
    height, width = images_NHW.shape[1:]
    affines = [_to_input(height, width, eye_width_px, sign) for sign in (1, -1)]
    centres = [
        np.mean([_center_px(model, image, affine) for affine in affines], axis=0)
        for image in images_NHW
    ]
    return np.array(centres, np.float64).reshape(-1, 2)


def _to_input(height: int, width: int, eye_width_px: float, sign: int) -> NDArray[np.float64]:
    """(2, 3), from pixels of a crop to those of the model's input; both have centres at integers.

    Args:
        sign: -1 mirrors.
    """
    scale = INPUT_PX / (REGION_EYE_WIDTHS * eye_width_px)
    middle = (INPUT_PX - 1) / 2
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array(
        [[sign * scale, 0, middle - sign * scale * x], [0, scale, middle - scale * y]], np.float64
    )


def _center_px(
    model: IrisModel, image_HW: NDArray[np.uint8], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    grey_HW = cv2.warpAffine(
        image_HW, affine, (INPUT_PX, INPUT_PX), borderMode=cv2.BORDER_REPLICATE
    )
    given_HW3 = np.repeat(grey_HW[:, :, None].astype(np.float32) / 255, 3, axis=2)
    center = model(given_HW3)[0] - 0.5
    return np.asarray((center - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T)
