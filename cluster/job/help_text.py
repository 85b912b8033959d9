"""The texts of `--help`, in lines that fit the terminal, without the terms of Python."""

import dataclasses
import re
import shutil
import textwrap
from contextvars import ContextVar
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import tyro
from pydantic import BaseModel
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from schemas.place import is_place_mark

_ITEM = re.compile(r" +\S+ +")
"""the begin of a line of a list: an indented name, and spaces before what explains it"""
HELP = ConstructorRegistry()
"""how `tyro.cli` shows options"""
_is_asking: ContextVar[bool] = ContextVar("_is_asking", default=False)


def in_lines(text: str) -> str:
    """Lines that fit the terminal. What goes on in the next line is indented, since tyro would join
    it to the line before otherwise; in a list, to the column of the explanations."""
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(
            line,
            width,
            subsequent_indent=" " * (len(item[0]) if (item := _ITEM.match(line)) else 2),
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )


def on_one_line(text: str) -> str:
    """A paragraph of the code without its line breaks."""
    return " ".join(text.split())


@HELP.struct_rule
def _with_texts(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The options of a model as tyro makes them, with other texts."""
    if _is_asking.get() or not (isinstance(info.type, type) and issubclass(info.type, BaseModel)):
        return None
    token = _is_asking.set(True)
    try:
        made = ConstructorRegistry.get_struct_spec(info)
    finally:
        _is_asking.reset(token)
    if not isinstance(made, StructConstructorSpec):
        return None
    return dataclasses.replace(made, fields=tuple(map(_with_text, made.fields)))


def _with_text(field: StructFieldSpec) -> StructFieldSpec:
    """With the docstring on one line, where tyro keeps the line breaks of the code. An option that
    may be left out shows neither `{None}` among its values nor a default that is nothing."""
    helptext, default = field.helptext, field.default

    def joined() -> str:
        return on_one_line((helptext() if callable(helptext) else helptext) or "")

    is_nothing = default is None or (isinstance(default, tuple | dict) and not default)
    shown = tyro.conf.arg(
        metavar=_metavar(field.type), help_behavior_hint="" if is_nothing else None
    )
    kind, *marks = _parts(field.type)
    # What an option says of itself comes last, and wins.
    return dataclasses.replace(field, helptext=joined, type=Annotated[(kind, shown, *marks)])


def _metavar(kind: Any) -> str | None:
    """What stands for the value of an option: PLACE, or what tyro would say of one that has to be
    given; None where tyro says it."""
    inner, *marks = _parts(kind)
    if inner is str and any(map(is_place_mark, marks)):
        return "PLACE"
    kinds = [one for one in get_args(inner) if one is not NoneType]
    if NoneType not in get_args(inner) or len(kinds) != 1:
        return None
    if (name := _metavar(kinds[0])) is not None:
        return name
    made = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kinds[0], set()))
    return made.metavar if isinstance(made, PrimitiveConstructorSpec) else None


def _parts(kind: Any) -> tuple[Any, ...]:
    """A type, and what it is annotated with."""
    return get_args(kind) if get_origin(kind) is Annotated else (kind,)
