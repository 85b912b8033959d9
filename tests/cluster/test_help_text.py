"""The texts of `--help` flow from line to line as the terminal is wide."""

from typing import Annotated

import pytest
import tyro
from pydantic import BaseModel, Field

from cluster.job.help_text import explain_options, in_lines, on_one_line


class Inner(BaseModel):
    far: float = 1.0
    """a description that
    the code breaks"""


class Options(BaseModel):
    near: int = 0
    """one that goes on
    and on"""
    inner: Annotated[Inner, Field()] = Inner()
    given: int = Field(0, description="what a field says itself")


class Further(Options):
    later: int = 0
    """of a class
    that has the others from its base"""


def test_descriptions_are_docstrings_on_one_line() -> None:
    explain_options(Further)
    described = {name: field.description for name, field in Further.model_fields.items()}
    assert described == {
        "near": "one that goes on and on",
        "inner": None,
        "given": "what a field says itself",
        "later": "of a class that has the others from its base",
    }
    assert Inner.model_fields["far"].description == "a description that the code breaks"


def test_tyro_breaks_descriptions_and_paragraphs_only_where_the_terminal_ends(
    monkeypatch, capsys
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    explain_options(Options)
    paragraph = "Words that go on, --with options among them, " * 4
    with pytest.raises(SystemExit):
        tyro.cli(Options, prog="x", args=["--help"], description=in_lines(on_one_line(paragraph)))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 60
    assert paragraph.strip() in " ".join(shown.split())
    assert "a description that the code" in shown
    assert "one that goes on and on (default: 0)" in shown


def test_lines_of_a_list_stay_lines(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert in_lines("of these:\n  one  words and more words") == (
        "of these:\n  one  words and\n       more words"
    )
