"""What differs between eyes and hands, in one place: a new domain adds files and changes none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson
import pyarrow as pa
from pydantic import ValidationError

from factory.pixel_scale import scale_of_bytes
from factory.sources.base import Loaded, Source
from schemas.base import FormatError, Model, spell_out
from schemas.dataset import DatasetCard, ImageSpec
from schemas.index import index_schema
from schemas.sample import Envelope

if TYPE_CHECKING:
    from factory.validator import Validator


class Renderer(Protocol):
    """Draws pictures into a place that one of the domain's sources reads. A pydantic model."""

    def last_file(self, index: int) -> str:
        """The file of picture `index` (from 0) that is written last: with it, the rest is there."""

    def write(self, location: str | Path, indices: Sequence[int]) -> int:
        """Draw pictures into a folder or object store, each file whole or not there; how many."""

    def prepare(self, location: str | Path, count: int) -> None:
        """Write what belongs to the first `count` pictures as a whole, before they are drawn, so
        that no reader finds a picture without it. Nothing where it is there already."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Everything that decides the pictures."""


@dataclass(frozen=True)
class Domain:
    """The labels, images, sources and renderer of one kind of sample."""

    name: str
    schema: str
    """name and version of the json member, its `schema` field"""
    labelled: type[Envelope]
    unlabelled: type[Envelope]
    label_columns: tuple[pa.Field, ...]
    image: ImageSpec
    shard_size: int
    """samples planned into one shard unless asked otherwise: about 100 MB"""
    sources: tuple[type[Source], ...]
    renderer: Callable[..., Renderer] | None = None
    """built from the options of jobs/simulate.py; None where there is no built-in one"""
    validator: "Callable[[], Validator] | None" = None
    """makes what validates its refined samples; called late, as it reads datasets and they their
    domain"""
    full_scale: Callable[[DatasetCard], float] = scale_of_bytes
    """the pixel value that becomes 1 in the networks, for a dataset with this card"""
    unlabelled_columns: tuple[pa.Field, ...] = ()
    """what samples have without labels too, beyond the envelope"""

    def columns(self, labelled: bool) -> tuple[pa.Field, ...]:
        """Columns of the index that this domain adds to the envelope."""
        return self.unlabelled_columns + (self.label_columns if labelled else ())

    def index_schema(self, labelled: bool) -> pa.Schema:
        """Columns of the index of a dataset of this domain."""
        return index_schema(self.columns(labelled))

    def parse(self, raw: bytes, *, labelled: bool, where: str) -> dict[str, Any]:
        """A json member, checked against its model, as plain values (lists of labels as tuples).

        Raises:
            FormatError: it breaks the promise of the schema.
        """
        model = self.labelled if labelled else self.unlabelled
        try:
            parsed = model.model_validate_json(raw, strict=True)
        except ValidationError as error:
            _check_json(raw, where)
            raise FormatError(
                f"{where}: not a valid {model.__name__}: {spell_out(error)}"
            ) from error
        if b"NaN" in raw or b"Infinity" in raw:  # pydantic lets them pass in free fields
            _check_json(raw, where)
        return _plain(parsed)


def _check_json(raw: bytes, where: str) -> None:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON ({error})") from error


def _plain(parsed: Envelope) -> dict[str, Any]:
    """The fields that were given, by their names in the file. Parsing twice would cost more."""
    given = parsed.model_fields_set
    record = {
        name: vars(value) if isinstance(value, Model) else value
        for name, value in vars(parsed).items()
        if name in given
    }
    record["schema"] = record.pop("schema_")
    return record


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


def matches(shape: tuple[int, ...], dtype: np.dtype[Any], spec: ImageSpec) -> bool:
    """Whether a picture of this shape and type has the dataset's image layout."""
    expected = (spec.height, spec.width) + ((3,) if spec.channels == 3 else ())
    return shape == expected and dtype == (np.uint8 if spec.bits == 8 else np.uint16)
