"""Pictures of a training run: sample strips, their overview, and the losses."""

import json
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from factory.images.png import decode, depth_as_grey
from factory.networks.refiner import Refiner
from factory.networks.scaling import to_network
from factory.refinement.engines.base import PixelCodec
from factory.store.extras import require
from factory.training.metrics_log import PANELS

_NUM_IMAGES = 10
_NUM_COLUMNS = 8
_LABEL_HEIGHT = 16


def pick_samples(images: np.ndarray, seed: int) -> np.ndarray:
    """The images that a run's strips show, the same at every interval.

    Args:
        images: (n, H, W) or (n, C, H, W), unsigned integers.

    Returns:
        (at most 10, C, H, W), as stored.
    """
    rows = np.random.default_rng([seed, 16]).permutation(len(images))[:_NUM_IMAGES]
    chosen = images[np.sort(rows)]
    return chosen[:, None] if chosen.ndim == 3 else chosen


def refine_samples(refiner: Refiner, samples: np.ndarray, codec: PixelCodec) -> np.ndarray:
    """(n, C, H, W) stored pixels, refined, as stored pixels of the same type."""
    device = next(refiner.parameters()).device
    with torch.no_grad():
        refined = refiner(to_network(samples, codec.full_scale).to(device))
    return codec.decode_planes(refined.float().cpu().contiguous().numpy(), samples)


def _picture(image: np.ndarray, full_scale: float) -> np.ndarray:
    """(C, H, W) to 8-bit grey (H, W): colour is shown by its mean, depth nearer as brighter, all
    pictures alike."""
    if image.dtype == np.uint16:
        return depth_as_grey(image[0].astype(np.uint16, copy=False), near=1.0, far=full_scale)
    grey = image.astype(np.float32).mean(axis=0) * (255.0 / full_scale)
    rounded: np.ndarray = np.round(grey).clip(0, 255).astype(np.uint8)
    return rounded


def _row(images: np.ndarray, full_scale: float, scale: int) -> np.ndarray:
    pictures = [_picture(image, full_scale) for image in images]
    framed = [np.pad(p.repeat(scale, 0).repeat(scale, 1), 1) for p in pictures]
    return np.concatenate(framed, axis=1)


def _scale_of(images: np.ndarray) -> int:
    return max(1, 120 // int(images.shape[-1]))


def _png(picture: np.ndarray) -> bytes:
    done, encoded = cv2.imencode(".png", picture)
    if not done:
        raise ValueError(f"cannot encode a picture of {picture.shape}")
    return bytes(encoded.tobytes())


def strip_png(synthetic: np.ndarray, refined: np.ndarray, full_scale: float) -> bytes:
    """One interval of a run: synthetic above refined, magnified.

    Args:
        synthetic: (n, C, H, W) as stored.
        refined: (n, C, H, W) as stored, of the same images.
    """
    scale = _scale_of(synthetic)
    rows = [_row(images, full_scale, scale) for images in (synthetic, refined)]
    return _png(np.concatenate(rows))


def _read_strip(step: int, png: bytes, num_images: int) -> list[np.ndarray]:
    """The refined pictures of a strip, as they lie in it."""
    strip = decode(png, cv2.IMREAD_GRAYSCALE)
    if strip is None:
        raise ValueError(f"the strip of step {step} is no picture; delete it and run again")
    refined = strip[strip.shape[0] // 2 :]
    return list(np.split(refined, num_images, axis=1))


def overview_png(
    strips: Sequence[tuple[int, bytes]],
    synthetic: np.ndarray,
    real: np.ndarray,
    full_scale: float,
) -> bytes:
    """The paper's Figure 16: one row for each image, one column for each interval.

    The first column is the synthetic images, the last one real images, which belong to no row.

    Args:
        strips: (step, its strip), in order; at most 8 of them, evenly spread, are shown.
        synthetic: (n, C, H, W) the strips' images as stored.
        real: (m, C, H, W) real images as stored, of which the first n are shown.
    """
    num_images = len(synthetic)
    shown = np.unique(np.linspace(0, len(strips) - 1, _NUM_COLUMNS).round().astype(int))
    scale = _scale_of(synthetic)
    columns = [("synthetic", [_row(image[None], full_scale, scale) for image in synthetic])]
    columns += [
        (f"step {step}", _read_strip(step, png, num_images))
        for step, png in (strips[number] for number in shown)
    ]
    columns.append(("real", [_row(image[None], full_scale, scale) for image in real[:num_images]]))
    return _columns_png(columns)


def columns_png(columns: Sequence[tuple[str, np.ndarray]], full_scale: float) -> bytes:
    """Labelled columns of images side by side, magnified.

    Args:
        columns: (label, (n, C, H, W) as stored), all of one size.
    """
    scale = _scale_of(columns[0][1])
    return _columns_png(
        [
            (label, [_row(image[None], full_scale, scale) for image in images])
            for label, images in columns
        ]
    )


def _columns_png(columns: Sequence[tuple[str, Sequence[np.ndarray]]]) -> bytes:
    drawn = []
    num_rows = max(len(pictures) for _, pictures in columns)  # there may be few real images
    for label, pictures in columns:
        height, width = pictures[0].shape
        column = np.zeros((_LABEL_HEIGHT + num_rows * height, width), np.uint8)
        cv2.putText(column, label, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1, cv2.LINE_AA)
        for row, picture in enumerate(pictures):
            column[_LABEL_HEIGHT + row * height :][:height] = picture
        drawn.append(column)
    return _png(np.concatenate(drawn, axis=1))


def losses_png(metrics: bytes) -> bytes:
    """The losses, the discriminator's accuracies and the change over the updates.

    Args:
        metrics: lines of `metrics.jsonl`.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require("matplotlib", "a picture of the losses")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in metrics.splitlines()]
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.subplots(len(PANELS), 1, sharex=True)
    for axis, (title, names) in zip(axes, PANELS.items(), strict=True):
        for name in names:
            points = [(line["clock"], line[name]) for line in lines if name in line]
            if points:
                axis.plot(*zip(*points, strict=True), label=name, linewidth=1)
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if len(names) > 1 and axis.lines:
            axis.legend()
    axes[-1].set_xlabel("updates, pre-training included")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    rgba = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return _png(cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR))
