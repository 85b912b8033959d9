"""Numeric arrays out of MATLAB files: of version 5, and of version 7.3, which is HDF5.

`scipy.io.loadmat` allocates what a file declares before it has read it, and reads all fields of a
struct. So a small file, damaged or made for the purpose, can take all memory. Here only the arrays
that are asked for are read, and what they take is compared with a budget beforehand.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.store.extras import require

MIN_BUDGET_BYTES = 64 << 20
MAX_BUDGET_BYTES = 1 << 30
MAX_INFLATION = 100
"""The arrays of one file take at most this many times its size in memory; always at least
`MIN_BUDGET_BYTES` are allowed, and at most `MAX_BUDGET_BYTES`."""

Array = NDArray[Any]

_HEADER_BYTES = 128
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_PLACES = (0, 512)
"""where the signature is in a file of HDF5 and in one of MATLAB 7.3"""
_CUT_SHORT = "is cut short or damaged"
_COMPRESSED, _MATRIX = 15, 14
"""types of elements"""
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"} | {
    13: "u8"
}
"""type of an element with numbers -> how they are stored"""
_STRUCT = 2
_NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"} | {
    14: "i8",
    15: "u8",
}
"""class of an array of numbers -> their type"""
_IS_COMPLEX = 0x0800
_HEAD_BYTES = 4096
"""of an inflated variable, which are enough for its name"""
_MAX_DEFLATE_RATIO = 1032
"""what deflate can make of a byte"""
_DEFLATE, _SHUFFLE = 1, 2
"""filters of HDF5"""


class MatError(ValueError):
    """A file is not a MATLAB file that is read here, or lacks an array; says why."""


class AbsentError(MatError):
    """A file has no such variable, or no such field in a struct that it has."""

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__(f"has no {_dotted(path)}")
        self.path = path


def read_arrays(raw: bytes, paths: Sequence[tuple[str, ...]]) -> list[Array | MatError]:
    """Some arrays of a MATLAB file, in MATLAB's order of axes.

    Args:
        raw: the file.
        paths: for each array, the name of its variable and the fields below it.

    Returns:
        For each path the array, or why the file does not give it.

    Raises:
        MatError: the file is of neither version, or is of version 7.3 and cannot be opened.
        MissingExtraError: it is of version 7.3, and h5py is not installed.
    """
    arrays: list[Array | MatError] = []
    with _opened(raw) as file:
        for path in paths:
            try:
                arrays.append(file.array(path))
            except MatError as error:
                arrays.append(error)
    return arrays


def _opened(raw: bytes) -> "AbstractContextManager[_Hdf5File | _Version5File]":
    if any(raw[start:].startswith(_HDF5_SIGNATURE) for start in _HDF5_PLACES):
        require("h5py", "reading a MATLAB file of version 7.3")
        return closing(_Hdf5File(raw))
    if raw.startswith(b"MATLAB 7.3"):
        raise MatError("says that it is of version 7.3 and is no HDF5 file: damaged")
    return nullcontext(_Version5File(raw))


class _Budget:
    """The memory that the arrays of one file may take."""

    def __init__(self, file_bytes: int) -> None:
        wanted = max(MIN_BUDGET_BYTES, MAX_INFLATION * file_bytes)
        self.file_bytes, self.limit = file_bytes, min(wanted, MAX_BUDGET_BYTES)
        self.spent = 0

    def check(self, num_bytes: int, what: str) -> None:
        """Raises `MatError` where so many bytes are more than the whole budget."""
        if num_bytes > self.limit:
            raise MatError(
                f"{what} would take {num_bytes / 1e6:,.0f} MB of memory, more than the "
                f"{self.limit / 1e6:,.0f} MB that a file of {self.file_bytes / 1e6:.1f} MB is "
                "allowed; it is damaged, or has to be split into several files"
            )

    def spend(self, shape: tuple[int, ...], itemsize: int, what: str) -> None:
        """Account for an array before it is made."""
        if min(shape, default=0) < 0:
            raise MatError(_CUT_SHORT)
        self.spent += math.prod(shape) * itemsize
        self.check(self.spent, what)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path)


# --- version 5 ------------------------------------------------------------------------------------


class _Matrix(NamedTuple):
    """The head of an element that is a matrix."""

    kind: int
    """class of the array"""
    is_complex: bool
    shape: tuple[int, ...]
    name: str
    rest: Iterator[tuple[int, memoryview]]
    """the elements after the head"""


class _Version5File:
    """A MATLAB file of version 5 (versions 5 to 7 of MATLAB write it)."""

    def __init__(self, raw: bytes) -> None:
        """Raises `MatError` where it is something else."""
        marks = {b"IM": "<", b"MI": ">"}
        if not raw:
            raise MatError("is empty")
        if raw[126:128] not in marks:
            raise MatError("is not a MATLAB file of version 5 or 7.3")
        self._raw, self._order = memoryview(raw), marks[raw[126:128]]
        self._budget = _Budget(len(raw))
        self._variables: dict[str, memoryview] = {}
        """the variable that was read last"""

    def array(self, path: tuple[str, ...]) -> Array:
        """The array at a path. Raises `MatError`."""
        name, *fields = path
        if name not in self._variables:
            self._variables = {name: self._variable(name)}
        content = self._variables[name]
        for depth, field in enumerate(fields, 1):
            content = self._field(content, path[:depth], field)
        return self._numbers(content, _dotted(path))

    def _variable(self, name: str) -> memoryview:
        for kind, content in self._elements(self._raw[_HEADER_BYTES:]):
            if kind == _COMPRESSED:
                head = memoryview(self._inflated(content, _HEAD_BYTES))
                num_bytes = self._matrix_bytes(head)
                if self._head(head[8:]).name == name:
                    self._budget.check(num_bytes, name)
                    return self._whole(content, num_bytes, name)
            elif kind == _MATRIX and self._head(content).name == name:
                return content
        raise AbsentError((name,))

    def _inflated(self, content: memoryview, num_bytes: int) -> bytes:
        """At most the first bytes of a compressed element."""
        try:
            return zlib.decompressobj().decompress(content, num_bytes)
        except zlib.error as error:
            raise MatError(f"{_CUT_SHORT} ({error})") from error

    def _whole(self, content: memoryview, num_bytes: int, name: str) -> memoryview:
        """The matrix in a compressed element, where it has its declared size and checksum."""
        unpacking = zlib.decompressobj()
        try:
            inflated = unpacking.decompress(content, num_bytes + 9)
        except zlib.error as error:
            raise MatError(f"{name} {_CUT_SHORT} ({error})") from error
        if not unpacking.eof or len(inflated) != num_bytes + 8:
            raise MatError(f"{name} {_CUT_SHORT}")
        return memoryview(inflated)[8:]

    def _matrix_bytes(self, head: memoryview) -> int:
        """The size that an inflated matrix declares."""
        if len(head) < 8:
            raise MatError(_CUT_SHORT)
        kind, num_bytes = struct.unpack(f"{self._order}II", head[:8])
        if kind != _MATRIX:
            raise MatError(_CUT_SHORT)
        return int(num_bytes)

    def _elements(self, content: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Type and content of each element."""
        position = 0
        while position < len(content):
            tag = content[position : position + 8]
            if len(tag) < 8:
                raise MatError(_CUT_SHORT)
            kind, size = struct.unpack(f"{self._order}II", tag)
            start, padding = position + 8, 0 if kind == _COMPRESSED else -size % 8
            if kind >> 16:  # a small element has its content in the tag
                kind, size, start, padding = kind & 0xFFFF, kind >> 16, position + 4, 0
                position += 8
                if size > 4:
                    raise MatError(_CUT_SHORT)
            else:
                position += 8 + size + padding
            if start + size > len(content):
                raise MatError(_CUT_SHORT)
            yield kind, content[start : start + size]

    def _head(self, content: memoryview) -> _Matrix:
        """Read the head of a matrix, of which the end may be missing."""
        # The variable's last elements may lie beyond the part that is inflated; they are not read.
        parts = self._elements(content)
        flags, shape, name = (self._next(parts) for _ in range(3))
        if len(flags) < 4 or len(shape) % 4:
            raise MatError(_CUT_SHORT)
        flag = int.from_bytes(flags[:4], "little" if self._order == "<" else "big")
        return _Matrix(
            kind=flag & 0xFF,
            is_complex=bool(flag & _IS_COMPLEX),
            shape=struct.unpack(f"{self._order}{len(shape) // 4}i", shape),
            name=bytes(name).decode("latin-1"),
            rest=parts,
        )

    def _next(self, parts: Iterator[tuple[int, memoryview]]) -> memoryview:
        part = next(parts, None)
        if part is None:
            raise MatError(_CUT_SHORT)
        return part[1]

    def _field(self, content: memoryview, path: tuple[str, ...], field: str) -> memoryview:
        """The matrix in one field of a struct."""
        head = self._head(content) if content else None
        if head is None or head.kind != _STRUCT or math.prod(head.shape) != 1:
            raise MatError(f"{_dotted(path)} is not a struct")
        width = int.from_bytes(self._next(head.rest)[:4], "little" if self._order == "<" else "big")
        names = bytes(self._next(head.rest))
        if not 0 < width <= max(1, len(names)):
            raise MatError(_CUT_SHORT)
        for start in range(0, len(names), width):
            matrix = self._next(head.rest)
            if names[start : start + width].split(b"\0")[0].decode("latin-1") == field:
                return matrix
        raise AbsentError((*path, field))

    def _numbers(self, content: memoryview, what: str) -> Array:
        """The numbers of a matrix."""
        if not content:  # MATLAB's empty array
            return np.empty((0, 0))
        head = self._head(content)
        if head.kind not in _NUMERIC or head.is_complex:
            raise MatError(f"{what} is not an array of real numbers")
        dtype = np.dtype(_NUMERIC[head.kind])
        self._budget.spend(head.shape, dtype.itemsize, what)
        kind, numbers = next(head.rest, (0, memoryview(b"")))
        if kind not in _STORED:
            raise MatError(f"{what} {_CUT_SHORT}")
        stored = np.dtype(f"{self._order}{_STORED[kind]}")
        if len(numbers) != math.prod(head.shape) * stored.itemsize:
            raise MatError(f"{what} {_CUT_SHORT}")
        with np.errstate(invalid="ignore"):  # damaged numbers need not fit their type
            values = np.frombuffer(numbers, stored).astype(dtype)
        return values.reshape(head.shape, order="F")


# --- version 7.3 ----------------------------------------------------------------------------------


@contextmanager
def _damage_named() -> Iterator[None]:
    """Raise `MatError` in place of whatever HDF5's library makes of a damaged file."""
    try:
        yield
    except MatError:
        raise
    except Exception as error:
        raise MatError(f"{_CUT_SHORT} ({type(error).__name__}: {error})") from error


class _Hdf5File:
    """A MATLAB file of version 7.3; axes are in the opposite order there."""

    def __init__(self, raw: bytes) -> None:
        """Raises `MatError` where it cannot be opened."""
        import h5py

        self._budget = _Budget(len(raw))
        with _damage_named():
            self._file: Any = h5py.File(io.BytesIO(raw), "r")

    def close(self) -> None:
        """Raises `MatError` as `array` does."""
        with _damage_named():
            self._file.close()

    def array(self, path: tuple[str, ...]) -> Array:
        """The array at a path. Raises `MatError`."""
        with _damage_named():
            return self._read(path)

    def _read(self, path: tuple[str, ...]) -> Array:
        import h5py

        node, what = self._file, _dotted(path)
        for depth, name in enumerate(path):
            if not isinstance(node, h5py.Group):
                raise MatError(f"{_dotted(path[:depth])} is not a struct")
            # A link of another kind may lead to another file.
            if not isinstance(node.get(name, getlink=True), h5py.HardLink):
                raise AbsentError(path[: depth + 1])
            node = node[name]
        if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "fiu":
            raise MatError(f"{what} is not an array of real numbers")
        if node.attrs.get("MATLAB_empty", 0):
            return np.empty((0, 0))
        self._check_storage(node, what)
        self._budget.spend(node.shape, node.dtype.itemsize, what)
        return np.asarray(node[()]).T

    def _check_storage(self, dataset: Any, what: str) -> None:
        """Refuse what MATLAB does not write: numbers in other files, and packing by other filters,
        of which the size is not known before they are unpacked."""
        if dataset.external is not None or dataset.is_virtual:
            raise MatError(f"{what} has its numbers in another file")
        if dataset.chunks is None:
            return
        chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
        self._budget.check(chunk_bytes, what)
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(n)[0] for n in range(properties.get_nfilters())]
        if filters not in ([], [_SHUFFLE], [_DEFLATE], [_SHUFFLE, _DEFLATE]):
            raise MatError(f"{what} is packed by filters that MATLAB does not use")
        if _DEFLATE not in filters:
            return
        suspects: list[tuple[int, ...]] = []

        def look(chunk: Any) -> None:
            if chunk.size * _MAX_DEFLATE_RATIO > self._budget.limit:
                suspects.append(chunk.chunk_offset)

        dataset.id.chunk_iter(look)
        for offset in suspects:
            mask, packed = dataset.id.read_direct_chunk(offset)
            if mask:  # it is not packed
                continue
            unpacking = zlib.decompressobj()
            unpacking.decompress(packed, chunk_bytes + 1)
            if not unpacking.eof:
                raise MatError(f"{what} {_CUT_SHORT}")
