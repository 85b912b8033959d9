"""A shard's tar: written so that equal content is equal bytes, read back strictly."""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class DamagedShardError(ValueError):
    """A tar that is not the whole shard it should be."""


@dataclass(frozen=True)
class PackedSample:
    """One sample as it lies in a tar."""

    key: str
    png: bytes
    json: bytes
    png_offset: int = -1
    json_offset: int = -1


def pack(samples: Iterable[PackedSample]) -> bytes:
    """An uncompressed USTAR archive: `key.png`, `key.json` for each sample, in the given order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for field, content in (("png", sample.png), ("json", sample.json)):
                member = tarfile.TarInfo(f"{sample.key}.{field}")
                member.size = len(content)
                member.mode = 0o644
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def unpack(tar_bytes: bytes, *, where: str) -> Iterator[PackedSample]:
    """The samples of a tar, with the byte offsets of their members.

    Raises:
        DamagedShardError: truncated, or anything other than adjacent png and json pairs.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(tar_bytes), mode="r:") as tar:
            members = tar.getmembers()
    except tarfile.TarError as error:
        raise DamagedShardError(f"{where}: not a readable tar ({error})") from error
    _check_whole(tar_bytes, members, where)
    if len(members) % 2:
        raise DamagedShardError(f"{where}: {len(members)} members, not pairs of png and json")
    for png, json in zip(members[::2], members[1::2], strict=True):
        key = png.name.removesuffix(".png")
        if png.name != f"{key}.png" or json.name != f"{key}.json":
            raise DamagedShardError(f"{where}: {png.name} and {json.name} are not one sample")
        yield PackedSample(
            key,
            tar_bytes[png.offset_data : png.offset_data + png.size],
            tar_bytes[json.offset_data : json.offset_data + json.size],
            png.offset_data,
            json.offset_data,
        )


def _check_whole(tar_bytes: bytes, members: list[tarfile.TarInfo], where: str) -> None:
    """See that plain files follow each other without gaps, and zeros after them to the end.

    tarfile takes a damaged header for the end of the archive, and says nothing.
    """
    end = 0
    for member in members:
        if not member.isreg() or member.offset != end:
            raise DamagedShardError(f"{where}: damaged at {member.name}")
        content_end = member.offset_data + member.size
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if end > len(tar_bytes):
            raise DamagedShardError(f"{where}: ends in the middle of {member.name}")
        if any(tar_bytes[content_end:end]):
            raise DamagedShardError(f"{where}: damaged after {member.name}")
    end_marker = 2 * tarfile.BLOCKSIZE
    length = -(-(end + end_marker) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
    if len(tar_bytes) != length or any(tar_bytes[end:]):
        raise DamagedShardError(
            f"{where}: damaged or cut short after {len(members)} members: {len(tar_bytes)} bytes, "
            f"expected {length}"
        )


def sha256(content: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(content).hexdigest()
