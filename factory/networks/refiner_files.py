"""Refiners on disk: safetensors with a JSON description, never pickle."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from factory.networks.refiner import Refiner
from factory.store.base import Store
from factory.store.open import absolute, is_remote, open_store
from schemas.base import FormatError
from schemas.refiner import RefinerDescription

WEIGHTS_NAME = "refiner.safetensors"
DESCRIPTION_NAME = "refiner.json"


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them: on the CPU, contiguous, sharing no memory."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def weights_bytes(network: nn.Module) -> bytes:
    """The safetensors file of a network: the same bytes for the same weights."""
    content: bytes = save(_plain(network.state_dict()))
    return content


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a value that is not finite; None where there is none."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            return name
    return None


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
    store, name = _store_of_run(location)
    weights_path = f"{store.location}/{name}"
    description_name = f"{name.removesuffix('.safetensors')}.json"
    files = {}
    for wanted in (description_name, name):
        try:
            files[wanted] = store.read(wanted)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{store.location}/{wanted} is missing: the training run has not finished (run "
                "the same command again to resume it), or only one of the two files was copied"
            ) from error
    description = RefinerDescription.from_json(
        files[description_name], where=f"{store.location}/{description_name}"
    )
    content = files[name]
    digest = hashlib.sha256(content).hexdigest()
    if digest != description.sha256:
        raise FormatError(
            f"{weights_path}: sha256 is {digest}, {description_name} says "
            f"{description.sha256}: the file is damaged or from another run; copy both again"
        )
    refiner = Refiner(description.architecture)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise FormatError(f"{weights_path}: not a safetensors file ({error})") from error
    expected = {name: tuple(value.shape) for name, value in refiner.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != shapes:
        wrong = sorted(
            f"{name}: {shapes.get(name, 'absent')} instead of {expected.get(name, 'absent')}"
            for name in expected.keys() | shapes.keys()
            if expected.get(name) != shapes.get(name)
        )
        raise FormatError(
            f"{weights_path}: not the architecture that {description_name} describes "
            f"({'; '.join(wrong[:4])}); use the two files of one run"
        )
    wrong_name = first_not_finite(tensors)
    if wrong_name is not None:
        raise FormatError(f"{weights_path}: {wrong_name} holds values that are not finite")
    refiner.load_state_dict(tensors)
    return refiner.eval(), description


def _store_of_run(location: str | Path) -> tuple[Store, str]:
    """The store of a refiner's two files, and the name of the safetensors file in it."""
    is_file = str(location).endswith((".safetensors", ".json"))
    if not is_remote(location):
        is_folder = Path(location).is_dir()
        if not is_folder and not is_file:
            raise FileNotFoundError(
                f"{location}: neither a training run nor a .safetensors file; "
                "give the --output folder of a finished training run"
            )
        is_file = not is_folder
    if not is_file:
        return open_store(location), WEIGHTS_NAME
    folder, _, name = absolute(location).rpartition("/")
    return open_store(folder or "/"), f"{name.rpartition('.')[0]}.safetensors"
