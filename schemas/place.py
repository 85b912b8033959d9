"""Which options of a job name places: folders and files of datasets, trainings and networks."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel


class _PlaceMark:
    """Stands in the type of an option that names a place."""


Place = Annotated[str, _PlaceMark()]
"""a local path, or s3://bucket/prefix"""
PlacePath = Annotated[Path, _PlaceMark()]
"""a local path that a job writes to"""


def places_in(options: BaseModel) -> Iterator[tuple[str, str]]:
    """Each place that the options name, after the name of its option."""
    for name, field in type(options).model_fields.items():
        if _is_marked(field.rebuild_annotation()):
            for place in _texts_in(getattr(options, name)):
                yield name, place


def is_place_mark(mark: object) -> bool:
    """Whether a type that is annotated with this is that of places."""
    return isinstance(mark, _PlaceMark)


def _is_marked(annotation: Any) -> bool:
    marks = getattr(annotation, "__metadata__", ())
    return any(map(is_place_mark, marks)) or any(map(_is_marked, get_args(annotation)))


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for one in value:
            yield from _texts_in(one)
    elif value is not None:
        yield str(value)
