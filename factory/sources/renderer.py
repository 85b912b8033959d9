"""What draws pictures for a source to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

STAND_IN_FILE = "STAND-IN.txt"
"""the text file beside pictures that stand in for a camera's, which says so"""


class Renderer(Protocol):
    """Draws pictures into a place that one of the domain's sources reads. A pydantic model."""

    def last_file(self, index: int) -> str:
        """The file of picture `index` (from 0) that is written last: with it, the rest is there."""

    def write(self, location: str | Path, indices: Sequence[int]) -> int:
        """Draw pictures into a folder or object store, each file whole or not there; how many."""

    def prepare(self, location: str | Path, count: int) -> None:
        """Write what belongs to the first `count` pictures as a whole, before they are drawn, so
        that no reader finds a picture without it. Nothing where it is there already."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Everything that decides the pictures."""
