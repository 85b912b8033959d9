"""A shard's tar: equal content is equal bytes, and what is read back is whole."""

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.dataset.tar import (
    DamagedShardError,
    PackedSample,
    pack,
    unpack,
)

SAMPLES = [
    PackedSample("000003-000000", b"png zero", b'{"a": 0}'),
    PackedSample("000003-000002", b"", b'{"b": 1}'),
    PackedSample("000003-000007", bytes(1000), b"{}"),
]


def contents(samples) -> list[tuple[str, bytes, bytes]]:
    return [(sample.key, sample.png, sample.json) for sample in samples]


def tar_of(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_samples_come_back_in_order() -> None:
    assert contents(unpack(pack(SAMPLES), where="x")) == contents(SAMPLES)


def test_the_bytes_are_those_that_tarfile_writes() -> None:
    fields = [(f"{s.key}.{end}", getattr(s, end)) for s in SAMPLES for end in ("png", "json")]
    assert pack(SAMPLES) == tar_of(*fields)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 9215, 9216, 9217])
def test_any_length_is_filled_up_as_tarfile_does(length: int) -> None:
    sample = PackedSample("000000-000000", bytes([7]) * length, b"")
    fields = ("000000-000000.png", sample.png), ("000000-000000.json", b"")
    assert pack([sample]) == tar_of(*fields)
    assert contents(unpack(pack([sample]), where="x")) == contents([sample])


def test_a_name_that_does_not_fit_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be called"):
        pack([PackedSample("0" * 97, b"", b"")])


@pytest.mark.parametrize("facts", [{"mtime": 1}, {"mode": 0o600}, {"uid": 7}, {"uname": "me"}])
def test_headers_that_say_more_than_ours_are_damage(facts) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("a.png", "a.json"):
            member = tarfile.TarInfo(name)
            for field, value in facts.items():
                setattr(member, field, value)
            tar.addfile(member)
    with pytest.raises(DamagedShardError, match=r"here.*a\.png"):
        list(unpack(buffer.getvalue(), where="here"))


def test_equal_content_is_equal_bytes() -> None:
    assert pack(SAMPLES) == pack(list(SAMPLES))
    assert pack(SAMPLES) != pack(SAMPLES[::-1])


def test_any_tar_reader_finds_adjacent_members_with_fixed_facts() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(SAMPLES)), mode="r|") as tar:
        members = list(tar)
    assert [member.name for member in members] == [
        f"{sample.key}.{field}" for sample in SAMPLES for field in ("png", "json")
    ]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_offsets_point_at_the_bytes() -> None:
    tar = pack(SAMPLES)
    for sample in unpack(tar, where="x"):
        assert tar[sample.png_offset :][: len(sample.png)] == sample.png
        assert tar[sample.json_offset :][: len(sample.json)] == sample.json


def test_a_shard_without_samples_is_a_tar_without_members() -> None:
    assert list(unpack(pack([]), where="x")) == []


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(pack(SAMPLES)) - 1))
def test_a_truncated_tar_is_damaged(length: int) -> None:
    with pytest.raises(DamagedShardError, match="here"):
        list(unpack(pack(SAMPLES)[:length], where="here"))


@settings(deadline=None)
@given(
    position=st.integers(min_value=0, max_value=len(pack(SAMPLES)) - 1),
    flip=st.integers(min_value=1, max_value=255),
)
def test_a_changed_byte_is_found_or_lies_in_a_members_content(position: int, flip: int) -> None:
    tar = bytearray(pack(SAMPLES))
    tar[position] ^= flip
    try:
        unpacked = contents(unpack(bytes(tar), where="here"))
    except DamagedShardError:
        return
    assert unpacked != contents(SAMPLES)
    assert [key for key, _, _ in unpacked] == [sample.key for sample in SAMPLES]


def test_bytes_after_the_end_are_damage() -> None:
    with pytest.raises(DamagedShardError):
        list(unpack(pack(SAMPLES) + pack(SAMPLES), where="here"))


@pytest.mark.parametrize(
    "members",
    [
        [("a.png", b"1")],
        [("a.json", b"1"), ("a.png", b"2")],
        [("a.png", b"1"), ("b.json", b"2")],
        [("a.png", b"1"), ("b.png", b"1"), ("a.json", b"2"), ("b.json", b"2")],
        [("a.jpg", b"1"), ("a.json", b"2")],
        [("a.png", b"1"), ("a.json", b"2"), ("a.pyd", b"3"), ("a.cls", b"4")],
    ],
)
def test_members_other_than_adjacent_pairs_are_damage(members) -> None:
    with pytest.raises(DamagedShardError, match="here"):
        list(unpack(tar_of(*members), where="here"))


def test_a_link_in_place_of_a_member_is_damage() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("a.json"), io.BytesIO(b""))
    with pytest.raises(DamagedShardError, match="here"):
        list(unpack(buffer.getvalue(), where="here"))


@pytest.mark.parametrize("raw", [b"", b"not a tar", b"\x1f\x8b" + bytes(600)])
def test_other_bytes_are_damage(raw: bytes) -> None:
    with pytest.raises(DamagedShardError, match="here"):
        list(unpack(raw, where="here"))
