"""The log of a run."""

import logging
from pathlib import Path

from cluster.job.command import JobConfig
from cluster.job.start import logged_run
from schemas.place import Place


class SampleJob(JobConfig):
    """A job for these tests."""


def test_a_name_in_the_log_can_neither_move_the_cursor_nor_forge_a_line(tmp_path, capsys) -> None:
    with logged_run(SampleJob(), tmp_path):
        name = "1.jpg\n00:00:00 INFO all is well\x1b[1A"
        logging.getLogger("factory").info("set aside: %s", name)
        logging.getLogger("factory").info(f"also {chr(27)}[2K of a message\nthat has two lines")
    (path,) = Path(tmp_path).glob("runs/*/log.txt")
    for text in (path.read_text(), capsys.readouterr().err):
        assert "\x1b" not in text and text.count("\n") == 3
        assert r"set aside: 1.jpg\n00:00:00 INFO all is well\x1b[1A" in text


def test_a_run_begins_with_its_places_as_every_machine_understands_them(
    tmp_path, monkeypatch, capsys
) -> None:
    class PlacedJob(JobConfig):
        input: Place
        output: Place
        kept: Place | None = None

    monkeypatch.chdir(tmp_path)
    with logged_run(PlacedJob(input="in", output="s3://bucket/out"), "out"):
        pass
    first = capsys.readouterr().err.splitlines()[0]
    assert first.endswith(f"places: input {tmp_path}/in, output s3://bucket/out")
