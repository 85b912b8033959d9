"""The texts of `--help`, in lines that fit the terminal instead of those of the code."""

import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

_ITEM = re.compile(r" +\S+ +")
"""the begin of a line of a list: an indented name, and spaces before what explains it"""


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


def explain_options(options: type[BaseModel]) -> None:
    """Give the fields of a model, and of the models in it, their docstrings as descriptions, each
    on one line. tyro would take the docstrings as they are, with the line breaks of the code."""
    from docstring_parser import parse_from_object

    explained = {
        param.arg_name: on_one_line(param.description or "")
        for base in reversed(options.__mro__)
        if issubclass(base, BaseModel) and base is not BaseModel
        for param in parse_from_object(base).params
    }
    for name, field in options.model_fields.items():
        field.description = field.description or explained.get(name)
        for part in _models_in(field.annotation):
            explain_options(part)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
