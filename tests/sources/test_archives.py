"""Archives in folders, and folders and archives in an object store: the same inputs again."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from factory.domains.eye.sources.unityeyes import UnityEyesOptions, UnityEyesSource
from factory.sources.archives import open_archive
from factory.sources.ranged_file import RangedFile
from factory.sources.scan import Container, Ignored
from factory.store.base import Store
from factory.store.local import LocalStore
from support import fakes

SUFFIXES = frozenset({".jpg", ".json"})


class CountingStore:
    """A store that is no local folder, as far as readers can tell, and counts what they read."""

    def __init__(self, root: Path):
        self._store = LocalStore(root)
        self.location = self._store.location
        self.ranges: list[tuple[int, int]] = []

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return self._store.read_range(name, offset, length)


def source_of(location: object) -> UnityEyesSource:
    return UnityEyesSource(str(location), UnityEyesOptions())


def write_archive(path: Path, *numbers: int) -> None:
    """A tar or zip with `imgs/N.jpg` and `imgs/N.json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {}
    for number in numbers:
        members[f"imgs/{number}.jpg"] = fakes.jpeg(fakes.grey_picture(seed=number))
        fakes.write_pair(path.parent / ".pairs", str(number))
        members[f"imgs/{number}.json"] = (path.parent / ".pairs" / f"{number}.json").read_bytes()
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1_700_000_000
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def drops(tmp_path) -> Path:
    """A nightly drop: renders beside archives of renders."""
    folder = tmp_path / "drops"
    fakes.write_pair(folder, "0")
    write_archive(folder / "night1.tar", 1, 2)
    write_archive(folder / "deep" / "Night2.ZIP", 3, 10)
    (folder / "unpacked.tar").mkdir()
    fakes.write_pair(folder / "unpacked.tar", "7")
    return folder


ALL_IDS = ["0", "deep/Night2.ZIP/imgs/3", "deep/Night2.ZIP/imgs/10", "night1.tar/imgs/1",
           "night1.tar/imgs/2", "unpacked.tar/7"]  # fmt: skip


@pytest.mark.slow
def test_archives_in_a_folder_are_inputs_too(drops, tmp_path) -> None:
    source = source_of(drops)
    ids = [facts.id for facts in source.listing()]
    assert ids == ALL_IDS
    for source_id in ids:
        assert source.load(source_id).image.shape == (35, 55)
    dataset = fakes.ingest_here(drops, tmp_path / "eyes", UnityEyesOptions(), shard_size=4)
    assert [dataset.facts(shard).num_samples for shard in dataset.committed()] == [4, 2]


def test_a_worker_that_knows_the_plan_lists_nothing(drops, tmp_path, monkeypatch) -> None:
    dataset = fakes.plan_here(drops, tmp_path / "eyes", UnityEyesOptions())
    monkeypatch.delattr("factory.sources.files.Tree.walk")
    fakes.build_here(dataset, drops, UnityEyesOptions())
    assert sum(dataset.facts(shard).num_samples for shard in dataset.committed()) == 6


@pytest.mark.slow
def test_an_unchanged_archive_is_not_opened(drops, tmp_path, monkeypatch) -> None:
    for location in (drops, drops / "night1.tar"):
        dataset = fakes.plan_here(location, tmp_path / f"of {location.name}", UnityEyesOptions())
        first = fakes.plan_from(dataset, source_of(location))
        with monkeypatch.context() as patch:
            patch.delattr("factory.sources.files.open_archive")
            again = fakes.plan_from(dataset, source_of(location))
        assert again == first and again.num_new == 0
        assert again.num_listed == (6 if location == drops else 2)


@pytest.mark.slow
def test_a_rewritten_archive_is_read_again_and_only_what_changed_in_it_planned(
    drops, tmp_path
) -> None:
    dataset = fakes.ingest_here(drops, tmp_path / "eyes", UnityEyesOptions(), shard_size=10)
    write_archive(drops / "night1.tar", 1, 2, 5)
    write_archive(drops / "deep" / "Night2.ZIP", 3)
    fakes.ingest_here(drops, tmp_path / "eyes", UnityEyesOptions(), shard_size=10)
    assert [planned.id for planned in dataset.plan(1).inputs] == ["night1.tar/imgs/5"]
    assert dataset.planned() == [0, 1]


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_remote_archive_is_read_by_ranges(tmp_path, monkeypatch, name) -> None:
    """In order with few requests, out of order without reading much that nobody asked for."""
    write_archive(tmp_path / name, *range(40))
    num_bytes = (tmp_path / name).stat().st_size
    names = [file.name for file in open_archive(LocalStore(tmp_path), name).files()]
    assert len(names) == 80
    pairs = [names[start : start + 2] for start in range(0, 80, 2)]
    scattered = [name for pair in pairs[::3] + pairs[1::3] for name in pair]
    for order, ahead, max_requests, max_bytes in (
        (names, 1 << 18, 12, 1.5 * num_bytes),
        (scattered, 1 << 18, len(scattered), 4 * num_bytes),
        (names[::-1], 1 << 18, 80, 4 * num_bytes),
    ):
        monkeypatch.setattr("factory.sources.ranged_file.AHEAD_BYTES", ahead)
        store = CountingStore(tmp_path)
        remote, local = open_archive(store, name), open_archive(LocalStore(tmp_path), name)
        assert list(remote.files()) == list(local.files())
        store.ranges.clear()
        for member in order:
            assert remote.read(member) == local.read(member)
        assert len(store.ranges) <= max_requests
        assert sum(length for _, length in store.ranges) <= max_bytes


def test_a_file_read_by_ranges_is_the_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("factory.sources.ranged_file.AHEAD_BYTES", 7)
    content = bytes(range(100))
    (tmp_path / "x").write_bytes(content)
    ranged, plain = RangedFile(CountingStore(tmp_path), "x"), io.BytesIO(content)
    for offset, whence, length in [(0, 0, 5), (0, 1, 20), (-3, 2, 9), (50, 0, 7), (2, 1, 3),
                                   (-10, 1, 4), (200, 0, 5), (0, 0, -1), (95, 0, 100)]:  # fmt: skip
        assert ranged.seek(offset, whence) == plain.seek(offset, whence)
        assert ranged.read(length) == plain.read(length)
        assert ranged.tell() == plain.tell()


# --- archives that are damaged, or hold what is no file ---------------------------------------


def scanned(location: object) -> tuple[set[str], list[Container], Mapping[str, int]]:
    """(ids of inputs, containers, what was ignored) of a location."""
    containers, ids, ignored = [], set(), {}
    for item in source_of(location).scan({}):
        if isinstance(item, Container):
            containers.append(item)
        elif isinstance(item, Ignored):
            ignored = item.counts
        else:
            ids.update(item["id"].to_pylist())
    return ids, containers, ignored


def problems_of(location: Path) -> list[str]:
    return [c.problem for c in scanned(location)[1] if c.problem is not None]


def damage(path: Path, how: str) -> None:
    """Damage a tar at the header of its fourth file, `imgs/2.json`."""
    with tarfile.open(path) as tar:
        at = tar.getmembers()[3].offset
    raw = bytearray(path.read_bytes())
    if how == "flipped":
        raw[at + 10] ^= 0xFF
    elif how == "zeroed":
        raw[at : at + 1024] = bytes(1024)
    elif how == "joined":
        raw *= 2
    else:
        del raw[at + {"at a member": 0, "in a header": 200, "in a file": 600}[how] :]
    path.write_bytes(raw)


@pytest.mark.parametrize(
    "how", ["flipped", "zeroed", "joined", "at a member", "in a header", "in a file"]
)
def test_a_tar_whose_list_ends_early_is_named_and_what_is_whole_before_it_read(drops, how) -> None:
    damage(drops / "night1.tar", how)
    ids, containers, _ = scanned(drops)
    (named,) = (c for c in containers if c.problem is not None)
    assert named.name == "night1.tar" and "night1.tar" in named.problem
    assert ids == {*ALL_IDS} - ({"night1.tar/imgs/2"} if how != "joined" else set())


@pytest.mark.parametrize("keep", [0, 100, 700])
def test_a_tar_without_a_whole_input_hides_nothing_else(drops, keep) -> None:
    raw = (drops / "night1.tar").read_bytes()
    (drops / "night1.tar").write_bytes(raw[:keep])
    ids, containers, _ = scanned(drops)
    assert [c.name for c in containers if c.problem is not None] == ["night1.tar"]
    assert ids == {id for id in ALL_IDS if "night1" not in id}


def test_a_whole_tar_has_no_problem_whatever_its_padding(drops) -> None:
    for padding in (0, 512, 1 << 20):
        path = drops / "night1.tar"
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(3 * 512 + padding))
        raw = path.read_bytes()
        path.write_bytes(raw + bytes(-len(raw) % 512))
        assert problems_of(drops) == []


# --- object stores ----------------------------------------------------------------------------


def upload(folder: Path, store: Store) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.put(f"in/{path.relative_to(folder)}", path.read_bytes())


@pytest.mark.s3
def test_a_prefix_gives_the_inputs_that_its_folder_gives(drops, tmp_path, moto_store) -> None:
    upload(drops, moto_store)
    remote, local = source_of(f"{moto_store.location}/in"), source_of(drops)
    theirs, ours = list(remote.listing()), list(local.listing())
    assert [(f.id, f.size, f.suffixes) for f in theirs] == [
        (f.id, f.size, f.suffixes) for f in ours
    ]
    without = [facts.id for facts in theirs if facts.etag is None]
    assert without == ["night1.tar/imgs/1", "night1.tar/imgs/2"], "a tar keeps no digests"
    for facts in ours:
        assert remote.load(facts.id).image_sha256 == local.load(facts.id).image_sha256


@pytest.mark.s3
def test_an_ingest_of_a_prefix_notices_by_etag_what_was_rewritten(
    drops, tmp_path, moto_store
) -> None:
    upload(drops, moto_store)
    location = f"{moto_store.location}/in"
    dataset = fakes.ingest_here(location, tmp_path / "eyes", UnityEyesOptions(), shard_size=10)
    upload(drops, moto_store)  # the same content at a later time
    fakes.ingest_here(location, tmp_path / "eyes", UnityEyesOptions(), shard_size=10)
    assert dataset.planned() == [0]
    moto_store.put("in/0.jpg", fakes.jpeg(fakes.grey_picture(seed=9)))
    fakes.ingest_here(location, tmp_path / "eyes", UnityEyesOptions(), shard_size=10)
    assert [planned.id for planned in dataset.plan(1).inputs] == ["0"]
    assert dataset.index(1)["supersedes"].to_pylist() == ["000000-000000"]


@pytest.mark.s3
@pytest.mark.parametrize("name", ["night1.tar", "deep/Night2.ZIP"])
def test_one_archive_in_a_bucket_is_an_input(drops, tmp_path, moto_store, name) -> None:
    upload(drops, moto_store)
    location = f"{moto_store.location}/in/{name}"
    dataset = fakes.ingest_here(location, tmp_path / "eyes", UnityEyesOptions())
    local = fakes.ingest_here(drops / name, tmp_path / "local", UnityEyesOptions())
    assert dataset.tar(0) == local.tar(0)
    assert fakes.plan_from(dataset, source_of(location)).num_listed == 2


@pytest.mark.s3
def test_names_and_damage_in_a_bucket_follow_the_same_rules(drops, moto_store, monkeypatch) -> None:
    damage(drops / "night1.tar", "at a member")
    with tarfile.open(drops / "night3.tar.gz", "w:gz") as tar:
        tar.add(drops / "deep" / ".pairs" / "3.json", "a/./3.json")
    upload(drops, moto_store)
    keys = {"imgs\\8.jpg": "0.jpg", "imgs\\8.json": "0.json", "a//9.jpg": "0.jpg"}
    for key, origin in (keys | {"x/": "0.json", "note.txt": "0.json"}).items():
        moto_store.put(f"in/{key}", (drops / origin).read_bytes())
    location = f"{moto_store.location}/in"
    ids, containers, ignored = scanned(location)
    problems = {c.name: c.problem for c in containers if c.problem is not None}
    assert ids == {*ALL_IDS, "imgs/8", "night3.tar.gz/a/3"} - {"night1.tar/imgs/2"}
    assert set(problems) == {"night1.tar", "'a//9.jpg'"} and "rename" in problems["'a//9.jpg'"]
    assert ignored[".txt"] == 1 and ".jpg" not in ignored
    assert source_of(location).load("imgs/8").image.shape == (35, 55)
    monkeypatch.setattr("factory.sources.members.MAX_FILE_BYTES", 100)
    assert "0.jpg has" in {c.name: c.problem for c in scanned(location)[1]}["0.jpg"]


class FailingStore(CountingStore):
    """A store whose first read fails."""

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        content = super().read_range(name, offset, length)
        if len(self.ranges) == 1:
            raise ConnectionError("no answer")
        return content


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_a_store_that_fails_is_not_a_damaged_archive(tmp_path, name) -> None:
    write_archive(tmp_path / name, 1)
    store = FailingStore(tmp_path)
    with pytest.raises(ConnectionError, match="no answer"):
        open_archive(store, name)
    assert {file.name for file in open_archive(store, name).files()} == {
        "imgs/1.jpg",
        "imgs/1.json",
    }
