"""What is in an export, when it appears, and what is refused."""

import fcntl
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.kinds import known_kinds
from factory.dataset.tar import DamagedShardError
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import known_domains
from factory.export import run
from factory.export.folder import FolderTakenError
from factory.export.run import export_release
from factory.export.shards import TarWriter
from factory.release.publish import NotReleasableError, publish
from factory.store.local import LocalStore
from schemas.export import ExportManifest
from support import fakes, planted, releases
from support.coins import COIN_DOMAIN, CoinOptions, strike
from support.exports import NUM_EYES, exported, plain_samples

pytestmark = pytest.mark.slow


@pytest.fixture
def refined(eyes, tmp_path) -> Dataset:
    """A copy of the released eyes, which a test may change."""
    return planted.copied(eyes, tmp_path / "refined")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- what is in it --------------------------------------------------------------------------------


def test_it_holds_the_released_samples_with_every_field(eyes, eye_export) -> None:
    released = plain_samples([Path(url) for url in releases.urls_of(eyes)])
    samples = plain_samples(sorted(eye_export.glob("*.tar")))
    assert samples.keys() == released.keys() and len(samples) == NUM_EYES
    for key, sample in samples.items():
        assert (sample.image == released[key].image).all()
        labels = sample.labels | {"extra": json.loads(sample.labels["extra"])}
        assert labels == released[key].labels
        assert sample.split == labels["split"]


def test_what_a_dataset_leaves_out_is_null(depths, hand_export) -> None:
    released = plain_samples([Path(url) for url in releases.urls_of(depths)])
    for key, sample in plain_samples(sorted(hand_export.glob("*.tar"))).items():
        assert "refined" not in released[key].labels
        assert sample.labels["refined"] is None


def test_all_samples_have_the_same_fields_in_the_same_order(export, plain) -> None:
    assert len({tuple(sample.labels) for sample in plain.values()}) == 1


def test_tars_are_numbered_without_gaps_and_named_in_the_manifest(eyes, eye_export) -> None:
    manifest = ExportManifest.from_json((eye_export / "export.json").read_bytes(), where="x")
    for split in ("train", "test"):
        tars = [shard.tar for shard in manifest.shards if shard.split == split]
        assert tars == [f"{split}-{number:06d}.tar" for number in range(len(tars))]
    assert {path.name for path in eye_export.glob("*.tar")} == {s.tar for s in manifest.shards}
    released = {shard.shard: shard.sha256 for shard in releases_shards(eyes)}
    assert {shard.from_shard: shard.from_sha256 for shard in manifest.shards} == released


def releases_shards(dataset: Dataset):
    from factory.release.state import read_manifest

    return read_manifest(dataset, "r1").shards


def test_the_sums_are_those_of_all_files(export) -> None:
    lines = (export / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    digests = {n: hashlib.sha256(raw).hexdigest() for n, raw in files_of(export).items()}
    del digests["SHA256SUMS"]
    assert sums == digests
    manifest = orjson.loads((export / "export.json").read_bytes())
    assert all(sums[shard["tar"]] == shard["sha256"] for shard in manifest["shards"])


def test_equal_releases_give_equal_exports(eyes, eye_export, tmp_path) -> None:
    again = files_of(exported(eyes, tmp_path / "again"))
    assert again == files_of(eye_export)


def test_the_card_says_what_is_known(eye_export) -> None:
    card = (eye_export / "README.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines()]
    (gaze,) = [row for row in rows if row[:1] == ["`gaze_pitch_rad`"]]
    assert gaze[1:3] == ["float32", "rad"] and gaze[-1] == str(NUM_EYES)
    (identity,) = [row for row in rows if row[:1] == ["`identity`"]]
    assert int(identity[-1]) < NUM_EYES
    assert ["`drift.drift_px.median`", "0.5", "at most 1", "x"] in rows
    assert "license: unknown" in card and "Not stated." in card
    assert "(contact-sheet.png)" in card and "samples missed a limit" in card


@pytest.mark.parametrize(
    ("licence", "lines"),
    [
        ("CC-BY-4.0", ["license: cc-by-4.0"]),
        ("for this lab alone", ["license: other", "license_name: for this lab alone"]),
    ],
)
def test_a_stated_licence_is_in_card_and_croissant(eyes, tmp_path, licence, lines) -> None:
    export_release(eyes, "r1", tmp_path / "x", licence=licence)
    card = (tmp_path / "x" / "README.md").read_text()
    assert set(lines) <= set(card.splitlines()) and f"{licence}, as stated" in card
    assert json.loads((tmp_path / "x" / "croissant.json").read_text())["license"] == licence


def test_a_rewritten_tar_of_a_release_is_exported_and_superseded_samples_are_not(
    refiner, tmp_path
) -> None:
    for stem in "1234":
        fakes.write_pair(tmp_path / "in", stem, seed=int(stem))
    parent = fakes.ingest_here(tmp_path / "in", tmp_path / "p", UnityEyesOptions(), shard_size=2)
    fakes.write_pair(tmp_path / "in", "1", seed=11)
    parent = fakes.ingest_here(tmp_path / "in", tmp_path / "p", UnityEyesOptions(), shard_size=2)
    dataset = fakes.refine_here(parent, refiner, tmp_path / "refined")
    releases.release(dataset)
    folder = exported(dataset, tmp_path / "x")
    samples = plain_samples(sorted(folder.glob("*.tar")))
    assert list(samples) == ["000000-000001", "000001-000000", "000001-000001", "000002-000000"]


def test_unlabelled_pictures_have_no_keypoints(single_reals, tmp_path) -> None:
    dataset = planted.copied(single_reals, tmp_path / "real")
    releases.release(dataset)
    folder = exported(dataset, tmp_path / "x")
    assert not (folder / "coco").exists() and "COCO" not in (folder / "README.md").read_text()
    samples = plain_samples(sorted(folder.glob("*.tar")))
    assert len(samples) == 24 and all("gaze" not in sample.labels for sample in samples.values())


def test_a_domain_that_tells_nothing_of_its_labels_is_exported_by_their_types(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(known_domains(), "coin", COIN_DOMAIN)
    monkeypatch.setitem(known_kinds(), "coin", COIN_DOMAIN.sample_kind)
    coins = strike(tmp_path / "coins", 4, camera=False)
    dataset = fakes.ingest_here(coins, tmp_path / "set", CoinOptions(), shard_size=2)
    releases.release(dataset)
    card = (exported(dataset, tmp_path / "x") / "README.md").read_text()
    assert "| `radius_px` | float32 | px |" in card
    assert not (tmp_path / "x" / "coco").exists()


def test_an_index_of_an_earlier_version_is_filled_up(refined, tmp_path) -> None:
    """It lacks a column, and the digest of the part is that of the shorter one."""
    name = "releases/r1/index/000000.parquet"
    rows = pq.read_table(pa.BufferReader(refined.store.read(name)))
    buffer = pa.BufferOutputStream()
    pq.write_table(rows.drop_columns(["supersedes"]), buffer)
    raw = buffer.getvalue().to_pybytes()
    refined.store.put(name, raw)
    manifest = orjson.loads(refined.store.read("releases/r1/manifest.json"))
    manifest["index_parts"][0]["sha256"] = hashlib.sha256(raw).hexdigest()
    refined.store.put("releases/r1/manifest.json", orjson.dumps(manifest))
    folder = exported(refined, tmp_path / "x")
    index = pa.concat_tables(pq.read_table(p) for p in sorted((folder / "index").iterdir()))
    assert index["supersedes"].null_count == len(index) == NUM_EYES


def test_no_tar_is_read_in_one_piece(eyes, tmp_path, monkeypatch) -> None:
    read = LocalStore.read

    def read_small(store: LocalStore, name: str) -> bytes:
        assert not name.endswith(".tar"), name
        return read(store, name)

    monkeypatch.setattr(LocalStore, "read", read_small)
    monkeypatch.setattr("factory.export.source.READ_AT_ONCE", 1 << 12)
    assert files_of(exported(eyes, tmp_path / "x"))


# --- when it appears ------------------------------------------------------------------------------


def export_and_die(dataset: Dataset, folder: Path) -> None:
    """Die when two tars are complete and the third is half written."""
    num_ended = 0
    add = TarWriter.add

    def add_or_die(tar: TarWriter, name: str, content: bytes) -> int:
        nonlocal num_ended
        num_ended += tar.length == 0
        if num_ended == 3 and tar.length:
            os.kill(os.getpid(), signal.SIGKILL)
        return add(tar, name, content)

    TarWriter.add = add_or_die
    exported(dataset, folder)


def test_an_export_that_was_killed_leaves_nothing_at_its_place_and_the_next_one_is_whole(
    eyes, eye_export, tmp_path
) -> None:
    target = tmp_path / "x"
    process = multiprocessing.get_context("fork").Process(
        target=export_and_die, args=(eyes, target)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not target.exists() and len(files_of(tmp_path)) > 2
    assert files_of(exported(eyes, target)) == files_of(eye_export)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_same_export_again_changes_nothing(eyes, tmp_path) -> None:
    folder = exported(eyes, tmp_path / "x")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    first = ExportManifest.from_json((folder / "export.json").read_bytes(), where="x")
    assert export_release(eyes, "r1", folder) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_empty_folder_becomes_the_export(eyes, tmp_path) -> None:
    (tmp_path / "x").mkdir()
    assert (exported(eyes, tmp_path / "x") / "export.json").is_file()


def test_progress_is_that_of_the_shards(eyes, tmp_path) -> None:
    from contextlib import contextmanager

    seen: list[int] = []

    @contextmanager
    def progress(total: int):
        assert total == len(releases_shards(eyes))
        yield seen.append

    export_release(eyes, "r1", tmp_path / "x", progress=progress)
    assert seen == [shard.shard for shard in releases_shards(eyes)]


# --- what is refused ------------------------------------------------------------------------------


def refused(dataset: Dataset, folder: Path, error: type[Exception], match: str) -> None:
    """That an export is refused, and changes nothing around its place."""
    before = files_of(folder.parent)
    with pytest.raises(error, match=match):
        exported(dataset, folder)
    after = files_of(folder.parent)
    assert after == before and not folder.with_name(f".{folder.name}.incomplete").exists()


def test_a_folder_that_is_something_else_is_refused(eyes, tmp_path) -> None:
    target = tmp_path / "at" / "x"
    target.mkdir(parents=True)
    (target / "thesis.tex").write_text("my only copy")
    refused(eyes, target, FolderTakenError, "is not an export of a release")
    shutil.rmtree(target)
    target.write_text("a file")
    refused(eyes, target, FolderTakenError, "is not an export of a release")


def test_the_export_of_another_release_or_licence_is_refused(refined, tmp_path) -> None:
    target = exported(refined, tmp_path / "at" / "x")
    with pytest.raises(FolderTakenError, match=r"release r1 of refined \(licence: not stated\)"):
        export_release(refined, "r1", target, licence="CC0-1.0")
    releases.release(refined, "r2")
    with pytest.raises(FolderTakenError, match="name another folder"):
        export_release(refined, "r2", target)


def test_two_runs_do_not_write_one_export(eyes, tmp_path) -> None:
    (tmp_path / ".x.incomplete").mkdir()
    other = os.open(tmp_path / ".x.incomplete", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(FolderTakenError, match="another run is exporting"):
        exported(eyes, tmp_path / "x")
    os.close(other)
    assert (exported(eyes, tmp_path / "x") / "export.json").is_file()


def test_a_place_that_was_taken_meanwhile_is_left_alone(eyes, tmp_path, monkeypatch) -> None:
    target = tmp_path / "at" / "x"

    def take(*_given: object) -> str:
        target.mkdir()
        (target / "other").write_text("x")
        return ""

    monkeypatch.setattr(run, "_sums", take)
    with pytest.raises(FolderTakenError, match="made by something else"):
        exported(eyes, target)
    assert files_of(tmp_path) == {"at/x/other": b"x"}


@pytest.mark.parametrize("offset", [100, 700, -3000], ids=["header", "picture", "end"])
def test_a_damaged_tar_is_named_and_nothing_appears(refined, tmp_path, offset) -> None:
    path = Path(refined.location) / fakes.tar_of(refined, 1)
    raw = path.read_bytes()
    path.write_bytes(planted.flipped(raw, offset % len(raw)))
    refused(refined, tmp_path / "at" / "x", DamagedShardError, rf"{path.name}.*is damaged")


def test_a_truncated_or_lost_tar_is_named(refined, tmp_path) -> None:
    path = Path(refined.location) / fakes.tar_of(refined, 1)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refused(refined, tmp_path / "at" / "x", DamagedShardError, rf"{path.name}.*is damaged")
    path.unlink()
    refused(refined, tmp_path / "at" / "x", DamagedShardError, rf"{path.name}.*is lost")


def test_a_damaged_index_or_a_report_that_changed_is_refused(refined, tmp_path) -> None:
    name = "releases/r1/index/000000.parquet"
    raw = refined.store.read(name)
    refined.store.put(name, planted.flipped(raw, 500))
    refused(refined, tmp_path / "at" / "x", DamagedShardError, "not the one that was released")
    refined.store.put(name, raw)
    report = f"reports/{releases.REPORT_ID}/report.json"
    refined.store.put(report, refined.store.read(report) + b"\n")
    refused(refined, tmp_path / "at" / "x", DamagedShardError, "not the one by which r1")
    refined.store.delete(report)
    refused(refined, tmp_path / "at" / "x", NotReleasableError, "has no reports/")


def test_an_unknown_release_is_refused(eyes, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="has no release 'r9'"):
        export_release(eyes, "r9", tmp_path / "x")


def test_a_disk_that_is_too_small_is_told_at_once(eyes, tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, 9))
    refused(eyes, tmp_path / "at" / "x", OSError, "do not fit in 9")


def test_a_release_by_another_report_is_exported_by_its_own(refined, tmp_path) -> None:
    """A later report does not change what the card says of an earlier release."""
    releases.put_report(refined, id="20261122-000000-bbbb", num_samples=7)
    assert "20261121-000000-aaaa" in (exported(refined, tmp_path / "x") / "README.md").read_text()
    publish(refined, "r3", "20261122-000000-bbbb")
    card = (tmp_path / "y" / "README.md") if export_release(refined, "r3", tmp_path / "y") else None
    assert card is not None and "(7 samples measured)" in card.read_text()
