"""The pictures that a finished training leaves: overview.png and losses.png."""

import logging
from collections.abc import Callable, Mapping

import cv2
import numpy as np

from factory.store.base import Store
from factory.store.extras import MissingExtraError
from factory.training import strips
from factory.training.metrics_log import METRICS_NAME

log = logging.getLogger(__name__)

STRIPS = "strips"
OVERVIEW, LOSSES = "overview.png", "losses.png"


def draw_pictures(
    store: Store, images: Mapping[str, np.ndarray], *, seed: int, full_scale: float
) -> None:
    """Draw the pictures of a run that lacks them, once its refiner is saved.

    One that cannot be drawn is left out with a warning, for the training itself is done.

    Args:
        images: synthetic and real ones, as stored.
        seed: of the run.
    """

    def overview() -> bytes:
        names = [entry.name for entry in store.entries(STRIPS)]
        steps = sorted((int(name[:-4].rpartition("-")[2]), name) for name in names)
        return strips.overview_png(
            [(step, store.read(name)) for step, name in steps],
            strips.pick_samples(images["synthetic"], seed),
            strips.pick_samples(images["real"], seed),
            full_scale,
        )

    _put_drawn(store, OVERVIEW, overview)
    _put_drawn(store, LOSSES, lambda: strips.losses_png(store.read(METRICS_NAME)))


def _put_drawn(store: Store, name: str, draw: Callable[[], bytes]) -> None:
    if store.size(name) is not None:
        return
    try:
        picture = draw()
    except (MissingExtraError, FileNotFoundError, ValueError, KeyError, cv2.error) as error:
        log.warning("%s is left out, the refiner is saved all the same: %s", name, error)
        return
    store.put(name, picture)
