"""The interface of a renderer, which draws pictures for a source to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

STAND_IN_FILE = "STAND-IN.txt"
"""text file beside drawn pictures that replace a camera's, which says that they do"""


class Renderer(Protocol):
    """A pydantic model that draws pictures into a location which a source of its domain reads."""

    def last_file(self, index: int) -> str:
        """The file of picture `index` (from 0) that is written after all its other files."""

    def write(self, location: str | Path, indices: Sequence[int]) -> int:
        """Draw pictures into a folder or object store, and return how many were drawn.

        No file is ever there in part.
        """

    def prepare(self, location: str | Path, count: int) -> None:
        """Write the files that the first `count` pictures share, before the pictures are drawn.

        Thus no reader sees a picture without them. Files that exist already are not written again.
        """

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """All options that decide the pictures."""
