"""The Arrow schema of `reports/<id>/verdicts.parquet`: what validation says of every sample."""

import pyarrow as pa

VERDICT_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("reasons", pa.list_(pa.string())),
    ]
)
"""One row for every sample of the validated shards, sorted by key; `reasons` are the limits that
the sample missed, none where it is kept."""
