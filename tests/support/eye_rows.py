"""Measurements of eyes of which a test chooses the values."""

import pyarrow as pa

from schemas.eye.measures import EYE_MEASURES_SCHEMA


def measures(drift: list[float | None], per_shard: int, **others) -> pa.Table:
    """Rows with these drifts, so many to a shard."""
    columns = {
        "key": [f"{k // per_shard:06d}-{k % per_shard:06d}" for k in range(len(drift))],
        "iris_drift_px": drift,
        **others,
    }
    return pa.table(
        {
            field.name: pa.array(columns[field.name], field.type)
            if field.name in columns
            else pa.nulls(len(drift), field.type)
            for field in EYE_MEASURES_SCHEMA
        },
        schema=EYE_MEASURES_SCHEMA,
    )
