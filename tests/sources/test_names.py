"""One spelling of a name, wherever it comes from."""

import io
import os
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from factory.domains.eye.sources.pictures import PicturesOptions, PicturesSource
from factory.images.png import encode_png
from factory.sources.archives import open_archive
from factory.sources.members import DamagedFileError, check_size
from factory.sources.names import MisnamedError, is_hidden, other_spellings, plain_name, suffix_of
from factory.sources.scan import Container, Ignored
from factory.store.local import LocalStore


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("imgs/1.jpg", "imgs/1.jpg"),
        ("./imgs/1.jpg", "imgs/1.jpg"),
        (".//imgs//1.jpg", "imgs/1.jpg"),
        ("a/./1.jpg", "a/1.jpg"),
        ("a/../b/1.jpg", "b/1.jpg"),
        ("/data/1.jpg", "data/1.jpg"),
        ("imgs\\1.jpg", "imgs/1.jpg"),
        (".\\imgs\\1.jpg", "imgs/1.jpg"),
        ("C:\\renders\\p00\\1.jpg", "renders/p00/1.jpg"),
        ("C:/renders/1.jpg", "renders/1.jpg"),
        ("...1.jpg", "...1.jpg"),
        ("a..b/1.jpg", "a..b/1.jpg"),
        ("x:1.jpg", "x:1.jpg"),
    ],
)
def test_a_name_has_one_spelling(name, plain) -> None:
    assert plain_name(name) == plain == plain_name(plain)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../renders/1.jpg", "leads out"),
        ("a/../../1.jpg", "leads out"),
        ("..\\1.jpg", "leads out"),
        ("", "not a name"),
        ("./", "not a name"),
        ("a\0.jpg", "not a name"),
        ("n\udce4chte.jpg", "not UTF-8"),
    ],
)
def test_what_is_no_name_is_refused(name, why) -> None:
    with pytest.raises(MisnamedError, match=why):
        plain_name(name)


def test_suffixes_and_hidden_files() -> None:
    assert suffix_of("a.b/1.JPG") == ".jpg"
    assert suffix_of("a.b/1") == suffix_of("a/.hidden") == ""
    assert is_hidden("a/.cache/1.jpg") and is_hidden("lost+found/1.jpg")
    assert not is_hidden("a.b/1.jpg")
    assert list(other_spellings("a/b/1.jpg")) == ["a\\b\\1.jpg", "a/b\\1.jpg"]


# --- containers ---------------------------------------------------------------------------------


def found(location: Path) -> tuple[dict[str, float], dict[str, str], Mapping[str, int]]:
    """(mean of each picture by id, problems by name, what was ignored) of a location."""
    source = PicturesSource(location, PicturesOptions())
    ids, problems, ignored = [], {}, {}
    for item in source.scan({}):
        if isinstance(item, Ignored):
            ignored = item.counts
        elif isinstance(item, Container):
            problems |= {item.name: item.problem} if item.problem else {}
        else:
            ids += item["id"].to_pylist()
    return {id: float(source.load(id).image.mean()) for id in ids}, problems, dict(ignored)


def picture(level: int) -> bytes:
    return encode_png(np.full((60, 80), level, np.uint8))


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **changes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for attribute, value in changes.items():
        setattr(member, attribute, value)
    tar.addfile(member, io.BytesIO(content))


def test_members_of_a_tar_are_what_a_standard_tool_extracts(tmp_path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "./twice.png", picture(10))
        add(tar, "plain.png", picture(20))
        add(tar, "twice.png", picture(30))
        add(tar, "hard.png", type=tarfile.LNKTYPE, linkname="plain.png")
        add(tar, "below/soft.png", type=tarfile.SYMTYPE, linkname="../plain.png")
        add(tar, "chain.png", type=tarfile.SYMTYPE, linkname="below/soft.png")
        add(tar, "loop.png", type=tarfile.SYMTYPE, linkname="loop.png")
        add(tar, "away.png", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "pipe.png", type=tarfile.FIFOTYPE)
        add(tar, "../out.png", picture(40))
        add(tar, "note.txt", b"x")
        add(tar, "inner.zip", b"x")
    means, problems, ignored = found(tmp_path)
    by_name = {id.removeprefix("a.tar/"): mean for id, mean in means.items()}
    assert by_name == pytest.approx(
        {"twice": 30, "plain": 20, "hard": 20, "below/soft": 20, "chain": 20}
    )
    assert list(problems) == ["a.tar"] and "'../out.png'" in problems["a.tar"]
    assert ignored == {
        "links that lead to no file": 2, "members that are no files": 1, ".txt": 1,
        "members that a later one of the same name replaces": 1, ".zip in an archive": 1,
    }  # fmt: skip


def test_a_sparse_member_is_read_with_its_holes(tmp_path) -> None:
    content = bytearray(3 << 20)
    content[1 << 20 : (1 << 20) + 5000] = os.urandom(5000)
    content[-1:] = b"x"
    (tmp_path / "1.png").write_bytes(b"")
    with (tmp_path / "1.png").open("r+b") as file:
        for start in (1 << 20, len(content) - 1):
            file.seek(start)
            file.write(content[start : start + 5000])

    for form in ("gnu", "posix"):
        command = ["tar", "-C", str(tmp_path), f"--format={form}", "-S", "-cf"]
        subprocess.run([*command, str(tmp_path / f"{form}.tar"), "1.png"], check=True)
        assert (tmp_path / f"{form}.tar").stat().st_size < 1 << 20, "it was stored sparsely"
        archive = open_archive(LocalStore(tmp_path), f"{form}.tar")
        (file,) = archive.files()
        assert (file.name, file.size) == ("1.png", len(content))
        assert archive.read("1.png") == content


@pytest.mark.parametrize("form", ["w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("ending", [".tar", ".tgz", ".tar.xz"])
def test_a_compressed_tar_is_read_whatever_it_is_called(tmp_path, form, ending) -> None:
    with tarfile.open(tmp_path / f"a{ending}", form) as tar:
        add(tar, "1.png", picture(10))
    (tmp_path / "b.json.gz").write_bytes(b"x")
    means, problems, ignored = found(tmp_path)
    assert (means, problems, ignored) == ({f"a{ending}/1": 10.0}, {}, {".gz": 1})
    raw = (tmp_path / f"a{ending}").read_bytes()
    (tmp_path / f"a{ending}").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "2.png").write_bytes(picture(20))
    means, problems, _ = found(tmp_path)
    assert list(means) == ["2"] and list(problems) == [f"a{ending}"]


def test_members_of_a_zip_follow_the_same_rules(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("imgs\\1.png", picture(10))
        archive.writestr("./imgs/2.png", picture(20))
        archive.writestr("imgs/2.png", picture(30))
        link = zipfile.ZipInfo("imgs/3.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "2.png")
        nowhere = zipfile.ZipInfo("imgs/4.png")
        nowhere.external_attr = link.external_attr
        archive.writestr(nowhere, "5.png")
        archive.writestr("../6.png", picture(60))
        archive.writestr("folder/", b"")
    means, problems, ignored = found(tmp_path)
    assert means == {"a.zip/imgs/1": 10, "a.zip/imgs/2": 30, "a.zip/imgs/3": 30}
    assert list(problems) == ["a.zip"] and "'../6.png'" in problems["a.zip"]
    assert ignored == {
        "links that lead to no file": 1, "members that a later one of the same name replaces": 1,
    }  # fmt: skip


def test_a_file_that_another_system_named_is_found_again(tmp_path) -> None:
    (tmp_path / "imgs\\p00\\1.png").write_bytes(picture(10))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "imgs\\2.png").write_bytes(picture(20))
    (tmp_path / "a\\b").mkdir()
    (tmp_path / "a\\b" / "3.png").write_bytes(picture(30))
    means, problems, _ = found(tmp_path)
    assert means == {"imgs/p00/1": 10, "b/imgs/2": 20}
    assert [why for why in problems.values() if "rename" in why]


def test_links_and_what_is_no_file_are_counted(tmp_path) -> None:
    (tmp_path / "1.png").write_bytes(picture(10))
    (tmp_path / "2.png").symlink_to("1.png")
    (tmp_path / "3.png").symlink_to("../.git/annex/objects/3.png")
    (tmp_path / "x.png").symlink_to("y.png")
    (tmp_path / "y.png").symlink_to("x.png")
    (tmp_path / "self").symlink_to(".")
    os.mkfifo(tmp_path / "4.png")
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "README").write_bytes(b"")
    means, problems, ignored = found(tmp_path)
    assert means == {"1": 10, "2": 10} and problems == {}
    assert ignored == {
        "links that lead to no file": 3, "pipes, sockets and devices": 1, "hidden": 1,
        "without a suffix": 1,
    }  # fmt: skip


# --- budgets ------------------------------------------------------------------------------------


def test_a_file_that_unpacks_to_far_more_is_refused_before_it_is_unpacked(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(1 << 26))
    source = PicturesSource(tmp_path, PicturesOptions())
    with pytest.raises(Exception, match="would be unpacked from"):
        source.load("a.zip/1")


def test_a_member_that_holds_more_than_it_says_is_damaged(tmp_path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("1.png", bytes(1 << 24))
    raw = path.read_bytes()
    path.write_bytes(raw.replace((1 << 24).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    source = PicturesSource(tmp_path, PicturesOptions())
    with pytest.raises(Exception, match="cannot be unpacked"):
        source.load("a.zip/1")


def test_a_large_sparse_file_is_not_read(tmp_path) -> None:
    with (tmp_path / "1.png").open("wb") as file:
        file.truncate(1 << 31)
    source = PicturesSource(tmp_path, PicturesOptions())
    with pytest.raises(Exception, match="more than the"):
        source.load("1")
    check_size("1.png", 1 << 24, packed=1)
    with pytest.raises(DamagedFileError):
        check_size("1.png", (1 << 24) + 1, packed=1)
