"""Where everything went that a run of ingest came across."""

from pathlib import Path

import pytest

from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.ingestion.opening import card_of
from factory.ingestion.run import TooManyIgnoredError, ingest_new_inputs
from schemas.inputs import InputsSummary, counted
from support import fakes


def ingested(folder: Path, output: Path, **options) -> InputsSummary:
    source = UnityEyesSource(folder, UnityEyesOptions())
    card = card_of(source, str(output), splits={"train": 1})
    written: list[InputsSummary] = []
    try:
        ingest_new_inputs(
            source,
            str(output),
            card,
            max_reject_share=1,
            make_shards=fakes.make_shards_here,
            write_summary=written.append,
            **options,
        )
    except ValueError as error:
        if not written:
            raise
        assert "everything else is done" in str(error)
    return written[0]


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in range(3):
        fakes.write_pair(tmp_path / "in", str(number))
    (tmp_path / "in" / "2.json").write_bytes(b"{")
    (tmp_path / "in" / "half.tar").write_bytes(b"half an archive")
    for name in ("a.bmp2", "b.bmp2", "notes.txt", ".hidden", "LICENSE"):
        (tmp_path / "in" / name).write_bytes(b"x")
    return tmp_path / "in"


@pytest.mark.slow
def test_every_listed_thing_is_somewhere_in_the_summary(folder, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    summary = ingested(folder, tmp_path / "eyes")
    assert (summary.num_listed, summary.num_new) == (3, 3)
    assert (summary.num_samples, summary.num_rejected, summary.num_filtered) == (2, 1, 0)
    assert sum(summary.reasons.values()) == 1
    assert summary.ignored == {".bmp2": 2, ".txt": 1, "hidden": 1, "without a suffix": 1}
    assert summary.num_ignored == 4
    (unreadable,) = summary.unreadable
    assert "half.tar" in unreadable
    assert "ignored, as no inputs of this source: 2 .bmp2, 1" in caplog.text
    again = ingested(folder, tmp_path / "eyes")
    assert (again.num_listed, again.num_new, again.num_samples) == (3, 0, 0)
    assert again.ignored == summary.ignored and again.unreadable == summary.unreadable


def test_a_run_fails_where_more_is_ignored_than_allowed(folder, tmp_path) -> None:
    with pytest.raises(TooManyIgnoredError, match=r"4 of 10 files .* 39\.0%.*2 \.bmp2"):
        ingested(folder, tmp_path / "eyes", max_ignored_share=0.39)
    assert not (tmp_path / "eyes").exists(), "nothing was planned"
    assert ingested(folder, tmp_path / "eyes", max_ignored_share=0.4).num_new == 3


def test_a_folder_of_other_files_says_what_is_there(tmp_path) -> None:
    (tmp_path / "1.bmp2").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no unityeyes inputs .* other kinds: 1 \.bmp2"):
        ingested(tmp_path, tmp_path.parent / "eyes")


def test_many_kinds_fit_on_one_line() -> None:
    assert counted({f".{n}": n for n in range(1, 12)}).endswith("4 .4, 6 of other kinds")
