"""A shard's tar: written so that equal content is equal bytes, read back strictly.

The headers are made here, not by `tarfile`: all headers that `pack` writes are the same but for
name and size, and `unpack` takes every other header for damage.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

BLOCK_BYTES = 512
RECORD_BYTES = 20 * BLOCK_BYTES
"""an archive is padded with zeros to a multiple of this"""
NAME_BYTES = 100
MAX_MEMBER_BYTES = 8**11 - 1

# The fields of a USTAR header (POSIX.1-1988) after the name; times, owner and devices are empty.
_MODE_UID_GID = b"\0".join((b"0000644", b"0000000", b"0000000", b""))
_MTIME = b"00000000000\0"
_TYPE_AND_LINK = b"0" + bytes(100)
_MAGIC_AND_REST = b"\0".join((b"ustar", b"00")).ljust(BLOCK_BYTES - 257, b"\0")
_ZEROS = bytes(BLOCK_BYTES)
_CHECKSUM_BLANK = b" " * 8
_CHECKSUM_OF_REST = sum(
    _MODE_UID_GID + b"\0" + _MTIME + _CHECKSUM_BLANK + _TYPE_AND_LINK + _MAGIC_AND_REST
)


class DamagedShardError(ValueError):
    """A tar is not whole, or not the shard that it should be."""


@dataclass(frozen=True, slots=True)
class PackedSample:
    """One sample in a tar."""

    key: str
    png: bytes
    json: bytes
    png_offset: int = field(default=-1, compare=False)
    json_offset: int = field(default=-1, compare=False)


def pack(samples: Iterable[PackedSample]) -> bytes:
    """An uncompressed USTAR archive: `key.png`, `key.json` for each sample, in the given order."""
    parts: list[bytes] = []
    for sample in samples:
        parts += member(sample.key + ".png", sample.png)
        parts += member(sample.key + ".json", sample.json)
    parts.append(archive_end(sum(map(len, parts))))
    return b"".join(parts)


def member(name: str, content: bytes) -> tuple[bytes, bytes, bytes]:
    """The header, the content and the padding of one file of an archive."""
    padding = _ZEROS[: -len(content) % BLOCK_BYTES]
    return _header(name.encode(), len(content)), content, padding


def archive_end(length: int) -> bytes:
    """What ends an archive whose members take so many bytes."""
    return bytes(_archive_bytes(length) - length)


def unpack(tar_bytes: bytes, *, where: str) -> Iterator[PackedSample]:
    """The samples of a tar, with the byte offsets of their members.

    Raises:
        DamagedShardError: the tar is truncated, or differs from what `pack` writes; raised when the
            iteration gets there.
    """
    members = _members(tar_bytes, where)
    for png_name, png_offset, png_size in members:
        json_name, json_offset, json_size = next(members, ("nothing", 0, 0))
        key = png_name.removesuffix(".png")
        if png_name != f"{key}.png" or json_name != f"{key}.json":
            raise DamagedShardError(
                f"{where}: {png_name} and {json_name} are not a pair of png and json"
            )
        yield PackedSample(
            key,
            tar_bytes[png_offset : png_offset + png_size],
            tar_bytes[json_offset : json_offset + json_size],
            png_offset,
            json_offset,
        )


def _members(tar_bytes: bytes, where: str) -> Iterator[tuple[str, int, int]]:
    """(name, offset of the content, bytes of the content) of every member.

    Raises `DamagedShardError` for gaps between members, and for anything but zeros after them.
    """
    start = num_members = 0
    while start < len(tar_bytes) and tar_bytes[start]:
        name, size = _read_header(tar_bytes[start : start + BLOCK_BYTES], where)
        content = start + BLOCK_BYTES
        start = content + size + -size % BLOCK_BYTES
        if start > len(tar_bytes):
            raise DamagedShardError(f"{where}: ends in the middle of {name}")
        if tar_bytes[content + size : start] != _ZEROS[: -size % BLOCK_BYTES]:
            raise DamagedShardError(f"{where}: damaged after {name}")
        num_members += 1
        yield name, content, size
    if len(tar_bytes) != _archive_bytes(start) or any(tar_bytes[start:]):
        raise DamagedShardError(
            f"{where}: damaged or cut short after {num_members} members: {len(tar_bytes)} bytes, "
            f"expected {_archive_bytes(start)}"
        )


def _header(name: bytes, size: int) -> bytes:
    """The USTAR header of a plain file."""
    if len(name) > NAME_BYTES or size > MAX_MEMBER_BYTES:
        raise ValueError(f"a tar member cannot be called {name!r} or be of {size} bytes")
    octal_size = b"%011o" % size
    checksum = _CHECKSUM_OF_REST + sum(name) + sum(octal_size)
    return b"%b%b%b\0%b%06o\0 %b%b" % (
        name.ljust(NAME_BYTES, b"\0"),
        _MODE_UID_GID,
        octal_size,
        _MTIME,
        checksum,
        _TYPE_AND_LINK,
        _MAGIC_AND_REST,
    )


def _read_header(header: bytes, where: str) -> tuple[str, int]:
    """(name, bytes of content) of a member."""
    name = header[:NAME_BYTES].rstrip(b"\0")
    try:
        size = int(header[124:135], 8)
        if header == _header(name, size):
            return name.decode(), size
    except ValueError:  # the size is no number or the name no text: damage, as below
        pass
    raise DamagedShardError(
        f"{where}: damaged, or not written by simgan-factory, at the header of {name[:40]!r}"
    )


def _archive_bytes(members_bytes: int) -> int:
    """Bytes of an archive: two blocks of zeros end it, and its last record is padded."""
    return -(-(members_bytes + 2 * BLOCK_BYTES) // RECORD_BYTES) * RECORD_BYTES


def sha256(content: bytes) -> str:
    """The sha256 of some bytes, in hex."""
    return hashlib.sha256(content).hexdigest()
