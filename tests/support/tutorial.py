"""docs/tutorial.md as its reader follows it: its code blocks one after the other, in one folder."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.clusters import without_ray_address
from support.places import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARKED = re.compile(r"~\\?-?\d[\d,]*(?:\\?\.\d+)?|…")
VARIES = "~"
"""stands on the page before a number that differs from machine to machine"""


@dataclass(frozen=True)
class Step:
    """A block of commands, and the lines of its output that the page shows below it."""

    commands: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A file that the page has its reader write; its first line is a comment with its name."""

    name: str
    text: str


def blocks(page: str) -> Iterator[Step | Written]:
    """The blocks of a page in their order.

    Raises:
        ValueError: a block is of another language, or output stands below no command.
    """
    fenced = [(match[1], match[2]) for match in FENCED.finditer(page)]
    if len(fenced) != page.count("\n```") // 2:
        raise ValueError("a block names no language")
    for number, (language, text) in enumerate(fenced):
        following = fenced[number + 1] if number + 1 < len(fenced) else ("", "")
        match language:
            case "sh":
                shown = following[1].splitlines() if following[0] == "text" else []
                yield Step(text, tuple(shown))
            case "python":
                yield Written(text.partition("\n")[0].removeprefix("# "), text)
            case "text" if number and fenced[number - 1][0] == "sh":
                pass
            case _:
                raise ValueError(f"a block of {language!r} cannot be followed")


def follow(step: Step, folder: Path) -> str:
    """Run a block in a folder, with the programs of this environment, and give all its output.

    Raises:
        RuntimeError: a command failed; the message ends with the output.
    """
    programs = str(Path(sys.executable).parent)
    environment = without_ray_address() | {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.commands], cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} of\n{step.commands}\n{done.stdout}")
    return done.stdout


def missing_lines(shown: tuple[str, ...], output: str) -> list[str]:
    """Those of the lines that a page shows that an output lacks, or has in another order.

    A shown line may lack the beginning and the end of a line of the output, and spaces of it. `…`
    stands for anything in it, and a number after `~` for any number.
    """
    lines, missing = iter(output.splitlines()), []
    for text in shown:
        wanted = re.compile(_pattern(text))
        if not any(wanted.search(line) for line in lines):
            missing.append(text)
            lines = iter(())
    return missing


def _pattern(shown: str) -> str:
    """The regular expression of a shown line."""
    fixed = r"\s+".join(re.escape(word) for word in shown.split()).replace(r"\~", VARIES)
    return MARKED.sub(lambda part: r"-?\d[\d,.]*" if VARIES in part[0] else ".*", fixed)
