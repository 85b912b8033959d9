"""Names and reasons as a terminal may show them."""

import pytest

from schemas.text import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("café 目 1.jpg", "café 目 1.jpg"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\rb\x07\x7f", r"a\rb\x07\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("half\udce9", r"half\udce9"),
        ("one\ntwo", r"one\ntwo"),
        ("", ""),
    ],
)
def test_what_does_not_print_is_escaped(text, shown) -> None:
    assert one_line(text) == shown
    assert one_line(text).isprintable()


def test_lines_of_a_text_stay_lines() -> None:
    assert printable("one\n  two\x1b\n") == "one\n  two\\x1b\n"
