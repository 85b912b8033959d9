"""Inputs of a listing: files with one stem belong together."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from factory.sources.files import FileFacts, Files, open_files
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


class StemFiles:
    """The inputs of a place whose files belong together by stem; opened when first asked."""

    def __init__(self, location: str | Path, suffixes: Iterable[str]):
        self.location = location
        self.suffixes = frozenset(suffixes)

    @cached_property
    def files(self) -> Files:
        """Every file of the place."""
        return open_files(self.location)

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """Names of each input's files, by the input's id."""
        return files_by_stem(self.files.facts(), self.suffixes)

    def listing(self) -> list[InputFacts]:
        """Every input, in natural order of its id."""
        facts = self.files.facts()
        return in_natural_order(
            input_facts(stem, [facts[name] for name in names])
            for stem, names in self.by_stem.items()
        )
