"""A shard's tar: written so that equal content is equal bytes, read back strictly.

The headers are laid out here, not by `tarfile`: every one of ours is the same but for a name and
a size, and a header that is not exactly what we would write is damage.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

BLOCK_BYTES = 512
RECORD_BYTES = 20 * BLOCK_BYTES
"""an archive is filled up with zeros to a multiple of this"""
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
    """A tar that is not the whole shard it should be."""


@dataclass(frozen=True, slots=True)
class PackedSample:
    """One sample as it lies in a tar."""

    key: str
    png: bytes
    json: bytes
    png_offset: int = field(default=-1, compare=False)
    json_offset: int = field(default=-1, compare=False)


def pack(samples: Iterable[PackedSample]) -> bytes:
    """An uncompressed USTAR archive: `key.png`, `key.json` for each sample, in the given order."""
    parts: list[bytes] = []
    length = 0
    for sample in samples:
        for suffix, content in ((b".png", sample.png), (b".json", sample.json)):
            padding = _ZEROS[: -len(content) % BLOCK_BYTES]
            parts += (_header(sample.key.encode() + suffix, len(content)), content, padding)
            length += BLOCK_BYTES + len(content) + len(padding)
    parts.append(bytes(_archive_bytes(length) - length))
    return b"".join(parts)


def unpack(tar_bytes: bytes, *, where: str) -> Iterator[PackedSample]:
    """The samples of a tar, with the byte offsets of their members.

    Raises:
        DamagedShardError: truncated, or anything other than what `pack` writes; when it is reached.
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
    """(name, offset of the content, its bytes) of every member, without gaps, zeros to the end."""
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
    except ValueError:  # no number, or no text: damage, as below
        pass
    raise DamagedShardError(f"{where}: not a tar of ours, or damaged, at {name[:40]!r}")


def _archive_bytes(members_bytes: int) -> int:
    """Length of an archive: two blocks of zeros end it, and its last record is filled up."""
    return -(-(members_bytes + 2 * BLOCK_BYTES) // RECORD_BYTES) * RECORD_BYTES


def sha256(content: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(content).hexdigest()
