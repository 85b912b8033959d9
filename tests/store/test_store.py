"""The one guarantee that a dataset rests on: whole objects, published once, on every store."""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from factory.store.base import Store
from factory.store.local import LocalStore
from factory.store.open import (
    absolute,
    is_remote,
    name_of,
    open_store,
)
from support import racing


def everything_in(store: Store) -> set[str]:
    return {entry.name for entry in store.walk()}


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


def test_exactly_one_of_racing_threads_publishes(any_store) -> None:
    racing.race_in_threads(any_store)


def test_a_name_is_given_once(any_store) -> None:
    any_store.put_new("plan/000000.json", b"first")
    with pytest.raises(FileExistsError):
        any_store.put_new("plan/000000.json", b"second")
    assert any_store.read("plan/000000.json") == b"first"
    assert everything_in(any_store) == {"plan/000000.json"}


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
