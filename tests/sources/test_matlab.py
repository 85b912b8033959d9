"""Arrays out of MATLAB files, against scipy and h5py, and within a budget."""

import io
import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from factory.sources.matlab import MatError, read_arrays
from support.matlab import mat5, mat73

RNG = np.random.default_rng(0)
TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
FIELDS = {name: (RNG.random((3, 2, 4)) * 100).astype(name) for name in TYPES}
VARIABLES = {"data": {"inner": FIELDS, "text": "words"}, "other": np.arange(12.0).reshape(3, 4)}
PATHS = [*(("data", "inner", name) for name in TYPES), ("other",)]


def mat73_of(array: np.ndarray, **options: object) -> bytes:
    return mat73({"a": array}, **options)


@pytest.mark.parametrize(
    "raw", [mat5(VARIABLES), mat5(VARIABLES, do_compression=True)], ids=["plain", "packed"]
)
def test_arrays_of_version_5_are_those_that_scipy_reads(raw) -> None:
    read = scipy.io.loadmat(io.BytesIO(raw), simplify_cells=True)
    expected = [*(read["data"]["inner"][name] for name in TYPES), read["other"]]
    for ours, theirs in zip(read_arrays(raw, PATHS), expected, strict=True):
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True}])
def test_arrays_of_version_7_3_have_the_axes_of_matlab(options) -> None:
    arrays = read_arrays(mat73({"data": {"inner": FIELDS}}, **options), PATHS)
    for name, ours in zip(TYPES, arrays, strict=False):
        assert ours.dtype == FIELDS[name].dtype and np.array_equal(ours, FIELDS[name])
    assert str(arrays[-1]) == "has no other"


def test_a_file_of_version_7_3_is_opened_once_and_closed(monkeypatch) -> None:
    opened = []

    class File(h5py.File):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            opened.append(self)

    raw = mat73({"data": {"inner": FIELDS}})
    monkeypatch.setattr(h5py, "File", File)
    assert len(read_arrays(raw, PATHS)) == len(PATHS)
    (file,) = opened
    assert not file.id.valid


def test_a_file_of_version_7_3_that_cannot_be_opened_is_refused() -> None:
    with pytest.raises(MatError, match="cut short or damaged"):
        read_arrays(mat73({"a": np.ones(9)})[:600], PATHS)


def test_numbers_that_matlab_stores_in_fewer_bytes_have_their_own_type() -> None:
    """MATLAB stores whole float64 in the smallest type that holds them; files may be big-endian."""
    for order, mark in ("<", b"IM"), (">", b"MI"):
        name = struct.pack(f"{order}I", 1 << 16 | 1) + b"a\0\0\0"
        flags = struct.pack(f"{order}IIII", 6, 8, 6, 0)
        shape = struct.pack(f"{order}IIii", 5, 8, 1, 3)
        numbers = struct.pack(f"{order}IIHHHH", 4, 6, 7, 8, 900, 0)
        body = flags + shape + name + numbers
        raw = b"x".ljust(124) + struct.pack(f"{order}H", 0x100) + mark
        raw += struct.pack(f"{order}II", 14, len(body)) + body
        (array,) = read_arrays(raw, [("a",)])
        assert array.dtype == np.float64 and array.tolist() == [[7, 8, 900]]


def packed(element: bytes) -> bytes:
    content = zlib.compress(element, 9)
    head = mat5({})[:128]
    return head + struct.pack("<II", 15, len(content)) + content


def zeros_mat(num_bytes: int, rows: int | None = None) -> bytes:
    """A packed variable `a` of many zeros; `rows` is what its head declares."""
    body = struct.pack("<IIII", 6, 8, 9, 0)
    body += struct.pack("<IIii", 5, 8, num_bytes if rows is None else rows, 1)
    body += struct.pack("<I", 1 << 16 | 1) + b"a\0\0\0" + struct.pack("<II", 2, num_bytes)
    return packed(struct.pack("<II", 14, len(body) + num_bytes) + body + bytes(num_bytes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: zeros_mat(70_000_000), "would take 70 MB of memory, more than the 67 MB"),
        (lambda: zeros_mat(8000, rows=2**31 - 1), "would take 2,147 MB of memory"),
        (lambda: zeros_mat(8000, rows=-1), "cut short or damaged"),
        (lambda: mat5({"a": np.zeros(9_000_000)}), None),
        (lambda: mat73_of(np.zeros(9_000_000), compression="gzip"), "would take 72 MB"),
        (lambda: mat73_of(np.ones(9), compression="lzf", chunks=(9,)), "packed by filters"),
        (lambda: mat73_of(np.ones(9), fletcher32=True, chunks=(9,)), "packed by filters"),
    ],
    ids=["zeros", "head", "negative", "large file", "7.3", "lzf", "checksums"],
)
def test_what_a_file_may_take_is_bounded(make, reason) -> None:
    raw = make()
    tracemalloc.start()
    (result,) = read_arrays(raw, [("a",)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if reason is None:
        assert result.shape == (1, 9_000_000)
    else:
        assert isinstance(result, MatError) and reason in str(result)
        assert peak < 5_000_000


@pytest.mark.slow
def test_a_chunk_that_unpacks_to_more_than_it_holds_is_refused() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        array = file.create_dataset("a", (9,), "u1", chunks=(9,), compression="gzip")
        array.id.write_direct_chunk((0,), zlib.compress(bytes(70_000_000)))
    (error,) = read_arrays(buffer.getvalue(), [("a",)])
    assert isinstance(error, MatError) and "damaged" in str(error)


def test_numbers_in_another_file_are_not_read(tmp_path) -> None:
    (tmp_path / "secret").write_bytes(bytes(9))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.ones(9)
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file.create_dataset("raw", (9,), "u1", external=[(str(tmp_path / "secret"), 0, 9)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
        layout = h5py.VirtualLayout((9,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", (9,))
        file.create_virtual_dataset("virtual", layout)
    errors = read_arrays((tmp_path / "x.mat").read_bytes(), [("raw",), ("link",), ("virtual",)])
    assert [str(error).split(" has ")[-1] for error in errors] == [
        "its numbers in another file",
        "has no link",
        "its numbers in another file",
    ]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is empty"),
        (b"<html>".ljust(500), "not a MATLAB file of version 5 or 7.3"),
        (b"MATLAB 7.3 MAT-file".ljust(3000), "is no HDF5 file"),
    ],
)
def test_a_file_of_another_kind_is_refused(raw, reason) -> None:
    with pytest.raises(MatError, match=reason):
        read_arrays(raw, [("a",)])


def test_what_is_no_array_of_numbers_is_named() -> None:
    variables = {"text": "words", "complex": np.array([1j]), "pair": [{"x": 1}, {"x": 2}]}
    paths = [("text",), ("complex",), ("pair", "x"), ("text", "x"), ("none",)]
    assert [str(error) for error in read_arrays(mat5(variables), paths)] == [
        "text is not an array of real numbers",
        "complex is not an array of real numbers",
        "pair is not a struct",
        "text is not a struct",
        "has no none",
    ]
