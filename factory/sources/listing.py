"""Inputs of a listing: files with one stem belong together."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from factory.sources.files import FileFacts
from schemas.dataset import InputFacts

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


def natural(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which `imgs/2` comes before `imgs/10`."""
    return tuple(
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", name)
        if part
    )


def files_by_stem(names: Iterable[str], suffixes: Iterable[str]) -> dict[str, list[str]]:
    """`{"imgs/18": ["imgs/18.jpg", "imgs/18.json"]}`, names in order, other suffixes left out."""
    wanted = frozenset(suffixes)
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.suffix.lower() in wanted:
            found[str(path.with_suffix(""))].append(name)
    return dict(found)


def input_facts(stem: str, files: Iterable[FileFacts]) -> InputFacts:
    """One input's facts from those of its files."""
    facts = list(files)
    return InputFacts(
        id=stem, size=sum(f.size for f in facts), mtime_ns=max(f.mtime_ns for f in facts)
    )


def in_natural_order(inputs: Iterable[InputFacts]) -> list[InputFacts]:
    """By id; equal natural keys (`1` and `01`) by the id itself."""
    return sorted(inputs, key=lambda facts: (natural(facts.id), facts.id))
