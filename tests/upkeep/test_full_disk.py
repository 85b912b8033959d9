"""A full disk at any step: an error that names the place, nothing lost, a rerun that goes on."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from factory.dataset.dataset import Dataset
from factory.release.publish import publish
from factory.release.state import broken_releases, release_names
from factory.store.local import LocalStore
from factory.upkeep.means import FromSource
from factory.upkeep.repair import apply_repairs, repairs_for
from factory.upkeep.upgrade import upgrade
from support import fakes, planted, releases

STEP_BYTES = 8192


class SmallDisk:
    """A file system in memory of a size that can be changed."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self._mount("size=64k")

    def _mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def resize(self, size: int) -> None:
        self._mount(f"remount,size={size}")

    def used(self) -> int:
        """Bytes."""
        total, _, free = shutil.disk_usage(self.folder)
        return total - free

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)

    def until_it_fits(self, work: Callable[[], Any], check: Callable[[], None]) -> int:
        """Repeat some work on a disk that grows a little each time; gives how often it was full."""
        size = self.used()
        for num_full in range(200):
            self.resize(max(size + num_full * STEP_BYTES, STEP_BYTES))
            try:
                work()
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                assert str(self.folder) in str(error), "it says where"
                check()
            else:
                return num_full
        raise AssertionError("it never fits")


@pytest.fixture
def disk(tmp_path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    try:
        small = SmallDisk(tmp_path / "disk")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield small
    small.unmount()


def leaves_no_temporary_file(dataset: Dataset) -> None:
    assert not list(dataset.store.walk("tmp")), "the space that it took is free again"


@pytest.mark.slow
def test_ingest_on_a_full_disk(disk, two_shards, eight_inputs) -> None:
    folder = disk.folder / "eyes"

    def whole() -> None:
        if (folder / "dataset.json").exists():
            dataset = Dataset.open(folder)
            assert planted.verified(dataset) == []
            leaves_no_temporary_file(dataset)

    def ingest() -> None:
        fakes.ingest_here(eight_inputs, folder, planted.OPTIONS, shard_size=4)

    assert disk.until_it_fits(ingest, whole) > 5
    assert planted.content(Dataset.open(folder)) == planted.content(two_shards)


@pytest.mark.slow
def test_repair_and_publish_on_a_full_disk(disk, two_shards, eight_inputs) -> None:
    disk.resize(4 << 20)
    dataset = planted.copied(two_shards, disk.folder / "eyes")
    report = releases.put_report(dataset)
    planted.DAMAGE["a bit flipped in an image"][0](dataset.store, 1)
    means = FromSource(dataset, str(eight_inputs))

    def repair() -> None:
        repairs = repairs_for(
            dataset, planted.verified(dataset), means=means, parent=None, withdraw_stale=False
        )
        apply_repairs(
            dataset, repairs, means=means, parent=None, children=(),
            make_shards=fakes.make_shards_here,
        )  # fmt: skip

    def damaged() -> None:
        assert dataset.committed() == [0, 1]
        assert [problem.kind for problem in planted.verified(dataset)] == ["tar"]
        leaves_no_temporary_file(dataset)

    assert disk.until_it_fits(repair, damaged) > 1
    assert planted.verified(dataset) == []
    assert planted.content(dataset, "reports/") == planted.content(two_shards)

    def unfinished() -> None:
        assert release_names(dataset) == []
        leaves_no_temporary_file(dataset)

    assert disk.until_it_fits(lambda: publish(dataset, "r1", report), unfinished) > 1
    assert release_names(dataset) == ["r1"] and broken_releases(dataset) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_an_upgrade_that_cannot_be_written_leaves_the_old_format(
    dataset, monkeypatch, number
) -> None:
    old = planted.as_format_1(dataset)

    def refuse(store: LocalStore, content: bytes) -> Path:
        raise OSError(number, os.strerror(number), str(store.root))

    with monkeypatch.context() as full:
        full.setattr(LocalStore, "_write_temporary", refuse)
        with pytest.raises(OSError, match=str(old.location)):
            upgrade(old)
    assert Dataset.open(old.location).card.format_version == 1
    upgrade(old)
    assert planted.verified(Dataset.open(old.location)) == []
