"""What differs between eyes and hands, in one place: a new domain adds an entry, changes none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from factory.images import Pixels
from factory.sources.base import Loaded
from schemas.base import FormatError
from schemas.dataset import ImageSpec
from schemas.index import EYE_LABELS, index_schema
from schemas.sample import Envelope, Eye, UnlabelledEye


@dataclass(frozen=True)
class Domain:
    """The labels and the images of one kind of sample."""

    name: str
    schema: str
    """name and version of the json member, its `schema` field"""
    labelled: type[Envelope]
    unlabelled: type[Envelope]
    label_columns: tuple[pa.Field, ...]
    image: ImageSpec

    def index_schema(self, labelled: bool) -> pa.Schema:
        """Columns of the index of a dataset of this domain."""
        return index_schema(self.label_columns if labelled else ())

    def parse(self, raw: bytes, *, labelled: bool, where: str) -> dict[str, Any]:
        """A json member, checked against its model, as plain values.

        Raises:
            FormatError: it breaks the promise of the schema.
        """
        model = self.labelled if labelled else self.unlabelled
        model.from_json(raw, where=where)
        content: dict[str, Any] = orjson.loads(raw)
        return content


EYE = Domain(
    name="eye",
    schema="eye/1",
    labelled=Eye,
    unlabelled=UnlabelledEye,
    label_columns=EYE_LABELS,
    image=ImageSpec(height=35, width=55),
)
DOMAINS: Mapping[str, Domain] = {EYE.name: EYE}


def domain_named(name: str) -> Domain:
    """Raises `FormatError` for a domain that this version does not know."""
    if name not in DOMAINS:
        raise FormatError(f"domain {name!r} is unknown here, known: {', '.join(DOMAINS)}")
    return DOMAINS[name]


def to_json(record: Mapping[str, Any]) -> bytes:
    """A json member: float32 labels in the shortest form that round-trips."""
    return orjson.dumps(
        {name: _single(value) for name, value in record.items()},
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _single(value: Any) -> Any:
    """Numbers that we computed, as float32; fields of the source stay as they came."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value, dtype=np.float32)
    if isinstance(value, float):
        return np.float32(value)
    return value


def record_of(
    loaded: Loaded, *, key: str, schema: str, source: str, source_id: str, split: str, made: Any
) -> dict[str, Any]:
    """The json member of an ingested sample, in the order of its schema."""
    return {
        "schema": schema,
        "key": key,
        "source": {
            "name": source,
            "id": source_id,
            "image_sha256": loaded.image_sha256,
            "label_sha256": loaded.label_sha256,
        },
        "identity": loaded.identity,
        "split": split,
        **loaded.labels,
        "crop_affine": loaded.crop_affine,
        "extra": loaded.extra,
        "made": made,
    }


def matches(image: Pixels, spec: ImageSpec) -> bool:
    """Whether a picture has the dataset's image layout."""
    shape = (spec.height, spec.width) + ((3,) if spec.channels == 3 else ())
    return image.shape == shape and image.dtype == (np.uint8 if spec.bits == 8 else np.uint16)
