"""The kinds of sample that datasets can hold, by name, and the reading of their labels.

A kind comes with a domain: one of this repository, or one of an installed package. Both are found
by an import path, so that a dataset can be read without importing the domain's sources, renderer
or networks.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
import orjson
from pydantic import ValidationError

from schemas.base import FormatError, Model, spell_out
from schemas.dataset import ImageSpec
from schemas.index import REPEATED_COLUMNS
from schemas.kinds import SampleKind
from schemas.sample import Envelope

GROUP = "simgan_factory.domains"
"""the entry points by which an installed package brings a domain along (docs/new-domain.md)"""
BUILT_IN = (
    EntryPoint("eye", "factory.domains.eye.domain:EYE_DOMAIN", GROUP),
    EntryPoint("hand", "factory.domains.hand.domain:HAND_DOMAIN", GROUP),
)
"""the domains of this repository"""


def domain_points() -> tuple[EntryPoint, ...]:
    """Where the domains are: those of this repository, then those of installed packages."""
    return (*BUILT_IN, *entry_points(group=GROUP))


@cache
def known_kinds() -> dict[str, SampleKind]:
    """Every kind of sample by its name.

    Raises:
        FormatError: a domain has no kind of sample, or one of a name that is taken.
    """
    kinds: dict[str, SampleKind] = {}
    for point in domain_points():
        kind = getattr(point.load(), "sample_kind", None)
        if not isinstance(kind, SampleKind):
            raise FormatError(
                f"the entry point {point.value} of {GROUP} is not a Domain; correct its package or "
                "uninstall it"
            )
        if kind.name in kinds:
            raise FormatError(
                f"the entry point {point.value} of {GROUP} brings a domain {kind.name}, but there "
                "is one already; rename it or uninstall its package"
            )
        kinds[kind.name] = kind
    return kinds


def kind_named(name: str) -> SampleKind:
    """The kind of the samples of a domain.

    Raises:
        FormatError: this version knows no such domain.
    """
    known = known_kinds()
    if name not in known:
        raise FormatError(f"domain {name!r} is unknown here, known: {', '.join(known)}")
    return known[name]


def parse_label(kind: SampleKind, raw: bytes, *, labelled: bool, where: str) -> dict[str, Any]:
    """A json member as plain values, checked against its model; lists of labels become tuples.

    Args:
        where: its name, for messages.

    Raises:
        FormatError: it does not follow the schema.
    """
    model = kind.labelled if labelled else kind.unlabelled
    try:
        parsed = model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        _check_json(raw, where)
        raise FormatError(f"{where}: not a valid {model.__name__}: {spell_out(error)}") from error
    if b"NaN" in raw or b"Infinity" in raw:  # pydantic accepts them in untyped fields
        _check_json(raw, where)
    return _plain(parsed)


def _check_json(raw: bytes, where: str) -> None:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise FormatError(f"{where}: not JSON ({error})") from error


def _plain(parsed: Envelope) -> dict[str, Any]:
    """The fields that were given, by their names in the file, without parsing the JSON again."""
    given = parsed.model_fields_set
    record = {
        name: vars(value) if isinstance(value, Model) else value
        for name, value in vars(parsed).items()
        if name in given
    }
    record["schema"] = record.pop("schema_")
    return record


def matches(shape: tuple[int, ...], dtype: np.dtype[Any], spec: ImageSpec) -> bool:
    """Whether an image of this shape and dtype has the layout of a dataset's images."""
    expected = (spec.height, spec.width) + ((3,) if spec.channels == 3 else ())
    return shape == expected and dtype == (np.uint8 if spec.bits == 8 else np.uint16)


def repeated_columns(kind: SampleKind) -> tuple[str, ...]:
    """Columns of the index that hold few different values."""
    return (*REPEATED_COLUMNS, *kind.repeated_columns)
