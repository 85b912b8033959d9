"""The texts of `--help` are as wide as the terminal, and say nothing of Python."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from pydantic import BaseModel

from cluster.job.help_text import HELP, in_lines, on_one_line
from schemas.place import Place


class Inner(BaseModel):
    far: float | None = None
    """a description that
    the code breaks"""


class Options(BaseModel):
    origin: Place
    """where it lies"""
    near: int = 0
    """one that goes on
    and on"""
    file: Path | None = None
    """one of these"""
    kind: Literal["a", "b"] | None = None
    """one of two"""
    parent: Place | None = None
    """another place"""
    hours: Annotated[float | None, tyro.conf.arg(metavar="HOURS")] = None
    """with a name of its own"""
    some: tuple[int, ...] = ()
    """any number"""
    inner: Inner = Inner()


PARAGRAPH = "Words that go on, --with options among them, " * 4


def shown(monkeypatch, capsys, *, columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        tyro.cli(
            Options,
            prog="x",
            args=["--help"],
            description=in_lines(on_one_line(PARAGRAPH)),
            registry=HELP,
        )
    return capsys.readouterr().out


@pytest.mark.parametrize("columns", [60, 100])
def test_lines_end_where_the_terminal_ends(monkeypatch, capsys, columns) -> None:
    help_text = shown(monkeypatch, capsys, columns=columns)
    lines = help_text.splitlines()[1:]
    assert columns - 10 < max(map(len, lines)) <= columns
    assert PARAGRAPH.strip() in " ".join(help_text.split())
    flowing = " ".join(help_text.replace("│", " ").split())
    assert "one that goes on and on (default: 0)" in flowing
    assert "a description that the code breaks" in flowing


def test_an_option_that_may_be_left_out_shows_what_it_takes_and_no_default(
    monkeypatch, capsys
) -> None:
    help_text = shown(monkeypatch, capsys, columns=100)
    for option in (
        "--origin PLACE", "--file PATH", "--kind {a,b}", "--parent PLACE", "--hours HOURS",
        "--some [INT [INT ...]]", "--inner.far FLOAT",
    ):  # fmt: skip
        assert f" {option} " in help_text, option
    assert "where it lies (required)" in help_text
    assert "None" not in help_text and help_text.count("(default: ") == 1


def test_options_are_read_as_without_these_texts() -> None:
    given = [
        "--origin",
        "s3://a/b",
        "--file",
        "c",
        "--kind",
        "b",
        "--some",
        "1",
        "2",
        "--inner.far",
    ]
    with_texts = tyro.cli(Options, args=[*given, "3"], registry=HELP)
    assert with_texts == tyro.cli(Options, args=[*given, "3"])
    assert with_texts.file == Path("c") and with_texts.some == (1, 2) and with_texts.inner.far == 3


def test_lines_of_a_list_stay_lines(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert in_lines("of these:\n  one  words and more words") == (
        "of these:\n  one  words and\n       more words"
    )
