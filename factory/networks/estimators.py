"""Networks that read labels off images, trained on labelled renders: what their kinds share.

Each is two files in a folder of its own: `NAME.safetensors`, and `NAME.json`, which says what the
first holds and how good it is, and which `jobs/NAME.py` writes last.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from factory.networks.refiner_files import weights_bytes
from factory.store.open import open_store
from schemas.base import FormatError, Sha256, Versioned
from schemas.dataset import ImageSpec
from schemas.version import WRITER

UNSAVED = "0" * 64
"""`sha256` of a description until `save_estimator`"""


class EstimatorDescription(Versioned):
    """What is known of any estimator; a kind adds its architecture and its errors."""

    NAME: ClassVar[str]
    """of its two files and its job"""
    ESTIMATES: ClassVar[str]
    """in the singular, for messages"""

    domain: str
    image: ImageSpec
    """of the images that it takes"""
    sha256: Sha256
    """of the safetensors file"""
    train: dict[str, Any]
    """how it was trained, and on what"""
    writer: str = WRITER

    def require(self, image: ImageSpec) -> None:
        """Raises ValueError where the network is for other images."""
        if self.image != image:
            raise ValueError(
                f"the {self.ESTIMATES} network is for {self.image}, the images are {image}"
            )


Description = TypeVar("Description", bound=EstimatorDescription)
Network = TypeVar("Network", bound=nn.Module)


def save_estimator(
    location: str | Path, network: nn.Module, description: EstimatorDescription
) -> None:
    """Write the weights, then the description, whose `sha256` is filled in."""
    store = open_store(location)
    content = weights_bytes(network)
    digest = hashlib.sha256(content).hexdigest()
    store.put(f"{description.NAME}.safetensors", content)
    described = description.model_copy(update={"sha256": digest})
    store.put(f"{description.NAME}.json", described.to_json())


def load_estimator(
    location: str | Path,
    kind: type[Description],
    untrained: Callable[[Description], Network],
) -> tuple[Network, Description]:
    """Read a network back.

    Args:
        location: the output of its job.
        untrained: makes a network of the described architecture, to take the weights.

    Returns:
        The network, in evaluation mode on the CPU, and its description.

    Raises:
        FileNotFoundError: nothing there, or its training has not finished.
        FormatError: damaged, or from another run than its description.
    """
    store = open_store(location)
    weights_name, description_name = f"{kind.NAME}.safetensors", f"{kind.NAME}.json"
    try:
        described = store.read(description_name)
        content = store.read(weights_name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{location}: no {kind.ESTIMATES} network; train one with jobs/{kind.NAME}.py"
        ) from error
    where = f"{store.location}/{weights_name}"
    description = kind.from_json(described, where=f"{store.location}/{description_name}")
    if hashlib.sha256(content).hexdigest() != description.sha256:
        raise FormatError(f"{where} is not what {description_name} describes; copy both again")
    network = untrained(description)
    try:
        network.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise FormatError(f"{where}: not the weights of such a network ({error})") from error
    return network.eval(), description
