"""Archives that are damaged in thousands of ways: whatever was in them arrives or is named.

A mutation changes some bytes, cuts the archive, or puts a piece of it somewhere else. A good
archive and a loose file lie beside it.
"""

import io
import random
import resource
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from factory.sources.files import open_files
from factory.sources.members import DamagedFileError
from factory.sources.scan import Container, FileBatch, Ignored

pytestmark = pytest.mark.slow

SUFFIXES = frozenset({".jpg"})
NUM_MEMBERS = 12
CONTENTS = {
    f"imgs/{number}.jpg": random.Random(number).randbytes(300) + b"a" * 500
    for number in range(NUM_MEMBERS)
}
MAX_GROWTH_KB = 200_000
MAX_SECONDS = 2.0


def tar_of(form: int, *, sparse: bool = False, mode: str = "w") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode=mode, format=form) as tar:
        for name, content in CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1e9 + 0.5
            if sparse:  # all of it in one part, as PAX 0.1 writes it
                member.pax_headers = {
                    "GNU.sparse.map": f"0,{len(content)}", "GNU.sparse.size": str(len(content)),
                    "GNU.sparse.name": name, "GNU.sparse.numblocks": "1",
                }  # fmt: skip
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def zip_of(method: int, contents: Mapping[str, bytes] = CONTENTS) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return raw.getvalue()


GOOD = zip_of(zipfile.ZIP_DEFLATED, {"imgs/0.jpg": CONTENTS["imgs/0.jpg"]})
"""an archive that lies beside the damaged one"""


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "ustar.tar": lambda: tar_of(tarfile.USTAR_FORMAT),
    "pax.tar": lambda: tar_of(tarfile.PAX_FORMAT),
    "gnu.tar": lambda: tar_of(tarfile.GNU_FORMAT),
    "sparse.tar": lambda: tar_of(tarfile.PAX_FORMAT, sparse=True),
    "packed.tar.gz": lambda: tar_of(tarfile.GNU_FORMAT, mode="w:gz"),
    "packed.tar.xz": lambda: tar_of(tarfile.GNU_FORMAT, mode="w:xz"),
    "packed.tar.zst": lambda: bytes(pa.compress(tar_of(tarfile.GNU_FORMAT), "zstd", asbytes=True)),
    "stored.zip": lambda: zip_of(zipfile.ZIP_STORED),
    "deflated.zip": lambda: zip_of(zipfile.ZIP_DEFLATED),
    "bzip2.zip": lambda: zip_of(zipfile.ZIP_BZIP2),
    "lzma.zip": lambda: zip_of(zipfile.ZIP_LZMA),
}


def mutated(raw: bytes, rng: random.Random) -> bytes:
    changed = bytearray(raw)
    how = rng.random()
    if how < 0.15:
        del changed[rng.randrange(len(raw)) :]
    elif how < 0.25:
        start, length = rng.randrange(len(raw)), rng.choice((1, 30, 512, 1024))
        del changed[start : start + length]
    elif how < 0.35:
        start, length = rng.randrange(len(raw)), rng.choice((1, 30, 512, 1024))
        piece, at = raw[start : start + length], rng.randrange(len(raw))
        changed[at:at] = piece
    elif how < 0.45:
        start, length = rng.randrange(len(raw)), rng.choice((30, 512, 1024))
        changed[start : start + length] = bytes(len(changed[start : start + length]))
    else:
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(changed))
            if rng.random() < 0.7:  # where headers are
                at = min(len(changed) - 1, _header_place(raw, rng))
            changed[at] = rng.choice((0, 0xFF, 0x20, rng.randrange(256), changed[at] ^ 1))
    return bytes(changed)


def _header_place(raw: bytes, rng: random.Random) -> int:
    directory = raw.find(b"PK\x01\x02")
    if directory >= 0:
        return rng.randrange(directory, len(raw))
    return rng.randrange(0, max(1, len(raw) // 512)) * 512 + rng.randrange(345)


def check(folder: Path, name: str) -> None:
    """Everything that is in the archive arrives, is ignored by its suffix, or is named."""
    files = open_files(folder)
    listed: list[str] = []
    problems: dict[str, str] = {}
    ignored = 0
    for item in files.walk(SUFFIXES):
        if isinstance(item, FileBatch):
            listed += item.names
        elif isinstance(item, Container):
            problems |= {item.name: item.problem} if item.problem else {}
        else:
            assert isinstance(item, Ignored)
            ignored += sum(item.counts.values())
    assert {"loose.jpg", "good.zip/imgs/0.jpg"} <= {*listed}
    assert set(problems) <= {name}
    own = [n for n in listed if n.startswith(f"{name}/")]
    assert len(own) == len(set(own))
    if not problems:
        assert len(own) + ignored >= NUM_MEMBERS, "members were lost in silence"
    for member in listed:
        try:
            content = files.read(member)
        except DamagedFileError:
            assert member in own
            continue
        if ".zip/" in member:  # whose members have checksums
            assert content in CONTENTS.values()
    assert files.read("loose.jpg") == b"x"


def fuzz(folder: Path, name: str, num_mutations: int) -> None:
    raw, rng = ARCHIVES[name](), random.Random(name)
    (folder / "loose.jpg").write_bytes(b"x")
    (folder / "good.zip").write_bytes(GOOD)
    (folder / name).write_bytes(raw)
    check(folder, name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(num_mutations):
        changed = mutated(raw, rng)
        (folder / name).write_bytes(changed)
        began = time.process_time()
        try:
            check(folder, name)
        except BaseException as error:
            (folder / "found").write_bytes(changed)
            raise AssertionError(f"mutation {number}, kept as {folder}/found") from error
        assert time.process_time() - began < MAX_SECONDS
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MAX_GROWTH_KB, f"{grown} KB more memory"


@pytest.mark.parametrize("name", ARCHIVES)
def test_damage_loses_nothing_in_silence(tmp_path, name) -> None:
    fuzz(tmp_path, name, 150)


@pytest.mark.long
@pytest.mark.parametrize("name", ARCHIVES)
def test_no_damage_of_thousands_loses_anything_in_silence(tmp_path, name) -> None:
    fuzz(tmp_path, name, 1500)
