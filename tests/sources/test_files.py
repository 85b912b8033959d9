"""Folder, tar and zip are three wrappings of the same inputs."""

import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.base import BadRender, Vanished
from factory.sources.files import open_files
from factory.sources.scan import Container
from support import fakes


@pytest.fixture
def folder(tmp_path) -> Path:
    for number in (1, 2, 10):
        fakes.write_pair(tmp_path / "in" / "imgs", str(number), seed=number)
    (tmp_path / "in" / "imgs" / ".3.jpg").write_bytes(b"hidden")
    (tmp_path / "in" / "__MACOSX").mkdir()
    (tmp_path / "in" / "__MACOSX" / "4.jpg").write_bytes(b"hidden")
    return tmp_path / "in"


def to_tar(folder: Path, prefix: str = ".") -> Path:
    path = folder.parent / "in.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder, arcname=prefix)
    return path


def to_zip(folder: Path) -> Path:
    path = folder.parent / "in.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
    return path


def source_of(location: Path) -> UnityEyesSource:
    return UnityEyesSource(location, UnityEyesOptions())


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [to_tar, lambda folder: to_tar(folder, ""), to_zip])
def test_an_archive_gives_the_samples_that_its_folder_gives(folder, wrap) -> None:
    plain, wrapped = source_of(folder), source_of(wrap(folder))
    ids = [facts.id for facts in plain.listing()]
    assert ids == ["imgs/1", "imgs/2", "imgs/10"]
    assert [facts.id for facts in wrapped.listing()] == ids
    assert [f.size for f in wrapped.listing()] == [f.size for f in plain.listing()]
    for source_id in ids:
        one, other = plain.load(source_id), wrapped.load(source_id)
        assert np.array_equal(one.image, other.image)
        assert (one.image_sha256, one.label_sha256) == (other.image_sha256, other.label_sha256)


@pytest.mark.slow
def test_archives_give_the_same_dataset_as_the_folder(folder, tmp_path) -> None:
    shas = set()
    for number, location in enumerate((folder, to_tar(folder), to_zip(folder))):
        dataset = fakes.ingest_here(location, tmp_path / str(number), UnityEyesOptions())
        shas.add(dataset.facts(0).tar_sha256)
    assert len(shas) == 1


def test_a_tar_member_that_is_there_twice_is_the_last_one(folder) -> None:
    path = to_tar(folder, "")
    fakes.write_pair(folder.parent / "new" / "imgs", "1", seed=77)
    with tarfile.open(path, "a") as tar:
        tar.add(folder.parent / "new" / "imgs" / "1.jpg", arcname="imgs/1.jpg")
    assert open_files(path).read("imgs/1.jpg") == fakes.jpeg(fakes.grey_picture(seed=77))


def test_a_damaged_member_of_a_zip_is_set_aside_alone(folder) -> None:
    path = to_zip(folder)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("imgs/2.jpg")
    raw = bytearray(path.read_bytes())
    middle = entry.header_offset + entry.compress_size // 2
    raw[middle : middle + 20] = bytes(20)
    path.write_bytes(raw)
    source = source_of(path)
    with pytest.raises(BadRender, match=r"imgs/2\.jpg cannot be unpacked"):
        source.load("imgs/2")
    assert source.load("imgs/1").image.shape == (35, 55)


def test_a_zip_without_dates_can_be_listed(folder) -> None:
    path = to_zip(folder)
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        stamps = {entry.date_time for entry in archive.infolist()}
    for year, month, day, hour, minute, second in stamps:
        date = ((year - 1980) << 9 | month << 5 | day).to_bytes(2, "little")
        time = (hour << 11 | minute << 5 | second // 2).to_bytes(2, "little")
        raw = raw.replace(time + date, bytes(4))
    path.write_bytes(raw)
    with zipfile.ZipFile(path) as archive:
        assert {entry.date_time[:3] for entry in archive.infolist()} == {(1980, 0, 0)}
    assert len(source_of(path).listing()) == 3


def test_a_link_to_a_folder_above_is_not_followed_for_ever(folder) -> None:
    (folder / "imgs" / "loop").symlink_to(folder, target_is_directory=True)
    assert [facts.id for facts in source_of(folder).listing()] == ["imgs/1", "imgs/2", "imgs/10"]


def test_linked_folders_are_read(folder, tmp_path) -> None:
    (tmp_path / "collected").mkdir()
    (tmp_path / "collected" / "a").symlink_to(folder, target_is_directory=True)
    assert len(source_of(tmp_path / "collected").listing()) == 3


def test_names_with_digits_of_every_script_are_ordered(folder) -> None:
    for name in ("x²", "x٣", "x2"):
        fakes.write_pair(folder, name)
    ids = [facts.id for facts in source_of(folder).listing()]
    assert set(ids) >= {"x²", "x٣", "x2"}
    assert ids.index("x2") < ids.index("x٣")


def test_what_is_no_input_is_refused_with_its_name(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        open_files(tmp_path / "nowhere")
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"note\.txt: expected a zip or a tar archive"):
        source_of(tmp_path / "note.txt").listing()
    with pytest.raises(ValueError, match="gs://"):
        open_files("gs://bucket/renders")


@pytest.fixture
def stranger() -> Iterator[Path]:
    """A folder in the eyes of a user whom it does not belong to."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_another_user() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_may_not_be_read_is_named_and_everything_else_listed(stranger) -> None:
    for number in "123":
        fakes.write_pair(stranger / "a", number)
        fakes.write_pair(stranger / "locked", number)
    to_tar(stranger / "a")
    (stranger / "in.tar").chmod(0o600)
    (stranger / "a" / "2.jpg").chmod(0o600)
    (stranger / "locked").chmod(0o700)
    with as_another_user():
        items = list(source_of(stranger).scan({}))
    named = {item.name: item.problem for item in items if isinstance(item, Container)}
    assert set(named) == {"a/2.jpg", "locked/", "in.tar"}
    assert all(str(stranger) in why and "denied" in why for why in named.values())
    batches = (item["id"].to_pylist() for item in items if isinstance(item, pa.RecordBatch))
    assert {id for ids in batches for id in ids} == {"a/1", "a/2", "a/3"}


def test_an_input_that_may_not_be_read_any_more_is_planned_again_when_it_may(stranger) -> None:
    fakes.write_pair(stranger, "1")
    source = source_of(stranger)
    assert [facts.id for facts in source.listing()] == ["1"]
    for suffix in (".jpg", ".json"):
        (stranger / f"1{suffix}").chmod(0o600)
    with as_another_user(), pytest.raises(Vanished):
        source.load("1")


def test_an_input_of_three_files_is_refused_without_a_look_at_all_others(folder, tmp_path) -> None:
    fakes.write_pair(folder / "imgs", "10")
    (folder / "imgs" / "10.jpeg").write_bytes(b"x")
    dataset = fakes.plan_here(folder, tmp_path / "out", UnityEyesOptions())
    suffixes = {planned.id: planned.suffixes for planned in dataset.plan(0).inputs}
    assert suffixes["imgs/10"] == ".jpeg .jpg .json"
    source = source_of(folder)
    source.expect(suffixes)
    source.files.walk = None  # type: ignore[method-assign,assignment]
    with pytest.raises(BadRender, match=r"more than one pair: imgs/10\.jpeg, imgs/10\.jpg"):
        source.load("imgs/10")
