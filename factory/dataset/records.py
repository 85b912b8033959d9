"""The json member of a sample as bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson


def to_json(record: Mapping[str, Any]) -> bytes:
    """The bytes of a json member, with float32 labels in the shortest form that round-trips."""
    return orjson.dumps(
        {name: _single(value) for name, value in record.items()},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _single(value: Any) -> Any:
    """Computed numbers as float32; nested fields of the source as they came."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32, order="C")
    if isinstance(value, float):
        return np.float32(value)
    return value
