"""The workers of one training: what they average, and where they wait for each other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class WorkerGroup(NamedTuple):
    """The workers that train one refiner together, each on its own part of the images, as one of
    them sees the group."""

    rank: int = 0
    """of this worker, from 0; worker 0 writes the files of the run"""
    size: int = 1
    """workers in the group"""
    average: Callable[[Sequence[Tensor]], None] | None = None
    """replaces each tensor by its mean over the workers, in place, the same call on all"""

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the workers, in place."""
        if self.average is not None:
            self.average(tensors)

    def wait_for_all(self, device: torch.device) -> None:
        """Return once every worker has called this."""
        self.mean([torch.zeros(1, device=device)])


def average_over_process_group(tensors: Sequence[Tensor]) -> None:
    """`WorkerGroup.average` by one all-reduce of torch.distributed's default group."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    start = 0
    for tensor in tensors:
        end = start + tensor.numel()
        tensor.copy_(flat[start:end].view(tensor.shape))
        start = end
