"""Weights with which the gazes of ingested renders have the distribution of a real domain."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.sources.gaze_filter import GazeWeights, load_target
from factory.domains.eye.sources.unityeyes import UnityEyesSource
from factory.sources.base import BadRender
from schemas.dataset import InputFacts

MAX_GAZES_READ = 4000
"""most labels that are read to estimate the distribution of the renders' gazes"""


def weights_for(
    source: UnityEyesSource, listing: Sequence[InputFacts], target: Path, target_sha256: str
) -> GazeWeights:
    """The weights for the renders of a source.

    Args:
        source: reads the labels of the renders.
        listing: of the renders.
        target: an .npz file of gaze angles, see `load_target`.
        target_sha256: of that file.

    Raises:
        ValueError: the target cannot be used, or no render has a readable gaze.
    """
    step = max(1, len(listing) // MAX_GAZES_READ)
    angles, chosen = [], listing[::step]
    source.expect({facts.id: facts.suffixes for facts in chosen})
    for facts in chosen:
        try:
            angles.append(source.gaze_angles(facts.id))
        except BadRender:  # building its shard will reject the render and record the reason
            continue
    if not angles:
        raise ValueError(f"{source.location}: no render has a readable gaze to resample")
    given: NDArray[np.float64] = np.array(angles)
    return GazeWeights.matching(given, load_target(target), target_sha256=target_sha256)
