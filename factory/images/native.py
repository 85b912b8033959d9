"""The compiled form of `crop.c`, where there is one; everything works without it."""

import hashlib
from pathlib import Path
from typing import Any


def _compiled() -> tuple[Any, str]:
    """The module, or None and the reason why it cannot be used.

    The module may be older than `crop.c`, as a worker may be sent newer sources than it has
    installed.
    """
    try:
        import _simgan_crop as module
    except ImportError as error:
        return None, str(error)
    source = hashlib.sha256(Path(__file__).with_name("crop.c").read_bytes()).hexdigest()
    if module.ffi.string(module.lib.source_sha256()).decode() != source:
        return None, "it was compiled from another version of crop.c; install again"
    return module, "it is switched off"


crops, _missing = _compiled()
"""the module that cffi made of `crop.c`, or None"""


def how() -> str:
    """How crops are made in this process, as a line for a log."""
    if crops is not None:
        return "JPEG is decoded only where it is cropped"
    return (
        f"JPEG is decoded whole ({_missing}): to ingest renders faster, install with a C compiler "
        "and libjpeg-turbo's headers (Debian: gcc libc6-dev libjpeg-dev)"
    )
