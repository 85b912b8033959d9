"""Where the files are that come with the packages and are no code.

In a checkout they lie in its folders `configs/`, `gates/` and `docs/`; a wheel has all three in the
package `simgan_factory`.
"""

from pathlib import Path
from typing import Literal

_PACKAGES = Path(__file__).resolve().parents[1]
"""the folder that this package and `simgan_factory` lie in"""


def folder_of(kind: Literal["configs", "gates", "docs"]) -> Path:
    """The folder of all files of a kind."""
    installed = _PACKAGES / "simgan_factory" / kind
    return installed if installed.is_dir() else _PACKAGES / kind
