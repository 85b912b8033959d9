"""Single frames of the NYU format, and what the source makes of them."""

from pathlib import Path

import numpy as np

from factory.domains.hand.sources.nyu import NyuOptions, NyuSource
from factory.sources.base import Loaded
from support import hands

FRAME = "synthdepth_1_0000001"
RENDERS = NyuOptions()
REAL = NyuOptions(kind="real")


def load(folder: Path, source_id: str = FRAME, options: NyuOptions = RENDERS) -> Loaded:
    return NyuSource(folder, options).load(source_id)


def ids_in(folder: Path, options: NyuOptions = RENDERS) -> list[str]:
    return [facts.id for facts in NyuSource(folder, options).listing()]


def write_one(
    folder: Path, uvd: np.ndarray, depth: np.ndarray | None = None, prefix: str = "synthdepth"
) -> None:
    """Frame 1 of camera 1 alone."""
    hands.write_joints(folder, uvd[None, None])
    depth = hands.depth_picture(uvd) if depth is None else depth
    (folder / f"{prefix}_1_0000001.png").write_bytes(hands.packed(depth))
