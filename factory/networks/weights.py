"""Weights read back into a network, which is compared with them before it takes any memory.

A description of a few bytes can name a network of many gigabytes. So the network is first built
without memory, on PyTorch's device `meta`.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from schemas.base import FormatError

Network = TypeVar("Network", bound=nn.Module)


def first_not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with a value that is not finite; None where there is none."""
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            return name
    return None


def tensors_in(content: bytes, *, where: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Args:
        where: its name, for the error message.

    Raises:
        FormatError: it is no such file, or a value is not finite.
    """
    try:
        tensors: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise FormatError(f"{where}: not a safetensors file ({error})") from error
    wrong_name = first_not_finite(tensors)
    if wrong_name is not None:
        raise FormatError(f"{where}: {wrong_name} holds values that are not finite")
    return tensors


def filled(
    untrained: Callable[[], Network], tensors: Mapping[str, Tensor], *, where: str
) -> Network:
    """A network with given weights, in evaluation mode on the CPU.

    Args:
        untrained: makes a network of the described architecture.
        where: name of the file of the weights, for the error message.

    Raises:
        FormatError: the weights are those of another architecture.
    """
    try:
        with torch.device("meta"):
            wanted = untrained().state_dict()
    except (RuntimeError, OverflowError, TypeError) as error:  # of sizes beyond 64 bits
        why = str(error).partition("\n")[0]
        raise FormatError(
            f"{where}: its description names an architecture that is impossible ({why:.200})"
        ) from error
    expected = {name: tuple(value.shape) for name, value in wanted.items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != shapes:
        wrong = sorted(
            f"{name}: {shapes.get(name, 'absent')} instead of {expected.get(name, 'absent')}"
            for name in expected.keys() | shapes.keys()
            if expected.get(name) != shapes.get(name)
        )
        raise FormatError(
            f"{where}: not the architecture that its description names "
            f"({'; '.join(wrong[:4])}); use the two files of one run"
        )
    network = untrained()
    network.load_state_dict(tensors)
    return network.eval()
