"""MATLAB files in memory: of version 5, and of version 7.3, which no library at hand writes."""

import io
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
import scipy.io

HEAD = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."


def mat5(variables: Mapping[str, Any], **options: Any) -> bytes:
    """A file of version 5.

    Args:
        options: of `scipy.io.savemat`.
    """
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, **options)
    return buffer.getvalue()


def mat73(variables: Mapping[str, Any], **options: Any) -> bytes:
    """A file of version 7.3.

    Args:
        variables: arrays, and structs as mappings.
        options: for each dataset of HDF5, such as `compression`.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        _fill(file, variables, options)
    raw = bytearray(buffer.getvalue())
    raw[:128] = HEAD.ljust(124) + b"\x00\x02IM"
    return bytes(raw)


def _fill(group: Any, values: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _fill(group.create_group(name), value, options)
        else:
            group.create_dataset(name, data=np.asarray(value).T, **options)
