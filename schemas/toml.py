"""TOML files that people write: configurations of jobs, gates and variants."""

import tomllib
from pathlib import Path
from typing import Any

from schemas.base import FormatError


def tables_in(path: Path) -> dict[str, Any]:
    """The tables of a file, also of one that an editor of Windows saved with a byte-order mark.

    Raises:
        FormatError: it is not TOML, or not in UTF-8; the message names the file.
        OSError: it cannot be read.
    """
    return parse_tables(path.read_bytes(), path)


def parse_tables(raw: bytes, path: Path) -> dict[str, Any]:
    """The tables in the bytes of a file. Raises `FormatError` as `tables_in` does."""
    try:
        # Without universal newlines: TOML takes both ends of lines that editors write.
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{path}: not in UTF-8 ({error.reason} at byte {error.start}); TOML files are: save it "
            "as UTF-8 in your editor"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"{path}: not TOML ({error})") from error
