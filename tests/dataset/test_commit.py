"""The commit protocol: one committed version of every shard, whoever dies whenever."""

import io
import re
import tarfile
from dataclasses import replace

import numpy as np
import orjson
import pyarrow as pa
import pytest

from factory.dataset.commit import commit_shard, withdraw
from factory.dataset.dataset import Dataset, Replaced
from factory.dataset.inspection import inspect_tar
from factory.dataset.names import index_name, version_of
from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    pack,
    sha256,
    unpack,
)
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.images.png import decode_png, encode_png
from factory.ingestion.shards import expected_of
from factory.store.parquet import parquet_bytes
from factory.upkeep.verify import expected_shard
from schemas.base import FormatError
from schemas.dataset import Reject
from schemas.index import REJECT_SCHEMA
from support import fakes, misbehaving, planted
from support.fakes import build_shard, committed_shards
from support.planted import check_rejects_reconcile

OPTIONS = UnityEyesOptions()
IN_A_PAIR = ("jpg", "json")


@pytest.fixture(scope="module")
def planned_once(six_inputs, tmp_path_factory) -> Dataset:
    """The same plan, nothing built. Read only."""
    output = tmp_path_factory.mktemp("planned") / "eyes"
    return fakes.plan_here(six_inputs, output, OPTIONS, shard_size=6)


@pytest.fixture
def planned(planned_once, tmp_path) -> Dataset:
    """A copy of it, which a test may build."""
    return planted.copied(planned_once, tmp_path / "eyes")


def with_record(tar: bytes, change) -> bytes:
    """A tar whose json members went through `change`."""
    return pack(
        PackedSample(s.key, s.png, orjson.dumps(change(orjson.loads(s.json))))
        for s in unpack(tar, where="test")
    )


def test_a_rerun_touches_nothing(planned, six_inputs, one_shard) -> None:
    build_shard(planned, six_inputs)
    before = committed_shards(planned)
    touched = []
    build_shard(misbehaving.hooked(planned, lambda when, name: touched.append(name)), six_inputs)
    assert touched == [] and committed_shards(planned) == before == committed_shards(one_shard)


def test_a_tar_that_nobody_committed_is_in_nobodys_way(planned, six_inputs, one_shard) -> None:
    """Another machine rounds differently, and its writer died before its index."""

    def brighter(sample: PackedSample) -> PackedSample:
        return replace(sample, png=encode_png(decode_png(sample.png) | 1))

    theirs = pack(map(brighter, one_shard.samples(0)))
    for name in ("shards/000000.tar", f"shards/000000-1-{'0' * 16}-{'0' * 8}.tar"):
        planned.store.put_new(name, theirs)
    build_shard(planned, six_inputs)
    assert committed_shards(planned) == committed_shards(one_shard)


def test_a_name_says_what_the_file_is_of(one_shard) -> None:
    facts = one_shard.facts(0)
    for name in (fakes.tar_of(one_shard, 0), fakes.rejects_of(one_shard, 0)):
        assert re.fullmatch(
            rf"(shards|rejected)/000000-1-{facts.tar_sha256[:16]}-[0-9a-f]{{8}}\.\w+", name
        )
        assert version_of(name) == (0, 1)
    assert (facts.tar, facts.rejects) == (
        fakes.tar_of(one_shard, 0),
        fakes.rejects_of(one_shard, 0),
    )


def test_no_two_attempts_use_one_name(six_inputs, one_shard, tmp_path) -> None:
    again = fakes.ingest_here(six_inputs, tmp_path / "again", OPTIONS, shard_size=6)
    assert again.tar(0) == one_shard.tar(0)
    assert fakes.tar_of(again, 0) != fakes.tar_of(one_shard, 0)


def test_a_shard_that_was_withdrawn_is_made_again_as_a_new_generation(
    planned, six_inputs, one_shard
) -> None:
    build_shard(planned, six_inputs)
    assert not withdraw(planned, 0, 0, "late"), "decided before the shard was there"
    assert withdraw(planned, 0, 1, "a test")
    assert planned.committed() == [] and not planned.is_committed(0)
    for read in (planned.facts, planned.index, planned.tar, planned.rejects):
        with pytest.raises(FileNotFoundError, match="withdrawn: a test"):
            read(0)
    build_shard(planned, six_inputs)
    assert planned.facts(0).generation == 3
    assert committed_shards(planned) == committed_shards(one_shard)


def test_a_shard_is_replaced_only_in_the_version_that_was_looked_at(
    planned, six_inputs, one_shard
) -> None:
    build_shard(planned, six_inputs)
    first = planned.facts(0)
    looked_at = {0: Replaced(1, first.tar)}
    build_shard(planned.replacing(looked_at), six_inputs)
    second = planned.facts(0)
    assert second.generation == 2 and second.tar != first.tar
    build_shard(planned.replacing(looked_at), six_inputs)
    assert planned.facts(0) == second
    assert committed_shards(planned) == committed_shards(one_shard)


def test_an_index_that_names_another_generation_is_damaged(planned, six_inputs) -> None:
    build_shard(planned, six_inputs)
    planned.store.put_new(index_name(0, 2), planned.store.read(index_name(0)))
    with pytest.raises(FormatError, match="says that it is of generation 1"):
        planned.facts(0)


def without_last(tar: bytes) -> bytes:
    return pack(list(unpack(tar, where="test"))[:-1])


def other_png(tar: bytes, png: bytes) -> bytes:
    first, *rest = unpack(tar, where="test")
    return pack([replace(first, png=png), *rest])


def renamed(tar: bytes, key: str) -> bytes:
    first, *rest = unpack(tar, where="test")
    record = orjson.loads(first.json) | {"key": key}
    return pack([replace(first, key=key, json=orjson.dumps(record)), *rest])


def with_extra_member(tar: bytes) -> bytes:
    buffer = io.BytesIO(tar)
    with tarfile.open(fileobj=buffer, mode="a", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("000000-000000.pyd")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def with_bytes(tar: bytes, field: bytes, value: bytes) -> bytes:
    """A tar with another value of a field, spelt out in the first json member."""
    first, *rest = unpack(tar, where="test")
    assert field in first.json
    changed = first.json.replace(field, field[: field.index(b":") + 1] + value)
    return pack([replace(first, json=changed), *rest])


def flipped(raw: bytes, position: int) -> bytes:
    changed = bytearray(raw)
    changed[position] ^= 1
    return bytes(changed)


SMALL_PNG = encode_png(np.zeros((34, 55), np.uint8))
COLOUR_PNG = encode_png(np.zeros((35, 55, 3), np.uint8))
BAD_TARS = {
    "empty": (lambda tar: b"", "cut short"),
    "cut in a member": (lambda tar: tar[: len(tar) // 2], "damaged|ends in the middle"),
    "cut after a member": (lambda tar: tar[:-10240] + bytes(512), "damaged|cut short|ends in"),
    "without its end": (lambda tar: tar[:-1024], "cut short"),
    "a key of another shard": (lambda tar: renamed(tar, "000001-000000"), "planned keys"),
    "a key beyond the plan": (lambda tar: renamed(tar, "000000-000009"), "planned keys"),
    "another order": (lambda tar: pack(list(unpack(tar, where=""))[::-1]), "planned keys"),
    "a sample twice": (lambda tar: pack([*unpack(tar, where="")] * 2), "planned keys"),
    "an extra member": (with_extra_member, "000000-000000.pyd and nothing"),
    "no picture": (lambda tar: other_png(tar, b"x"), "000000-000000: .*PNG"),
    "a JPEG": (lambda tar: other_png(tar, fakes.jpeg(np.zeros((35, 55), np.uint8))), "PNG"),
    "a picture of another size": (
        lambda tar: other_png(tar, SMALL_PNG),
        r"its image is \(34, 55\)",
    ),
    "a colour picture": (lambda tar: other_png(tar, COLOUR_PNG), r"\(35, 55, 3\)"),
    "no JSON": (
        lambda tar: pack(replace(s, json=b"{") for s in unpack(tar, where="")),
        "not JSON",
    ),
    "a label of another schema": (
        lambda tar: with_record(tar, lambda r: r | {"gaze": [0, 0]}),
        "gaze",
    ),
    "made by another configuration": (
        lambda tar: with_record(tar, lambda r: r | {"made": r["made"] | {"config": "1" * 64}}),
        "another configuration",
    ),
    "a number as text": (lambda tar: with_record(tar, lambda r: r | {"pupil_size": "0.5"}), "size"),
    "a truth value as number": (
        lambda tar: with_record(tar, lambda r: r | {"iris_size": True}),
        "iris_size",
    ),
    "a number as truth value": (
        lambda tar: with_record(tar, lambda r: r | {"mirrored": 0}),
        "mirrored",
    ),
    "a point of text": (
        lambda tar: with_record(tar, lambda r: r | {"iris_px": [["1", "2"], *r["iris_px"][1:]]}),
        "iris_px.0.0",
    ),
    "a landmark too few": (
        lambda tar: with_record(tar, lambda r: r | {"lid_px": r["lid_px"][1:]}),
        "lid_px",
    ),
    "a number beyond float32": (
        lambda tar: with_record(tar, lambda r: r | {"pupil_size": 1e39}),
        "pupil_size: a number beyond",
    ),
    "a landmark beyond float32": (
        lambda tar: with_record(tar, lambda r: r | {"iris_px": [[1e39, 0], *r["iris_px"][1:]]}),
        "iris_px: a number beyond",
    ),
    "a number beyond float64": (
        lambda tar: with_bytes(tar, b'"eye_width_px":40.0', b"1e999"),
        "JSON|finite",
    ),
    "NaN for a number": (lambda tar: with_bytes(tar, b'"eye_width_px":40.0', b"NaN"), "not JSON"),
    "NaN in an extra field": (
        lambda tar: with_bytes(tar, b'"skybox_exposure":"1.1E-17"', b"NaN"),
        "not JSON",
    ),
    "a field missing": (
        lambda tar: with_record(tar, lambda r: {k: r[k] for k in r if k != "gaze_yaw_rad"}),
        "gaze_yaw_rad: Field required",
    ),
    "an unknown field": (lambda tar: with_record(tar, lambda r: r | {"pupil": 1}), "pupil: Extra"),
    "an unknown field inside": (
        lambda tar: with_record(tar, lambda r: r | {"made": r["made"] | {"when": "now"}}),
        "made.when",
    ),
    "null for a needed label": (lambda tar: with_record(tar, lambda r: r | {"gaze": None}), "gaze"),
    "text after the JSON": (
        lambda tar: pack(replace(s, json=s.json + b"{}") for s in unpack(tar, where="")),
        "not JSON",
    ),
    "a changed bit in the pixels": (
        lambda tar: other_png(tar, flipped(next(unpack(tar, where="")).png, -40)),
        "000000-000000: a PNG that is damaged",
    ),
    "a changed bit after the pixels": (
        lambda tar: other_png(tar, flipped(next(unpack(tar, where="")).png, -1)),
        "000000-000000: a PNG that is damaged",
    ),
    "bytes after the picture": (
        lambda tar: other_png(tar, next(unpack(tar, where="")).png + b"\0"),
        "000000-000000: a PNG that is damaged",
    ),
    "another key inside": (
        lambda tar: with_record(tar, lambda r: r | {"key": "000000-000003"}),
        "its json names the sample 000000-000003",
    ),
    "another split": (
        lambda tar: with_record(tar, lambda r: r | {"split": "test"}),
        "of split test",
    ),
    "refined": (
        lambda tar: with_record(
            tar, lambda r: r | {"refined": dict.fromkeys(("refiner", "parent"), "1" * 64)}
        ),
        "another configuration",
    ),
    "another input under the key": (
        lambda tar: with_record(tar, lambda r: r | {"source": r["source"] | {"id": "9"}}),
        "made of the input 9, planned 1",
    ),
}


@pytest.mark.parametrize("kind", BAD_TARS)
def test_a_tar_that_is_not_the_planned_shard_is_told(planned, one_shard, kind) -> None:
    spoil, reason = BAD_TARS[kind]
    tar, expected = spoil(one_shard.tar(0)), expected_of(planned.plan(0))
    with pytest.raises(DamagedShardError, match=reason) as caught:
        inspect_tar(planned, expected, tar, where="shard 0")
    assert "shard 0" in str(caught.value)


def test_rejects_say_what_the_rejected_inputs_held(six_inputs, one_shard) -> None:
    rows = one_shard.rejects(0).to_pylist()
    assert [row["source_id"] for row in rows] == ["2", "5"]
    for row in rows:
        image, label = (
            (six_inputs / f"{row['source_id']}.{end}").read_bytes() for end in IN_A_PAIR
        )
        assert (row["image_sha256"], row["label_sha256"]) == (sha256(image), sha256(label))


def test_rejects_of_unreadable_inputs_hold_no_digest(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1")
    fakes.write_pair(tmp_path / "in", "2")
    (tmp_path / "in" / "2.json").unlink()
    (row,) = fakes.ingest_here(tmp_path / "in", tmp_path / "out", OPTIONS).rejects(0).to_pylist()
    assert (row["image_sha256"], row["label_sha256"]) == (None, None)


def test_rejects_of_an_older_writer_read_with_null_digests(planned) -> None:
    old = [field for field in REJECT_SCHEMA if not field.name.endswith("sha256")]
    row = {"key": "000000-000001", "source_id": "2", "kind": "reject", "reason": "no picture"}
    table = pa.Table.from_pylist([row], schema=pa.schema(old))
    planned.store.put_new("rejected/000000.parquet", parquet_bytes(table))
    assert planned.rejects_in("rejected/000000.parquet").to_pylist() == [
        row | {"image_sha256": None, "label_sha256": None}
    ]


@pytest.mark.slow
def test_a_tar_by_another_refiner_or_parent_and_one_that_lacks_a_sample_are_told(
    synthetic, refiner, tmp_path
) -> None:
    good = fakes.refine_here(synthetic, refiner, tmp_path / "good")
    expected = expected_shard(good, 0, synthetic)
    for name in ("refiner", "parent"):
        tar = with_record(good.tar(0), lambda r: r | {"refined": r["refined"] | {name: "1" * 64}})  # noqa: B023
        with pytest.raises(DamagedShardError, match="another refiner or from another parent"):
            inspect_tar(good, expected, tar, where="it")
    with pytest.raises(DamagedShardError, match="4 samples that are not the 5 planned"):
        inspect_tar(good, expected, without_last(good.tar(0)), where="it")


def test_writers_that_rejected_different_inputs_do_not_mix(planned, six_inputs, one_shard) -> None:
    """One saw a malformed third input and paused before its index; the other read it well."""
    dead = [Reject(key="000000-000002", source_id="3", kind="reject", reason="was half written")]
    samples = [s for s in one_shard.samples(0) if s.key != "000000-000002"]
    dead += [
        Reject(key=row["key"], source_id=row["source_id"], kind="reject", reason=row["reason"])
        for row in one_shard.rejects(0).to_pylist()
    ]

    def overtaken(when: str, name: str) -> None:
        if when == "before" and name.startswith("index/"):
            build_shard(planned, six_inputs)

    facts = commit_shard(
        misbehaving.hooked(planned, overtaken), expected_of(planned.plan(0)), samples, dead
    )
    assert facts == planned.facts(0) and facts.num_rejected == 2
    assert committed_shards(planned) == committed_shards(one_shard)
    check_rejects_reconcile(planned)
    folders = [entry.name.split("/")[0] for entry in planned.store.walk()]
    assert folders.count("shards") == folders.count("rejected") == 1, "the late one tidies up"


def test_a_sample_that_is_neither_kept_nor_rejected_is_refused(planned, one_shard) -> None:
    with pytest.raises(DamagedShardError, match="not in its tar"):
        commit_shard(planned, expected_of(planned.plan(0)), list(one_shard.samples(0)), [])
    assert committed_shards(planned) == {}


def test_a_shard_without_survivors_commits_an_index_of_no_rows(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1", image=b"no picture")
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "out", OPTIONS)
    assert dataset.committed() == [0]
    assert len(dataset.index(0)) == 0 and dataset.facts(0).num_rejected == 1
    assert dataset.index(0).schema.names == dataset.sample_kind.index_schema(True).names
    assert list(dataset.samples(0)) == [] and dataset.images(0).shape == (0, 35, 55)
