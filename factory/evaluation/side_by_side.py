"""How an evaluation spreads its work without knowing over what."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class SideBySide(Protocol):
    """Makes calls at the same time and gives their results in order."""

    def __call__(
        self, calls: Sequence[Callable[[], Any]], what: str | None = None, *, use_gpu: bool = False
    ) -> list[Any]:
        """
        Args:
            what: for a progress bar.
            use_gpu: give each call a GPU.
        """
