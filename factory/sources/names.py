"""Names of inputs, spelled in one way whatever container or system they come from.

An input's name decides its id, its pair, its folder and often its person. So every name is brought
into one spelling before anything reads a meaning from it: parts between single slashes, none of
them `.` or `..`, no slash at the beginning.
"""

import re
from collections.abc import Iterator

HIDDEN = (".", "__MACOSX", "lost+found")
"""how names begin that are never inputs: hidden files, and what systems keep for themselves"""
_OTHER_SPELLING = re.compile(r"\\|\0|//|^/|(?:^|/)\.\.?(?:/|$)|^[A-Za-z]:/|^$")
_DIGITS_OR_NOT = re.compile(r"[0-9]+|[^0-9]+")
_DRIVE = re.compile(r"[A-Za-z]:(?=/)")


class MisnamedError(ValueError):
    """A name that cannot be the name of an input."""


def check_utf8(name: str) -> None:
    """Raise `MisnamedError` for a name that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode("utf-8", "surrogateescape")
        raise MisnamedError(f"{shown!r}: the name of this file is not UTF-8") from error


def plain_name(name: str) -> str:
    """A name of a file in its one spelling.

    Backslashes count as slashes, and the beginning of an absolute path is left out, as it is when
    an archive is unpacked.

    Raises:
        MisnamedError: the name is empty, leads out of its container, or is no UTF-8.
    """
    check_utf8(name)
    if _OTHER_SPELLING.search(name) is None:
        return name
    parts: list[str] = []
    for part in _DRIVE.sub("", name.replace("\\", "/"), count=1).split("/"):
        if part == "..":
            if not parts:
                raise MisnamedError(f"{name!r}: this name leads out of the place that it is in")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if not parts or "\0" in name:
        raise MisnamedError(f"{name!r}: this is not a name of a file")
    return "/".join(parts)


def other_spellings(name: str) -> Iterator[str]:
    """The names under which a file may lie in a folder or object store, beside its plain one.

    Programs that do not know backslashes write `imgs\\1.jpg` as the name of a file.
    """
    parts = name.split("/")
    for start in range(len(parts) - 1):
        yield "/".join((*parts[:start], "\\".join(parts[start:])))


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it lies in, is hidden."""
    return any(part.startswith(HIDDEN) for part in name.split("/"))


def suffix_of(name: str) -> str:
    """The suffix of a name, in lower case with its dot; empty where there is none."""
    start = name.rfind(".")
    return name[start:].lower() if start > name.rfind("/") + 1 else ""


def natural_order(name: str) -> str:
    """A key that sorts names with their numbers in order: `block-2` before `block-10`."""
    parts = _DIGITS_OR_NOT.findall(name)
    return "".join(
        part.lstrip("0").zfill(20) if part[0] in "0123456789" else part for part in parts
    )
