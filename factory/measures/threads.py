"""How many threads PyTorch computes with, a number that a process has one of."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads_kept(num_threads: int | None = None) -> Iterator[None]:
    """Give PyTorch its number of threads back after a block that changes it.

    Args:
        num_threads: the number in the block; None for the number before it. With 1, sums do not
            depend on the machine: on several threads they differ in their last bits.
    """
    before = torch.get_num_threads()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
