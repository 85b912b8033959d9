"""A training run on TensorBoard: `tensorboard --logdir RUN`."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from factory.images.png import decode
from factory.store.base import Store
from factory.store.extras import require
from factory.store.local import LocalStore
from factory.training.metrics_log import grouped
from factory.training.trackers import Tracker

FOLDER = "tensorboard"
FLUSH_S = 30.0
"""seconds between puts to an object store, which cannot append"""


class TensorBoardLog(Tracker):
    """Scalars and strips of one run. In an object store they are copies of local files."""

    def __init__(self, store: Store, clock: int) -> None:
        """
        Args:
            clock: the run goes on after this; later entries of a killed one are hidden.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        require("tensorboard", "a log for TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        self.store = store
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(store, LocalStore):
            self._folder = store.root / FOLDER
        else:
            self._scratch = tempfile.TemporaryDirectory(prefix="simgan-tensorboard-")
            self._folder = Path(self._scratch.name)
        self._writer = SummaryWriter(
            str(self._folder), purge_step=clock + 1, filename_suffix=f".{clock:08d}"
        )
        self._flushed = time.monotonic()

    def add(self, line: Mapping[str, object]) -> None:
        """A line of metrics."""
        clock = int(str(line["clock"]))
        for name, value in grouped(line).items():
            self._writer.add_scalar(name, value, clock)
        if time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def add_score(self, clock: int, metrics: Mapping[str, float]) -> None:
        """The numbers of a score on held-out images, by name."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, clock)

    def add_strip(self, clock: int, name: str, png: bytes) -> None:
        """A sample strip; its file's name is not needed."""
        strip = decode(png, cv2.IMREAD_GRAYSCALE)
        assert strip is not None
        self._writer.add_image("strip", np.asarray(strip)[None], clock)

    def add_text(self, clock: int, name: str, text: str) -> None:
        """Something to be read, such as an alarm."""
        self._writer.add_text(name, text, clock)

    def add_result(self) -> None:
        """The finished refiner: TensorBoard has no place for it."""

    def flush(self) -> None:
        """Let readers see everything so far."""
        self._writer.flush()
        if self._scratch is not None:
            for path in self._folder.iterdir():
                self.store.put(f"{FOLDER}/{path.name}", path.read_bytes())
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush, and end."""
        self.flush()
        self._writer.close()
        if self._scratch is not None:
            self._scratch.cleanup()
