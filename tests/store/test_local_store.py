"""A store in a folder: without hard links, on a full disk, and while files vanish."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import factory.store.local as store_module
from cluster.job.runs import open_run
from factory.store.local import LocalStore
from support import racing


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path / "dataset")


def everything_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def no_links(*arguments, **options):
    raise PermissionError(errno.EPERM, "this file system has no hard links")


def test_exactly_one_of_racing_threads_publishes_without_links(store, monkeypatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    racing.race_in_threads(store)


def test_a_name_is_given_once_without_links(store, monkeypatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    store.put_new("plan/000000.json", b"first")
    with pytest.raises(FileExistsError):
        store.put_new("plan/000000.json", b"second")
    assert store.read("plan/000000.json") == b"first"


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
    assert store.read("index/a") == b"x" and {entry.name for entry in store.walk()} == {"index/a"}
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
