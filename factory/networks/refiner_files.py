"""Refiners on disk: safetensors with a JSON description, never pickle."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from factory.networks.refiner import Refiner
from factory.networks.stored_refiner import DESCRIPTION_NAME, WEIGHTS_NAME, read_refiner
from factory.networks.weights import filled, tensors_in
from factory.store.open import open_store
from schemas.base import FormatError
from schemas.refiner import RefinerDescription


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them: on the CPU, contiguous, sharing no memory."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def weights_bytes(network: nn.Module) -> bytes:
    """The safetensors file of a network: the same bytes for the same weights."""
    content: bytes = save(_plain(network.state_dict()))
    return content


def save_refiner(
    location: str | Path, refiner: Refiner, description: RefinerDescription, *, below: str = ""
) -> None:
    """Write `refiner.safetensors`, then `refiner.json`: a refiner exists once both do.

    Args:
        location: a folder, made if it is missing, or `s3://bucket/prefix`.
        description: its `sha256` and `architecture` are overwritten by the refiner's own.
        below: a folder inside the location, with a slash at its end.
    """
    store = open_store(location)
    content = weights_bytes(refiner)
    description = description.model_copy(
        update={"sha256": hashlib.sha256(content).hexdigest(), "architecture": refiner.config}
    )
    store.put(f"{below}{WEIGHTS_NAME}", content)
    store.put(f"{below}{DESCRIPTION_NAME}", description.to_json())


def load_refiner(location: str | Path) -> tuple[Refiner, RefinerDescription]:
    """Read a refiner, and check it against its description.

    Args:
        location: the folder of a finished run, its `refiner.safetensors` or its `refiner.json`;
            a path or `s3://bucket/prefix`.

    Returns:
        The refiner, in evaluation mode on the CPU, and its description.

    Raises:
        FileNotFoundError: there is no refiner, or its run has not finished.
        FormatError: a file is damaged, has changed since it was written, or is of another
            architecture.
    """
    stored = read_refiner(location)
    description, where = stored.description, stored.where
    architecture, tensors = description.architecture, tensors_in(stored.weights, where=where)
    if architecture.blocks > len(tensors):  # so many that to build them takes long, even so
        raise FormatError(
            f"{where}: not the architecture that its description names ({len(tensors)} tensors for "
            f"{architecture.blocks} blocks); use the two files of one run"
        )
    return filled(lambda: Refiner(architecture), tensors, where=where), description
