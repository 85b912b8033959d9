"""`metrics.jsonl`: one line for each interval of a training run."""

import json
import time
from collections.abc import Mapping

from factory.store.base import Store
from factory.store.local import LocalStore

METRICS_NAME = "metrics.jsonl"
FLUSH_S = 10.0
"""seconds between puts to an object store, which cannot append"""

_GROUPS = {
    "loss": ("realism_loss", "regularisation_loss", "refiner_loss", "discriminator_loss",
             "gradient_penalty", "sequence_loss"),
    "discriminator": ("accuracy_real", "accuracy_refined"),
    "refiner": ("mean_abs_delta", "label_shift_px", "diversity"),
    "gradient_norm": ("refiner_gradient_norm", "discriminator_gradient_norm"),
    "speed": ("images_per_s", "data_wait_share", "history_wait_share"),
    "history": ("history_size", "history_age_p10", "history_age_p50", "history_age_p90"),
}  # fmt: skip
"""what programs that plot metrics show together"""
PANELS: Mapping[str, tuple[str, ...]] = {
    "losses": ("realism_loss", "discriminator_loss", "regularisation_loss"),
    "share of patches told right": ("accuracy_real", "accuracy_refined"),
    "mean |refined − synthetic|": ("mean_abs_delta",),
}
"""the curves of each of our own plots, by its title"""


class MetricsLog:
    """Lines of metrics: appended to a local file, put whole now and then to an object store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.content = bytearray()
        """all lines, as they are in the file"""
        self.lines: list[Mapping[str, object]] = []
        """the same, parsed"""
        self._flushed = time.monotonic()

    def resume_after(self, clock: int) -> None:
        """Drop the lines after `clock`, and a line that a kill cut short."""
        if self.store.size(METRICS_NAME) is not None:
            self.content = bytearray(_lines_until(self.store.read(METRICS_NAME), clock))
            self.lines = [json.loads(line) for line in self.content.splitlines()]
        self.store.put(METRICS_NAME, bytes(self.content))

    def stored(self) -> list[Mapping[str, object]]:
        """The lines in the store, as a finished run left them; none where there is no file."""
        try:
            return [json.loads(line) for line in self.store.read(METRICS_NAME).splitlines()]
        except FileNotFoundError:
            return []

    def add(self, line: Mapping[str, object]) -> None:
        """One more line."""
        encoded = json.dumps(line).encode() + b"\n"
        self.content += encoded
        self.lines.append(line)
        if isinstance(self.store, LocalStore):
            with (self.store.root / METRICS_NAME).open("ab") as file:
                file.write(encoded)
        elif time.monotonic() - self._flushed > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Make all lines so far durable."""
        self.store.put(METRICS_NAME, bytes(self.content))
        self._flushed = time.monotonic()


def grouped(line: Mapping[str, object]) -> dict[str, float]:
    """The numbers of a line of metrics by the names that plots give them, `loss/refiner_loss`."""
    return {
        f"{group}/{name}": float(str(line[name]))
        for group, names in _GROUPS.items()
        for name in names
        if name in line
    }


def _lines_until(content: bytes, clock: int) -> bytes:
    kept = []
    for line in content.splitlines():
        try:
            if json.loads(line)["clock"] <= clock:
                kept.append(line + b"\n")
        except ValueError:
            break
    return b"".join(kept)
