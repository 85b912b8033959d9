"""Networks that read labels off images, on disk.

Each is two files in a folder of its own: `KIND.safetensors` holds the weights, and `KIND.json` says
what they are and how large the network's errors are. The description is written last, so a network
exists once its description does.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from factory.networks.refiner_files import weights_bytes
from factory.networks.weights import filled, tensors_in
from factory.store.open import open_store
from schemas.base import FormatError
from schemas.estimator import EstimatorDescription
from schemas.version import WRITER

UNSAVED = "0" * 64
"""`sha256` of a description that `save_estimator` has not written yet"""

Description = TypeVar("Description", bound=EstimatorDescription)
Network = TypeVar("Network", bound=nn.Module)


def save_estimator(
    location: str | Path, network: nn.Module, description: EstimatorDescription
) -> None:
    """Write the weights, then the description, whose `sha256` and `writer` are filled in."""
    store = open_store(location)
    content = weights_bytes(network)
    digest = hashlib.sha256(content).hexdigest()
    store.put(f"{description.NAME}.safetensors", content)
    described = description.model_copy(update={"sha256": digest, "writer": WRITER})
    store.put(f"{description.NAME}.json", described.to_json())


def require_finite(values: NDArray[Any], described_by: type[EstimatorDescription]) -> None:
    """Refuse answers of a network that are not finite.

    Measurements would store them as what could not be measured, and a gate lets that pass.

    Raises:
        ValueError: some of them are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError(
            f"the {described_by.ESTIMATES} network answers with values that are not finite; train "
            f"another with jobs/estimator.py {described_by.NAME}, at a lower --lr"
        )


def load_estimator(
    location: str | Path,
    description_type: type[Description],
    untrained: Callable[[Description], Network],
) -> tuple[Network, Description]:
    """Read a network back.

    Args:
        location: the output of `jobs/estimator.py`, a folder or `s3://bucket/prefix`.
        untrained: makes a network of the described architecture, which the weights are loaded into.

    Returns:
        The network, in evaluation mode on the CPU, and its description.

    Raises:
        FileNotFoundError: there is no network, or its training has not finished.
        FormatError: a file is damaged, the two files are of different trainings, or a weight is not
            finite.
    """
    store = open_store(location)
    name = description_type.NAME
    weights_name, description_name = f"{name}.safetensors", f"{name}.json"
    try:
        described = store.read(description_name)
        content = store.read(weights_name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{location}: no {description_type.ESTIMATES} network; "
            f"train one with jobs/estimator.py {name}"
        ) from error
    where = f"{store.location}/{weights_name}"
    description = description_type.from_json(
        described, where=f"{store.location}/{description_name}"
    )
    if hashlib.sha256(content).hexdigest() != description.sha256:
        raise FormatError(f"{where} is not what {description_name} describes; copy both again")
    tensors = tensors_in(content, where=where)
    return filled(partial(untrained, description), tensors, where=where), description


def load_unchanged(
    load: Callable[[str], tuple[Network, EstimatorDescription]],
    location: str | None,
    sha256: str | None,
) -> Network | None:
    """Read a network again that was looked at before any work; None where there is none.

    Args:
        load: reads one back, as `load_estimator` does.
        sha256: of its weights, as it was found then.

    Raises:
        ValueError: there are other weights now.
    """
    if location is None:
        return None
    network, described = load(location)
    if described.sha256 != sha256:
        raise ValueError(f"{location} changed while the job ran")
    return network
