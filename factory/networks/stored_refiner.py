"""The two files of a refiner, read and compared without PyTorch."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from factory.store.base import Store
from factory.store.open import absolute, is_remote, open_store
from schemas.base import FormatError
from schemas.refiner import RefinerDescription

WEIGHTS_NAME = "refiner.safetensors"
DESCRIPTION_NAME = "refiner.json"


class StoredRefiner(NamedTuple):
    """A refiner as it is stored."""

    description: RefinerDescription
    weights: bytes
    """the safetensors file"""
    where: str
    """its path or URL"""


def read_refiner(location: str | Path) -> StoredRefiner:
    """Read the files of a refiner, and see that they belong together.

    Args:
        location: the folder of a finished run, its `refiner.safetensors` or its `refiner.json`;
            a path or `s3://bucket/prefix`.

    Raises:
        FileNotFoundError: there is no refiner, or its run has not finished.
        FormatError: a file is damaged or has changed since it was written.
    """
    store, name = _store_of_run(location)
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
    digest = hashlib.sha256(files[name]).hexdigest()
    if digest != description.sha256:
        raise FormatError(
            f"{store.location}/{name}: sha256 is {digest}, {description_name} says "
            f"{description.sha256}: the file is damaged or from another run; copy both again"
        )
    return StoredRefiner(description, files[name], f"{store.location}/{name}")


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
