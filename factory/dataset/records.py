"""The json member of a sample as bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson


def to_json(record: Mapping[str, Any]) -> bytes:
    """A json member: float32 labels in the shortest form that round-trips."""
    return orjson.dumps(
        {name: _single(value) for name, value in record.items()},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _single(value: Any) -> Any:
    """Numbers that we computed, as float32; fields of the source stay as they came."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32, order="C")
    if isinstance(value, float):
        return np.float32(value)
    return value
