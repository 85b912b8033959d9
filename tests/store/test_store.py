"""The one guarantee that a dataset rests on: whole objects, published once, on every store."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import factory.store.local as store_module
from cluster.job.runs import open_run
from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.open import (
    absolute,
    is_remote,
    name_of,
    open_store,
)
from support import racing


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path / "dataset")


def everything_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def everything_in(store: Store) -> set[str]:
    return {entry.name for entry in store.walk()}


def no_links(*arguments, **options):
    raise PermissionError(errno.EPERM, "this file system has no hard links")


@pytest.mark.slow
def test_exactly_one_of_racing_processes_publishes(any_location) -> None:
    store = open_store(any_location)  # imports what it needs once, not in every process

    def prepare(number: int) -> Callable[[], int | None]:
        return partial(put_if_first, any_location, number)

    (winner,) = (number for number in racing.race(prepare) if number is not None)
    assert store.read("shards/000000.tar") == bytes([winner]) * 200_000
    assert everything_in(store) == {"shards/000000.tar"}, "losers cleaned up"


def put_if_first(location: str, number: int) -> int | None:
    try:
        open_store(location).put_new("shards/000000.tar", bytes([number]) * 200_000)
    except FileExistsError:
        return None
    return number


def race_in_threads(store: Store) -> None:
    barrier, winners = threading.Barrier(racing.NUM_RACERS), []

    def race(number: int) -> None:
        barrier.wait()
        try:
            store.put_new("index/000000.parquet", bytes([number]) * 50_000)
            winners.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=race, args=(number,)) for number in range(racing.NUM_RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert store.read("index/000000.parquet") == bytes([winners[0]]) * 50_000


def test_exactly_one_of_racing_threads_publishes(any_store) -> None:
    race_in_threads(any_store)


def test_exactly_one_of_racing_threads_publishes_without_links(store, monkeypatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    race_in_threads(store)


def test_a_name_is_given_once(any_store) -> None:
    any_store.put_new("plan/000000.json", b"first")
    with pytest.raises(FileExistsError):
        any_store.put_new("plan/000000.json", b"second")
    assert any_store.read("plan/000000.json") == b"first"
    assert everything_in(any_store) == {"plan/000000.json"}


def test_a_name_is_given_once_without_links(store, monkeypatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    test_a_name_is_given_once(store)


def test_a_name_that_was_taken_is_free_again_once_deleted(any_store) -> None:
    any_store.put_new("shards/000000.tar", b"damaged")
    any_store.delete("shards/000000.tar")
    any_store.put_new("shards/000000.tar", b"remade")
    assert any_store.read("shards/000000.tar") == b"remade"


def test_a_name_is_never_seen_before_its_content_is_whole(any_store) -> None:
    content, torn, done = os.urandom(3_000_000), [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            for entry in any_store.entries("shards"):
                if entry.size != len(content) or any_store.read(entry.name) != content:
                    torn.append(entry)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(10):
        any_store.put_new(f"shards/{number:06d}.tar", content)
        any_store.put(f"shards/{number:06d}.tar", content)
    done.set()
    watcher.join()
    assert torn == []


def test_a_link_whose_answer_was_lost_counts_as_won(store, monkeypatch) -> None:
    """Over NFS the first try succeeds, its answer is lost, and the retry finds our own file."""
    link = os.link

    def lose_the_answer(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "exists")

    monkeypatch.setattr(os, "link", lose_the_answer)
    store.put_new("index/000000.parquet", b"ours")
    assert store.read("index/000000.parquet") == b"ours"


def test_without_links_and_without_renameat2_the_refusal_says_what_to_do(
    store, monkeypatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(store_module.ctypes, "CDLL", lambda *a, **o: object())
    with pytest.raises(OSError, match="choose an output on another file system"):
        store.put_new("shards/000000.tar", b"content")
    assert everything_below(store.root) == set()


def test_a_rename_that_fails_for_another_reason_says_that_reason(store, monkeypatch) -> None:
    class Library:
        def renameat2(self, *arguments) -> int:
            store_module.ctypes.set_errno(errno.ENOSPC)
            return -1

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(store_module.ctypes, "CDLL", lambda *a, **o: Library())
    with pytest.raises(OSError, match="No space left"):
        store.put_new("shards/000000.tar", b"content")


def test_the_entry_of_every_new_folder_is_durable(tmp_path, monkeypatch) -> None:
    """Otherwise a power cut takes the folder away with all that a run called done."""
    made: list[Path] = []
    durable: set[Path] = set()
    mkdir = Path.mkdir

    def fsync(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        durable.update(path for path in made if path.parent == folder)

    def noted(path: Path, *arguments, **options) -> None:
        mkdir(path, *arguments, **options)
        made.append(path)

    monkeypatch.setattr(Path, "mkdir", noted)
    monkeypatch.setattr(os, "fsync", fsync)
    store = LocalStore(tmp_path / "new" / "place" / "dataset")
    store.put_new("dataset.json", b"{}")
    store.put_new("releases/r1/shards/000000.tar", b"x")
    store.put("reports/1/report.json", b"{}")
    store.put("lease/ingest.json", b"{}", durable=False)
    with open_run(tmp_path / "other" / "place", "runs/1"):
        pass
    assert {path.name for path in made} > {"new", "place", "dataset", "r1", "runs", "1"}
    assert durable == set(made)


def test_a_file_where_a_folder_is_needed_is_named(store) -> None:
    store.put("shards", b"not a folder")
    with pytest.raises(NotADirectoryError, match="dataset/shards"):
        store.put_new("shards/000000.tar", b"content")


@pytest.mark.parametrize("put", ["put", "put_new"])
@pytest.mark.parametrize("step", ["fsync", "mkdir"])
def test_a_full_disk_leaves_no_file_behind(store, monkeypatch, put, step) -> None:
    (store.root / "tmp").mkdir(parents=True)

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        mkdir = Path.mkdir
        monkeypatch.setattr(
            Path,
            "mkdir",
            lambda path, *a, **o: mkdir(path, *a, **o) if path.name == "tmp" else full(),
        )
    with pytest.raises(OSError, match="No space left"):
        getattr(store, put)("shards/000000.tar", b"content")
    assert everything_below(store.root) == set()


def test_a_write_beyond_the_size_limit_leaves_no_file_behind(tmp_path) -> None:
    """A real write() that fails half way, as on a full disk."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from factory.store.local import LocalStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: LocalStore(Path(sys.argv[1])).put_new('shards/000000.tar', bytes(1_000_000))\n"
        "except OSError as error: print(error.strerror)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "File too large\n"
    assert everything_below(tmp_path) == set()


def test_temporary_files_never_end_in_tar_and_lie_outside_shards(store, monkeypatch) -> None:
    seen = []
    publish = store_module._publish

    def look(temporary: Path, target: Path) -> None:
        seen.append(temporary.relative_to(store.root))
        publish(temporary, target)

    monkeypatch.setattr(store_module, "_publish", look)
    store.put_new("shards/000000.tar", b"content")
    assert [path.parts[0] for path in seen] == ["tmp"]
    assert seen[0].suffix == ""


def test_ranges_and_sizes(any_store) -> None:
    any_store.put_new("shards/000000.tar", bytes(range(100)))
    assert any_store.read_range("shards/000000.tar", 10, 5) == bytes(range(10, 15))
    assert any_store.read_range("shards/000000.tar", 0, 100) == bytes(range(100))
    assert any_store.read_range("shards/000000.tar", 7, 0) == b""
    assert any_store.size("shards/000000.tar") == 100
    assert any_store.size("shards/000001.tar") is None
    with pytest.raises(FileNotFoundError, match="000001"):
        any_store.read_range("shards/000001.tar", 0, 1)
    with pytest.raises(FileNotFoundError, match="000001"):
        any_store.read("shards/000001.tar")


@pytest.mark.parametrize("offset", [90, 100, 200])
def test_a_range_beyond_the_end_is_an_error_not_a_short_answer(any_store, offset) -> None:
    any_store.put_new("shards/000000.tar", bytes(100))
    with pytest.raises(OSError, match=r"ends (at|before)"):
        any_store.read_range("shards/000000.tar", offset, 20)


def test_the_end_of_an_object_is_read_without_asking_for_its_size(any_store) -> None:
    any_store.put("index/000000.parquet", bytes(range(100)))
    any_store.put("index/empty", b"")
    assert any_store.read_tail("index/000000.parquet", 8) == bytes(range(92, 100))
    assert any_store.read_tail("index/000000.parquet", 100) == bytes(range(100))
    assert any_store.read_tail("index/000000.parquet", 5000) == bytes(range(100))
    assert any_store.read_tail("index/empty", 8) == b""
    with pytest.raises(FileNotFoundError, match="000001"):
        any_store.read_tail("index/000001.parquet", 8)


def test_entries_are_in_order_and_only_files_of_that_folder(any_store) -> None:
    names = ("index/000010.parquet", "index/000002.parquet", "index/deeper/x", "other/y", "indexed")
    for name in names:
        any_store.put_new(name, b"x")
    assert [entry.name for entry in any_store.entries("index")] == [
        "index/000002.parquet",
        "index/000010.parquet",
    ]
    assert [entry.name for entry in any_store.entries("")] == ["indexed"]
    assert list(any_store.entries("nothing")) == []
    assert any_store.folders("index") == ["deeper"]
    assert set(any_store.folders("")) - {"tmp"} == {"index", "other"}
    assert any_store.folders("nothing") == []
    assert everything_in(any_store) == set(names)
    assert {entry.name for entry in any_store.walk("index")} == {
        name for name in names if name.startswith("index/")
    }
    assert list(any_store.walk("nothing")) == []


def test_entries_say_what_changed(any_store) -> None:
    before_ns = time.time_ns()
    any_store.put("plan/a", b"1234")
    (first,) = any_store.entries("plan")
    assert first.size == 4
    assert abs(first.mtime_ns - before_ns) < 20e9
    any_store.put("plan/a", b"4321")
    (second,) = any_store.walk("plan")
    assert (second.etag, second.mtime_ns) != (first.etag, first.mtime_ns)
    assert (first.etag is None) == isinstance(any_store, LocalStore)


@pytest.mark.parametrize("name", ["imgs/ü é.jpg", "imgs/a+b&c=%41#?.jpg", "imgs/'<\"> \\x.jpg"])
def test_names_with_odd_characters_come_back_as_they_are(any_store, name) -> None:
    any_store.put_new(name, b"content")
    assert [entry.name for entry in any_store.entries("imgs")] == [name]
    assert any_store.read(name) == b"content" and any_store.size(name) == 7
    with pytest.raises(FileExistsError):
        any_store.put_new(name, b"other")


def test_put_replaces_and_delete_forgives(any_store) -> None:
    any_store.put("rejected/000000.parquet", b"first")
    any_store.put("rejected/000000.parquet", b"second")
    assert any_store.read("rejected/000000.parquet") == b"second"
    any_store.delete("rejected/000000.parquet")
    any_store.delete("rejected/000000.parquet")
    assert any_store.size("rejected/000000.parquet") is None


def test_an_empty_object_is_an_object(any_store) -> None:
    any_store.put_new("plan/empty", b"")
    assert any_store.read("plan/empty") == b"" and any_store.size("plan/empty") == 0
    with pytest.raises(FileExistsError):
        any_store.put_new("plan/empty", b"x")


def test_two_datasets_side_by_side_do_not_see_each_other(any_location) -> None:
    ours, theirs = open_store(f"{any_location}/eyes"), open_store(f"{any_location}/eyes-2")
    theirs.put_new("index/000000.parquet", b"theirs")
    assert list(ours.entries("index")) == list(ours.walk()) == []
    ours.put_new("index/000000.parquet", b"ours")
    assert theirs.read("index/000000.parquet") == b"theirs"
    assert open_store(any_location).read("eyes/index/000000.parquet") == b"ours"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("gs://bucket/eyes", "gs:// is not supported"),
        ("https://user:hunter2@host/eyes?X-Amz-Signature=hunter2", "https:// is not supported"),
        ("s3:/bucket/eyes", "with two slashes"),
        ("s3://key:hunter2@bucket/eyes", "AWS_ACCESS_KEY_ID"),
        ("s3://bucket/eyes?X-Amz-Signature=hunter2", "without"),
        ("s3://host:9000/bucket", "AWS_ENDPOINT_URL"),
        ("s3://", "not the name of a bucket"),
        ("s3://bucket/a//b", "empty part"),
        ("s3://bucket/a/../b", "empty part"),
    ],
)
def test_a_location_that_no_store_has_is_refused_without_telling_secrets(location, reason) -> None:
    for opened in (open_store, name_of, absolute):
        with pytest.raises(ValueError, match=reason) as caught:
            opened(location)
        assert "hunter2" not in str(caught.value)


def test_names_and_absolute_locations(monkeypatch, tmp_path) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert absolute("eyes/") == absolute(Path("eyes")) == str(tmp_path / "work" / "eyes")
    assert absolute("s3://bucket/a/eyes/") == "s3://bucket/a/eyes"
    assert [name_of(text) for text in ("a/eyes/", ".", "s3://bucket/a/eyes/", "s3://bucket")] == [
        "eyes",
        "work",
        "eyes",
        "bucket",
    ]
    assert is_remote("s3://bucket") and not is_remote("bucket")


def test_files_that_vanish_during_a_walk_are_passed_over(store) -> None:
    for number in range(40):
        store.put(f"tmp/{number}", b"x")
    walk = store.walk()
    next(walk)
    for path in (store.root / "tmp").iterdir():
        path.unlink()
    assert list(walk) == []


def test_files_that_vanish_while_a_folder_is_listed_are_passed_over(store, monkeypatch) -> None:
    for number in range(3):
        store.put(f"lease/{number}.json", b"x")
    scandir = os.scandir

    class Vanishing:
        """Entries of a folder of which one is deleted once all were read."""

        def __init__(self, folder):
            self.entries = list(scandir(folder))

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            store.delete("lease/1.json")

    monkeypatch.setattr("factory.store.local.os.scandir", Vanishing)
    names = [entry.name for entry in store.entries("lease")]
    assert names == ["lease/0.json", "lease/2.json"]


def test_a_folder_that_vanishes_before_it_is_listed_is_empty(store, monkeypatch) -> None:
    store.put("lease/0.json", b"x")

    def gone(folder):
        raise FileNotFoundError(folder)

    monkeypatch.setattr("factory.store.local.os.scandir", gone)
    assert list(store.entries("lease")) == []


@pytest.mark.parametrize("put", ["put_new", "put"])
def test_a_temporary_file_that_was_removed_as_a_leftover_is_written_again(
    tmp_path, monkeypatch, put
) -> None:
    store, written = LocalStore(tmp_path), []
    write = LocalStore._write_temporary

    def write_and_lose(store: LocalStore, content: bytes) -> Path:
        path = write(store, content)
        written.append(path)
        if len(written) <= num_lost:
            path.unlink()
        return path

    monkeypatch.setattr(LocalStore, "_write_temporary", write_and_lose)
    num_lost = 2
    getattr(store, put)("index/a", b"x")
    assert store.read("index/a") == b"x" and everything_in(store) == {"index/a"}
    num_lost, written[:] = 3, []
    with pytest.raises(FileNotFoundError):
        getattr(store, put)("index/b", b"x")


@pytest.mark.parametrize("target", ["loop", "nowhere"])
def test_a_link_that_leads_nowhere_is_listed_and_stops_no_listing(tmp_path, target) -> None:
    store = LocalStore(tmp_path)
    store.put("index/a", b"x")
    (tmp_path / "index" / "loop").symlink_to(target)
    assert [entry.name for entry in store.entries("index")] == ["index/a"]
    assert sorted(entry.name for entry in store.walk()) == ["index/a", "index/loop"]
