"""The messages that docs/troubleshooting.md explains are those of the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from support.places import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
MESSAGES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
HOLE = "…"


@cache
def texts_of_the_code() -> tuple[str, ...]:
    """Every text in the code, with `…` for what is put into it."""
    return tuple(
        text
        for package in ("schemas", "factory", "cluster", "jobs", "simgan_factory")
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        for text in _texts(node)
    )


def _texts(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield re.sub(r"%[.\d]*[sdf]", HOLE, text)
        case ast.JoinedStr(values=parts):
            yield "".join(p.value if isinstance(p, ast.Constant) else HOLE for p in parts)


def occurs(message: str) -> bool:
    """Whether a text of the code can become a message, of which `…` leaves parts open."""
    fixed = re.compile(".*".join(map(re.escape, message.strip(HOLE + " ").split(HOLE))))
    return any(fixed.search(text) for text in texts_of_the_code())


def test_the_page_explains_the_messages_that_users_meet_most() -> None:
    assert len(MESSAGES) >= 20 and len(MESSAGES) == len(set(MESSAGES))
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(rows) == len(MESSAGES)
    for row in rows:
        assert row.count(" | ") == 2, row


@pytest.mark.parametrize("message", MESSAGES)
def test_an_explained_message_is_one_of_the_code(message) -> None:
    assert occurs(message)


def test_a_message_that_the_code_lacks_is_found() -> None:
    assert occurs("… attempts in … s") and not occurs("given up after … trials")
