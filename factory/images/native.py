"""The part in C, `crop.c`, where it could be compiled; everything works without it."""

import hashlib
from pathlib import Path
from typing import Any


def _compiled() -> tuple[Any, str]:
    """The module and, where it cannot be used, the reason: workers may have been sent newer sources
    than they have installed."""
    try:
        import _simgan_crop as found
    except ImportError as error:
        return None, str(error)
    source = hashlib.sha256(Path(__file__).with_name("crop.c").read_bytes()).hexdigest()
    if found.ffi.string(found.lib.source_sha256()).decode() != source:
        return None, "it was compiled from another crop.c, install again"
    return found, "it is left out"


crops, _missing = _compiled()
"""the module that cffi makes, or None"""


def how() -> str:
    """How crops are made here, as a line for a log."""
    if crops is not None:
        return "JPEG is decoded only where it is cropped"
    return (
        f"JPEG is decoded whole ({_missing}): to ingest renders faster, install with a C compiler "
        "and libjpeg-turbo's headers (Debian: gcc libc6-dev libjpeg-dev)"
    )
