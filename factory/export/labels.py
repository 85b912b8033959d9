"""The json members of an export: every field in every sample, and each of one type.

A dataset leaves out what it does not have, and `extra` holds whatever the source gave. A reader
that guesses types from a few samples then fails at a later one, so an export writes nulls, and
`extra` as JSON in a string, as the index has it. The types are Arrow's, those of the index.
"""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
import pyarrow as pa

from schemas.base import Model
from schemas.kinds import SampleKind
from schemas.labels import LabelNote

FREE_FORM = "extra"
"""the field that holds whatever the source gave"""

ENVELOPE_NOTES: Mapping[str, LabelNote] = {
    "key": LabelNote("", "", "name of the sample, unique in the release"),
    "source": LabelNote(
        "", "", "where the sample came from: source, name inside it, digests of its files"
    ),
    "identity": LabelNote(
        "", "", "who or what is shown; all samples of one identity are in one split"
    ),
    "split": LabelNote("", "", "the part of the release that it is in"),
    "crop_affine": LabelNote(
        "px",
        "source and crop: x right, y down, pixel centres at integers",
        "2 x 3 matrix that maps pixels (x, y, 1) of the source's picture to pixels of the crop",
    ),
    "extra": LabelNote("", "", "JSON: fields of the source as they came"),
    "made": LabelNote("", "", "which ingest wrote the sample: configuration, program"),
    "refined": LabelNote("", "", "which refiner changed it, and which shard it read"),
    "schema": LabelNote("", "", "name and version of this list of fields"),
}
"""what the fields mean that every sample has"""
UNITS = {"_px": "px", "_mm": "mm", "_rad": "rad", "_deg": "deg"}
"""what the end of a label's name says of its unit"""


class RecordType:
    """The fields of the json member of one kind of sample, with their types."""

    def __init__(self, kind: SampleKind, *, labelled: bool):
        """
        Raises:
            TypeError: a field is neither a column of the index nor a record of strings.
        """
        model = kind.labelled if labelled else kind.unlabelled
        columns = kind.index_schema(labelled)
        self.fields: tuple[pa.Field, ...] = tuple(
            columns.field(name) if name in columns.names else _field(name, info.annotation)
            for name, info in (
                (info.alias or name, info) for name, info in model.model_fields.items()
            )
        )
        """in the order in which they are written"""
        self._records = {
            field.name: [inner.name for inner in field.type]
            for field in self.fields
            if pa.types.is_struct(field.type)
        }

    def rewrite(self, label: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """A sample's labels with every field, and as the json member of an export.

        Args:
            label: plain values that follow the model of the kind of sample.
        """
        record: dict[str, Any] = {}
        for field in self.fields:
            value = label.get(field.name)
            inner = self._records.get(field.name)
            if field.name == FREE_FORM:
                value = orjson.dumps(value).decode()
            elif inner is not None and value is not None:
                value = {name: value.get(name) for name in inner}
            record[field.name] = value
        return record, orjson.dumps(record)


def _field(name: str, annotation: Any) -> pa.Field:
    """The type of a field that the index has no column for."""
    kinds = list(_kinds(annotation))
    if all(map(_is_text, kinds)):
        return pa.field(name, pa.string())
    if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], Model):
        inner = kinds[0].model_fields.items()
        if all(_is_text(kind) for _, info in inner for kind in _kinds(info.annotation)):
            parts = [pa.field(info.alias or part, pa.string()) for part, info in inner]
            return pa.field(name, pa.struct(parts))
    raise TypeError(f"{name} is neither a column of the index nor a record of strings")


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types (or, of a Literal, the values) that an annotation allows beside None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for kind in get_args(annotation):
            yield from _kinds(kind)
    elif origin is Literal:
        yield from get_args(annotation)
    elif annotation is not NoneType:
        yield annotation


def _is_text(kind: Any) -> bool:
    return kind is str or isinstance(kind, str)


def note_of(name: str, notes: Mapping[str, LabelNote]) -> LabelNote:
    """What a field means, by its domain or as a field that every sample has; the unit alone, by its
    name, where neither says it."""
    known = {**ENVELOPE_NOTES, **notes}
    if name in known:
        return known[name]
    unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    return LabelNote(unit, "", "")


def shown_type(kind: pa.DataType) -> str:
    """A type in the words of a table: `float32 [32, 2]`, `record of fx_px, fy_px`."""
    shape = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(str(kind.list_size))
        kind = kind.value_type
    if pa.types.is_struct(kind):
        inner = f"record of {', '.join(field.name for field in kind)}"
    else:
        inner = {"float": "float32", "string": "text"}.get(str(kind), str(kind))
    return f"{inner} [{', '.join(shape)}]" if shape else inner
