"""The commit protocol on every store: the same promises in a folder, on moto and on Ceph."""

import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    pack,
    sha256,
)
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.images.png import decode_png, encode_png
from factory.ingestion.shards import expected_of
from schemas.dataset import Reject
from support import fakes, misbehaving, racing
from support.fakes import build_shard, committed_shards
from support.planted import check_rejects_reconcile
from support.s3_servers import new_location

OPTIONS = UnityEyesOptions()


@pytest.fixture
def planned(six_inputs, any_location) -> Dataset:
    """The same plan in an empty place, nothing built."""
    return fakes.plan_here(six_inputs, any_location, OPTIONS, shard_size=6)


def marked(dataset: Dataset, number: int) -> list[PackedSample]:
    """The samples of a shard as a machine makes them whose low four bits are its number."""
    return [
        replace(sample, png=encode_png(decode_png(sample.png) & 0xF0 | number))
        for sample in dataset.samples(0)
    ]


@pytest.mark.slow
def test_of_racing_writers_one_commits_and_all_agree_on_it(planned, one_shard) -> None:
    """Each would write other pixels, as machines that round differently do."""

    def prepare(number: int) -> Callable[[], str]:
        dataset = Dataset.open(planned.location)
        rejects = [Reject.model_validate(row) for row in one_shard.rejects(0).to_pylist()]
        samples, expected = marked(one_shard, number), expected_of(dataset.plan(0))
        return lambda: commit_shard(dataset, expected, samples, rejects).tar_sha256

    assert set(racing.race(prepare)) == {planned.facts(0).tar_sha256}
    assert committed_shards(planned).keys() == committed_shards(one_shard).keys()
    assert sha256(planned.store.read(fakes.tar_of(planned, 0))) == planned.facts(0).tar_sha256
    (winner,) = {int(image.min()) & 0x0F for image in planned.images(0)}
    wanted = pack(marked(one_shard, winner))
    assert planned.tar(0) == wanted
    rows = planned.index(0).to_pylist()
    assert [row["png_sha256"] for row in rows] == [sha256(s.png) for s in planned.samples(0)]


KILLED = [
    ("before", "shards/", set()),
    ("after", "shards/", {"shards"}),
    ("before", "rejected/", {"shards"}),
    ("after", "rejected/", {"rejected", "shards"}),
    ("before", "index/", {"rejected", "shards"}),
    ("after", "index/", {"rejected", "shards", "index"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("when", "prefix", "left"), KILLED)
def test_a_writer_killed_between_steps_leaves_nothing_that_a_rerun_does_not_mend(
    planned, six_inputs, one_shard, when, prefix, left
) -> None:
    child = multiprocessing.get_context("fork").Process(
        target=build_shard,
        args=(misbehaving.hooked(planned, misbehaving.kill_at(when, prefix)), six_inputs),
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert {entry.name.partition("/")[0] for entry in planned.store.walk()} - {
        "plan",
        "dataset.json",
    } == left
    assert planned.committed() == ([0] if "index" in left else [])
    build_shard(planned, six_inputs)
    assert committed_shards(planned) == committed_shards(one_shard), "byte for byte"


def cut_short(tar: bytes) -> bytes:
    return tar[: len(tar) // 2]


def flipped(tar: bytes) -> bytes:
    """One bit changed in the middle of a picture."""
    position = tar.index(b"IDAT") + 30
    return tar[:position] + bytes([tar[position] ^ 1]) + tar[position + 1 :]


@pytest.mark.parametrize("damage", [cut_short, flipped, lambda tar: b"", None])
def test_a_tar_damaged_after_its_commit_is_found_and_not_read(planned, six_inputs, damage) -> None:
    build_shard(planned, six_inputs)
    if damage is None:
        planned.store.delete(fakes.tar_of(planned, 0))
    else:
        planned.store.put(fakes.tar_of(planned, 0), damage(planned.tar(0)))
    reader = Dataset.open(planned.location)
    reason = r"000000-1-\S+\.tar is (damaged: sha256|committed and missing)"
    for read in (reader.tar, reader.images, lambda shard: list(reader.samples(shard))):
        with pytest.raises(DamagedShardError, match=reason):
            read(0)


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["rejected/", "shards/", "index/"])
@pytest.mark.parametrize("changed", [False, True])
def test_a_paused_worker_that_wakes_after_the_commit_changes_nothing(
    planned, six_inputs, tmp_path, prefix, changed
) -> None:
    """It stops before publishing; another worker, which may have seen other inputs, commits."""
    others = tmp_path / "others"
    for number in range(1, 7):
        image = b"no picture" if number == 5 or (number == 2 and not changed) else None
        fakes.write_pair(others, str(number), image=image, seed=number)
    committed: dict[int, fakes.SeenShard] = {}

    def overtaken(when: str, name: str) -> None:
        if when == "before" and name.startswith(prefix) and not committed:
            build_shard(planned, others)
            committed.update(committed_shards(planned))

    build_shard(misbehaving.hooked(planned, overtaken), six_inputs)
    assert committed and committed_shards(planned) == committed
    check_rejects_reconcile(planned)


@pytest.mark.slow
def test_refined_shards_are_the_same_on_every_store(
    synthetic, refiner, any_location, tmp_path
) -> None:
    here = fakes.refine_here(synthetic, refiner, tmp_path / "refined")
    in_store = fakes.refine_here(synthetic, refiner, any_location)
    assert committed_shards(in_store) == committed_shards(here)
    key = in_store.index(1)["key"][2].as_py()
    assert (in_store.image(key) == here.image(key)).all(), "one image, by a ranged read"


@pytest.mark.slow
def test_a_refiner_may_lie_in_the_store(synthetic, refiner, any_store, tmp_path) -> None:
    for path in refiner.glob("refiner.*"):
        any_store.put(f"run/{path.name}", path.read_bytes())
    run = f"{any_store.location}/run"
    here = fakes.refine_here(synthetic, refiner, tmp_path / "here")
    for number, location in enumerate((run, f"{run}/", f"{run}/refiner.safetensors")):
        from_store = fakes.refine_here(synthetic, location, tmp_path / f"there-{number}")
        assert from_store.card == here.card and from_store.tar(0) == here.tar(0)
    with pytest.raises(FileNotFoundError, match=r"finished"):
        fakes.refine_here(synthetic, f"{any_store.location}/runs", tmp_path / "none")
    any_store.delete("run/refiner.safetensors")
    with pytest.raises(FileNotFoundError, match=r"refiner\.safetensors is missing"):
        fakes.refine_here(synthetic, run, tmp_path / "none")


REQUESTS_OF_A_SHARD = [
    *("GET plan", "HEAD index", "PUT shards", "PUT rejected", "PUT index"),
]
"""what docs/stores.md says that a shard costs"""


def test_requests_of_a_committed_shard_are_few(proxy, six_inputs) -> None:
    planned = fakes.plan_here(six_inputs, new_location(), OPTIONS, shard_size=6)
    before = len(proxy.requests)
    build_shard(planned, six_inputs)
    asked = [f"{it.method} {it.key.split('/')[-2]}" for it in proxy.requests[before:]]
    assert sorted(asked) == sorted(REQUESTS_OF_A_SHARD)
    assert planned.committed() == [0]
