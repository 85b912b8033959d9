"""Files that are damaged at random, from a seed."""

import struct

import numpy as np

HOSTILE = (0, 1, 2, 14, 15, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
"""values that parsers take for lengths and types"""
TOKENS = (
    *("NaN", "-Infinity", "1e999", "null", "true", "[]", "{}", '""', "[[[[", "}}", '"\\ud800"'),
    *(
        '"(1, 2, 3)"',
        '"(nan, 0, 0)"',
        '"(1,5, 2,5, 3,5)"',
        "\xa0",
        "\N{MINUS SIGN}",
        "\0",
        "\ufeff",
    ),
    *("9" * 400, '"' + "9" * 400 + '"', "(" * 50, "-", "0", "1e308"),
)
"""what labels hold where a program, or a person, went wrong"""


def damaged_bytes(raw: bytes, rng: np.random.Generator) -> bytes:
    """A binary file with one to four kinds of damage."""
    kinds = (_flipped, _overwritten, _cut, _without, _repeated, _zeroed, _number_changed)
    for _ in range(rng.integers(1, 5)):
        raw = kinds[rng.integers(len(kinds))](raw, rng) or raw
    return raw


def damaged_text(raw: bytes, rng: np.random.Generator) -> bytes:
    """A text file with one to four kinds of damage, such as a foreign token within it."""
    for _ in range(rng.integers(1, 5)):
        if rng.random() < 0.5:
            raw = damaged_bytes(raw, rng)
            continue
        start, end = _range(raw, rng)
        token = TOKENS[rng.integers(len(TOKENS))].encode()
        raw = raw[:start] + token + raw[end if rng.random() < 0.5 else start :]
    return raw


def _range(raw: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """A short range more often than a long one."""
    start = int(rng.integers(len(raw) + 1))
    return start, min(len(raw), start + int(2 ** rng.uniform(0, 12)))


def _flipped(raw: bytes, rng: np.random.Generator) -> bytes:
    position = int(rng.integers(max(1, len(raw))))
    return (
        raw[:position]
        + bytes(b ^ (1 << rng.integers(8)) for b in raw[position : position + 1])
        + (raw[position + 1 :])
    )


def _overwritten(raw: bytes, rng: np.random.Generator) -> bytes:
    start, end = _range(raw, rng)
    return raw[:start] + rng.bytes(end - start) + raw[end:]


def _cut(raw: bytes, rng: np.random.Generator) -> bytes:
    return raw[: rng.integers(len(raw) + 1)]


def _without(raw: bytes, rng: np.random.Generator) -> bytes:
    start, end = _range(raw, rng)
    return raw[:start] + raw[end:]


def _repeated(raw: bytes, rng: np.random.Generator) -> bytes:
    start, end = _range(raw, rng)
    return raw[:end] + raw[start:]


def _zeroed(raw: bytes, rng: np.random.Generator) -> bytes:
    start, end = _range(raw, rng)
    return raw[:start] + bytes(end - start) + raw[end:]


def _number_changed(raw: bytes, rng: np.random.Generator) -> bytes:
    """A 32-bit number replaced, in the heads of a binary file more often than elsewhere."""
    near = min(len(raw), 512) if rng.random() < 0.7 else len(raw)
    position = int(rng.integers(max(1, near // 4))) * 4
    value = HOSTILE[rng.integers(len(HOSTILE))]
    return raw[:position] + struct.pack("<I", value)[: len(raw) - position] + raw[position + 4 :]
