"""Weights under which ingested renders follow the gazes of a real domain."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.domains.eye.sources.gaze_filter import GazeWeights, load_target
from factory.domains.eye.sources.unityeyes import UnityEyesSource
from factory.sources.base import BadRender
from schemas.dataset import InputFacts

MAX_GAZES_READ = 4000
"""labels read to estimate how the renders look"""


def weights_for(
    source: UnityEyesSource, listing: Sequence[InputFacts], target: Path, target_sha256: str
) -> GazeWeights:
    """Keep probabilities under which the renders' gazes follow a target distribution.

    Raises:
        ValueError: the target is unusable, or no render has a readable gaze.
    """
    step = max(1, len(listing) // MAX_GAZES_READ)
    angles, chosen = [], listing[::step]
    source.expect({facts.id: facts.suffixes for facts in chosen})
    for facts in chosen:
        try:
            angles.append(source.gaze_angles(facts.id))
        except BadRender:  # it will be rejected, with its reason, when its shard is built
            continue
    if not angles:
        raise ValueError(f"{source.location}: no render has a readable gaze to resample")
    given: NDArray[np.float64] = np.array(angles)
    return GazeWeights.matching(given, load_target(target), target_sha256=target_sha256)
