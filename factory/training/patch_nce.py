"""PatchNCE of Park et al. 2020 (arXiv:2007.15651).

A patch of the refined image, as the refiner's own layers see it, must be told among the patches of
the render as the one that it was made from. That holds content in its place and leaves its looks
free, without comparing pixels.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from factory.networks.refiner import Refiner

TEMPERATURE = 0.07
PATCHES = 64
"""locations of each image that are compared with each other"""
DIMENSIONS = 64
"""of what is compared"""


class PatchNCE(nn.Module):
    """Heads of two layers, one for each layer of a refiner, trained together with it.

    Weights are drawn from `seed` alone.
    """

    def __init__(self, refiner: Refiner, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        maps = refiner.config.maps
        self.heads = nn.ModuleList(
            nn.Sequential(
                _linear(maps, DIMENSIONS, generator),
                nn.ReLU(),
                _linear(DIMENSIONS, DIMENSIONS, generator),
            )
            for _ in range(1 + refiner.config.blocks)
        )

    def forward(
        self, refined: Sequence[Tensor], synthetic: Sequence[Tensor], generator: np.random.Generator
    ) -> Tensor:
        """Cross-entropy of the right location, in the mean.

        Args:
            refined: `Refiner.layers` of refined images, attached: (n, maps, H, W) each.
            synthetic: the same of the renders.
            generator: chooses the locations.

        Returns:
            Scalar; 0 where every patch is told right, ln of the number of locations by chance.
        """
        losses = []
        for head, ours, theirs in zip(self.heads, refined, synthetic, strict=True):
            num = ours[0, 0].numel()
            where = torch.from_numpy(generator.choice(num, min(num, PATCHES), replace=False))
            query = _unit(head(_at(ours, where)))
            with torch.no_grad():
                key = _unit(head(_at(theirs, where)))
            likeness = (query @ key.transpose(1, 2) / TEMPERATURE).float()
            right = torch.arange(len(where), device=ours.device).expand(len(ours), -1)
            losses.append(functional.cross_entropy(likeness.transpose(1, 2), right))
        return torch.stack(losses).mean()


def _at(maps: Tensor, where: Tensor) -> Tensor:
    """(n, maps, H, W) at some places: (n, places, maps)."""
    return maps.flatten(2)[:, :, where.to(maps.device)].transpose(1, 2)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)


def _linear(size_in: int, size_out: int, generator: torch.Generator) -> nn.Linear:
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, size_in, size_out)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        linear.weight.normal_(0.0, math.sqrt(2.0 / size_in), generator=generator)
        linear.bias.zero_()
    return linear
