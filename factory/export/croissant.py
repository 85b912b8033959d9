"""`croissant.json`: what an export holds, in MLCommons' Croissant 1.1.

A record has the image of the tar and the columns of the Parquet index, joined by the key.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from factory.export.labels import note_of
from schemas.export import ExportedShard
from schemas.labels import LabelNote

RECORDS = "samples"
CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""the context that Croissant 1.1 gives"""
_TYPES = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "float": "cr:Float32",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
}
_KEY = r"^([^.]+)"
"""what of a member's name is the key; it leaves a key as it is"""


class Described(NamedTuple):
    """What a Croissant file says beside its files and fields."""

    name: str
    description: str
    licence: str | None
    published: str
    """a date, ISO 8601"""
    version: str


def croissant(
    described: Described,
    shards: Sequence[ExportedShard],
    columns: pa.Schema,
    notes: Mapping[str, LabelNote],
    way_to_tars: str,
) -> dict[str, Any]:
    """The content of `croissant.json`.

    Args:
        shards: the tars of the export.
        columns: of its index.
        notes: what the labels of its domain mean.
        way_to_tars: what leads from the folder of the file to that of the tars; empty, or with a
            slash at its end.
    """
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": described.name,
        "description": described.description,
        "datePublished": described.published,
        "version": described.version,
        "distribution": _files(shards, way_to_tars),
        "recordSet": [_records(columns, notes)],
    }
    if described.licence is not None:
        content["license"] = described.licence
    return content


def _files(shards: Sequence[ExportedShard], way_to_tars: str) -> list[dict[str, Any]]:
    tars = [
        {
            "@type": "cr:FileObject",
            "@id": shard.tar,
            "name": shard.tar,
            "contentUrl": f"{way_to_tars}{shard.tar}",
            "contentSize": f"{shard.size} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.sha256,
        }
        for shard in shards
    ]
    images = {
        "@type": "cr:FileSet",
        "@id": "images",
        "name": "images",
        "description": "the images, which are members of the tars",
        "containedIn": [{"@id": shard.tar} for shard in shards],
        "encodingFormat": "image/png",
        "includes": "*.png",
    }
    index = {
        "@type": "cr:FileSet",
        "@id": "index",
        "name": "index",
        "description": "the labels of all samples, and where their members are in the tars",
        "encodingFormat": "application/x-parquet",
        "includes": "index/*.parquet",
    }
    return [*tars, images, index]


def _records(columns: pa.Schema, notes: Mapping[str, LabelNote]) -> dict[str, Any]:
    image = {
        **_head("image", "the image"),
        "dataType": "sc:ImageObject",
        "source": {"fileSet": {"@id": "images"}, "extract": {"fileProperty": "content"}},
    }
    key = {
        **_head("key", note_of("key", notes).meaning),
        "dataType": "sc:Text",
        "source": {
            "fileSet": {"@id": "images"},
            "extract": {"fileProperty": "filename"},
            "transform": {"regex": _KEY},
        },
        "references": {"fileSet": {"@id": "index"}, "extract": {"column": "key"}},
    }
    others = [_field(column, notes) for column in columns if column.name != "key"]
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "key": {"@id": f"{RECORDS}/key"},
        "field": [key, image, *others],
    }


def _head(name: str, description: str) -> dict[str, Any]:
    head = {"@type": "cr:Field", "@id": f"{RECORDS}/{name}", "name": name}
    return head | ({"description": description} if description else {})


def _field(column: pa.Field, notes: Mapping[str, LabelNote]) -> dict[str, Any]:
    note = note_of(column.name, notes)
    words = "; ".join(part for part in (note.meaning, note.unit, note.frame) if part)
    head = _head(column.name, words)
    if not pa.types.is_struct(column.type):
        return {**head, **_typed(column.type), "source": _column(column.name)}
    inner = [
        {
            **_head(f"{column.name}/{part.name}", ""),
            **_typed(part.type),
            "source": _column(column.name) | {"transform": {"jsonPath": f"$.{part.name}"}},
        }
        for part in column.type
    ]
    return {**head, "subField": inner}


def _column(name: str) -> dict[str, Any]:
    return {"fileSet": {"@id": "index"}, "extract": {"column": name}}


def _typed(kind: pa.DataType) -> dict[str, Any]:
    shape = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(str(kind.list_size))
        kind = kind.value_type
    array = {"isArray": True, "arrayShape": ", ".join(shape)} if shape else {}
    return {"dataType": _TYPES[str(kind)], **array}
