"""Sources from their options, which the dataset card records."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue, ValidationError

from factory.domains import known_domains
from factory.sources.base import BadRender, Source, SourceOptions
from factory.sources.gaze_filter import GazeWeights, load_target
from factory.sources.unityeyes import UnityEyesSource
from schemas.base import FormatError, spell_out
from schemas.dataset import InputFacts

MAX_GAZES_READ = 4000
"""labels read to estimate how the renders look, when a target distribution is asked for"""


def sources() -> dict[str, type[Source]]:
    """Every source of every domain, by name."""
    return {kind.name: kind for domain in known_domains().values() for kind in domain.sources}


def make_source(location: str | Path, options: SourceOptions) -> Source:
    """The source that these options are for, reading at a location.

    Raises:
        FormatError: no domain has one.
    """
    for kind in sources().values():
        if kind.options_kind is type(options):
            return kind(location, options)
    raise FormatError(f"no source takes {type(options).__name__}")


def options_in(config: Mapping[str, JsonValue]) -> SourceOptions:
    """The options that a dataset card's `config` records.

    Raises:
        FormatError: not of an ingested dataset, or of a source or options unknown here.
    """
    name, known = config.get("source"), sources()
    if not isinstance(name, str) or name not in known:
        raise FormatError(f"a dataset made from {name!r}, known sources are {', '.join(known)}")
    try:
        return known[name].options_kind.model_validate(config.get("options"))
    except ValidationError as error:
        raise FormatError(f"options of {name} in a dataset card: {spell_out(error)}") from error


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
