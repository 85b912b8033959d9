"""Names and reasons from files, as a terminal may show them.

A name may hold any character. Control characters in it could clear the screen, change what earlier
lines say, or end a line and forge the next one, so they are shown escaped.
"""


def one_line(text: str) -> str:
    """The text with every character that does not print escaped, ends of lines among them.

    `\\x1b` stands for an escape character, `\\u202e` for one that turns the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def printable(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(one_line, text.split("\n")))


def _shown(character: str) -> str:
    if character.isprintable() or character == "\N{NO-BREAK SPACE}":
        return character
    return character.encode("unicode_escape").decode("ascii")
