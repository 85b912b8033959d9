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
    num_scans = 0
    progressive = False
    unsent_bits: dict[int, list[int]] = {}
    """by component: how many of the lowest bits of each coefficient are still to come"""
    at = 2
    while (marker := _MARKER.search(raw, at)) is not None:
        at = marker.end()
        code = raw[at - 1]
        if code == _END:
            break
        end = at + int.from_bytes(raw[at : at + 2])
        content = raw[at + 2 : end] if code in _FRAMES or code == _SCAN else b""
        at = end
        if code in _FRAMES and len(content) >= 6:
            progressive = code in _PROGRESSIVE
            unsent_bits = {part: [_NEVER_SENT] * _NUM_COEFFICIENTS for part in content[6::3]}
        elif code == _SCAN and content and len(content) >= 4 + 2 * content[0]:
            num_parts = content[0]
            if not progressive and num_parts == len(unsent_bits):
                return
            num_scans += 1
            if num_scans > MAX_SCANS:
                raise UndecodableError(f"a JPEG of more than {MAX_SCANS} scans")
            first, last, bits = content[1 + 2 * num_parts : 4 + 2 * num_parts]
            for part in content[1 : 1 + 2 * num_parts : 2]:
                if part in unsent_bits:
                    sent = slice(first, last + 1) if progressive else slice(None)
                    count = len(unsent_bits[part][sent])
                    unsent_bits[part][sent] = [bits & 15 if progressive else 0] * count
    if any(map(any, unsent_bits.values())):
        raise UndecodableError("a JPEG that lacks scans, as if it was cut between two of them")
