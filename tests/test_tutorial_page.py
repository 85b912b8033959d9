"""docs/tutorial.md is followed as a reader follows it, command by command, in an empty folder."""

import ast
import re
from pathlib import Path

import pytest

from factory.images.png import check_png
from support.places import ROOT
from support.tutorial import PAGE, Step, Written, blocks, follow, missing_lines

TEXT = PAGE.read_text()
BLOCKS = list(blocks(TEXT))
MAX_PICTURE_BYTES = 200_000


def test_the_page_goes_from_renders_to_a_training_on_the_release() -> None:
    commands = "".join(block.commands for block in BLOCKS if isinstance(block, Step))
    jobs = re.findall(r"^simgan-factory (\w+)", commands, re.MULTILINE)
    ways = ["simulate", "ingest", "train", "refine", "validate", "publish"]
    assert [job for job in dict.fromkeys(jobs) if job in ways] == ways
    (written,) = [block for block in BLOCKS if isinstance(block, Written)]
    assert isinstance(BLOCKS[-1], Step) and written.name in BLOCKS[-1].commands
    ast.parse(written.text)


def test_the_pictures_of_the_page_are_small_pngs() -> None:
    pictures = re.findall(r"\]\((pictures/tutorial-[\w-]+\.png)\)", TEXT)
    stored = {f"pictures/{path.name}" for path in (ROOT / "docs/pictures").glob("tutorial-*.png")}
    assert len(pictures) >= 5 and set(pictures) == stored
    for picture in pictures:
        raw = (PAGE.parent / picture).read_bytes()
        assert len(raw) < MAX_PICTURE_BYTES
        (_, width, *_), _ = check_png(raw)
        assert 400 <= width <= 1200


def test_output_that_a_page_shows_and_a_job_did_not_print_is_found() -> None:
    printed = (
        "12:00:01 INFO made: 40 of 50\n12:00:02 INFO closed 61 % of 7\nreport: /tmp/a/b.html\n"
    )
    assert missing_lines(("made: 40 of 50", "closed ~58 % of 7", "report: …/b.html"), printed) == []
    assert missing_lines(("made: 41 of 50",), printed) == ["made: 41 of 50"]
    assert missing_lines(("closed 58 % of 7",), printed) == ["closed 58 % of 7"]
    assert missing_lines(("closed ~58 % of 8",), printed) == ["closed ~58 % of 8"]
    assert missing_lines(("closed ~58 %", "made: 40"), printed) == ["made: 40"]


def test_a_block_that_cannot_be_followed_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="cannot be followed"):
        list(blocks("\n```yaml\na: 1\n```\n"))
    with pytest.raises(ValueError, match="names no language"):
        list(blocks("\n```\nls\n```\n"))
    with pytest.raises(RuntimeError, match="exit code 3 of\nexit 3"):
        follow(Step("exit 3", ()), tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The reader's folder, empty at first; each block finds what those before it made."""
    return tmp_path_factory.mktemp("tutorial")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1800)  # the training takes a minute, and ten on a machine that is overloaded
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_page_is_followed_and_prints_what_it_says(number, folder) -> None:
    match BLOCKS[number]:
        case Written(name, text):
            (folder / name).write_text(text)
        case Step() as step:
            output = follow(step, folder)
            assert missing_lines(step.shown, output) == [], output
