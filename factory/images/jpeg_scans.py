"""Whether a JPEG has all its scans, which decoders do not ask.

A progressive JPEG sends each component in several scans, coarse ones first; others may send one
component a scan. A file that was cut between two of them and closed with an end marker decodes
without a complaint, in coarse detail or without its colours.
"""

import re

from factory.images.png import UndecodableError

MAX_SCANS = 500
"""scans that a JPEG may have: each costs a visit of every block, however few bytes it has. Encoders
write at most a dozen"""
_MARKER = re.compile(rb"\xff+[^\x00\x01\xd0-\xd8\xff]")
"""markers with a length behind them, and that of the end; not what belongs to coded data"""
_END, _SCAN = 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xCA)
_NUM_COEFFICIENTS = 64
_NEVER_SENT = 99


def check_scans(raw: bytes) -> None:
    """Raise `UndecodableError` where a JPEG lacks scans, or has absurdly many.

    What is wrong in other ways is left to the decoder. A JPEG of one scan is not read beyond its
    header.
    """
    try:
        frame, scan = frame_and_scan(raw)
        progressive, parts = raw[frame + 1] in _PROGRESSIVE, raw[frame + 9]
        if progressive or raw[scan + 4] != parts:
            _check_several(raw, scan, progressive, raw[frame + 10 : frame + 10 + 3 * parts : 3])
    except IndexError:
        return  # it ends in its header


def frame_and_scan(raw: bytes) -> tuple[int, int]:
    """Where the markers of a JPEG's frame and of its first scan are.

    Raises:
        IndexError: it ends before its first scan.
    """
    at, frame = 2, 0
    while True:  # every render passes here, so every call counts
        while raw[at + 1] == 0xFF:
            at += 1
        code = raw[at + 1]
        if code == _SCAN:
            return frame, at
        if code in _FRAMES:
            frame = at
        at += 2 + (raw[at + 2] << 8 | raw[at + 3])


def _check_several(raw: bytes, at: int, progressive: bool, parts: bytes) -> None:
    """Check the scans from a place on.

    Args:
        parts: the numbers of the components.
    """
    unsent_bits = {part: [_NEVER_SENT] * _NUM_COEFFICIENTS for part in parts}
    """how many of the lowest bits of each coefficient are still to come"""
    num_scans = 0
    while (marker := _MARKER.search(raw, at)) is not None and raw[marker.end() - 1] != _END:
        at = marker.end()
        length = raw[at] << 8 | raw[at + 1]
        if raw[at - 1] == _SCAN:
            num_scans += 1
            if num_scans > MAX_SCANS:
                raise UndecodableError(f"a JPEG of more than {MAX_SCANS} scans")
            ends = at + 3 + 2 * raw[at + 2]
            first, last, low_bits = 0, _NUM_COEFFICIENTS - 1, 0
            if progressive:
                first, last, low_bits = raw[ends], raw[ends + 1], raw[ends + 2] & 15
            for part in raw[at + 3 : ends : 2]:
                for number in range(first, min(last, _NUM_COEFFICIENTS - 1) + 1):
                    unsent_bits.get(part, [0] * _NUM_COEFFICIENTS)[number] = low_bits
        at += length
    if any(map(any, unsent_bits.values())):
        raise UndecodableError("a JPEG that lacks scans, as if it was cut between two of them")
