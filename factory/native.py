"""The part in C, `crop.c`, where it could be compiled; everything works without it."""

from typing import Any

try:
    import _simgan_crop as _found
except ImportError as error:
    _found, _missing = None, str(error)

crops: Any = _found
"""the module that cffi makes, or None"""


def how() -> str:
    """How crops are made here, as a line for a log."""
    if crops is not None:
        return "JPEG is decoded only where it is cropped"
    return (
        f"JPEG is decoded whole ({_missing}): to ingest renders faster, install with a C compiler "
        "and libjpeg-turbo's headers (Debian: gcc libc6-dev libjpeg-dev)"
    )
