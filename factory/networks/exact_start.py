"""Initial weights with which a refiner is the identity to a fraction of a millimetre of depth.

`Refiner.initialise_as_identity` starts at tanh(1.2 x), which moves depth by centimetres and fills
an empty background. Here R(x) = tanh(f(x)), where f is a piecewise linear approximation of the
inverse of tanh. A kink of f is the point between two pieces; each takes two maps, one for either
sign of x, in the first convolution or, where that has too few maps, in a block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from factory.networks.refiner import Refiner, ResNetBlock

LARGEST_ERROR = 0.0018
"""the largest |R(x) - x| on [-1, 1]; in a cube of 301 mm it is 0.27 mm"""
SHARE = 0.5
"""the largest share of a layer's maps that is taken; the others keep their random weights"""


class Kink(NamedTuple):
    """A term of f: sign(x) * bend * relu(|x| - at)."""

    at: float
    """where on [0, 1] the slope of f changes"""
    bend: float
    """by how much the slope of f grows there"""


KINKS = (
    Kink(0.0, 1.019),
    Kink(0.2715, 0.1356),
    Kink(0.4517, 0.2212),
    Kink(0.5894, 0.3409),
    Kink(0.7002, 0.5394),
    Kink(0.7901, 0.9076),
    Kink(0.8622, 1.6881),
    Kink(0.9184, 3.6908),
    Kink(0.9597, 10.7775),
    Kink(0.9867, 62.7957),
)
"""The kinks of f. They are spaced such that tanh(f(x)) - x swings between plus and minus
`LARGEST_ERROR` on every piece, which takes the fewest pieces for that error."""


@torch.no_grad()
def start_as_exact_identity(refiner: Refiner) -> None:
    """Set weights so that |R(x) - x| is at most `LARGEST_ERROR` for x in [-1, 1].

    Maps and filters that this does not need keep their random weights.

    Raises:
        ValueError: the refiner has more than one channel, or too few maps and blocks for the 20
            maps that the kinks need.
    """
    if refiner.config.channels != 1:
        raise ValueError(
            f"an exact identity is for images of one channel, not {refiner.config.channels}"
        )
    pairs = int(refiner.config.maps * SHARE) // 2
    layers = 1 + len(refiner.blocks)
    if pairs < 2 or pairs * layers < len(KINKS):
        raise ValueError(
            f"{refiner.config.maps} maps and {len(refiner.blocks)} blocks are too few to start as "
            f"the exact identity, which takes {2 * len(KINKS)} maps, at most {SHARE:.0%} of each "
            "layer's: give it more maps or blocks, or set refiner_init = identity"
        )
    first, *rest = (KINKS[at : at + pairs] for at in range(0, len(KINKS), pairs))
    refiner.last.weight.zero_()
    for index, kink, sign in _signed(first):
        gain = kink.bend**0.5  # both convolutions share the bend, so that neither filter is huge
        _take(refiner.first, index, 0, sign * gain, -gain * kink.at)
        refiner.last.weight[0, index] = sign * gain
    for block in refiner.blocks:
        assert isinstance(block, ResNetBlock)
        block.conv2.weight.zero_()
    for block, kinks in zip(refiner.blocks, rest, strict=False):
        assert isinstance(block, ResNetBlock)
        _add_in_block(block, kinks, first)


def _add_in_block(block: ResNetBlock, kinks: tuple[Kink, ...], first: tuple[Kink, ...]) -> None:
    """Put kinks into a block.

    Maps 0 and 1 carry the positive and the negative part of x through all blocks. The block
    computes its kinks from these two and adds them to maps 2 and 3.
    """
    carried, sums = first[0].bend ** 0.5, first[1].bend ** 0.5
    middle = block.conv2.kernel_size[0] // 2
    for index, kink, sign in _signed(kinks):
        gain, part = kink.bend**0.5, int(sign < 0)
        _take(block.conv1, index, part, gain / carried, -gain * kink.at)
        block.conv2.weight[2 + part, index, middle, middle] = gain / sums


def _signed(kinks: tuple[Kink, ...]) -> Iterator[tuple[int, Kink, float]]:
    """(number of the map, kink, sign of x): two maps for each kink."""
    for number, kink in enumerate(kinks):
        yield 2 * number, kink, 1.0
        yield 2 * number + 1, kink, -1.0


def _take(conv: nn.Conv2d, index: int, source: int, weight: float, bias: float) -> None:
    """Make output map `index` equal to weight * (input map `source`) + bias at every pixel."""
    assert conv.bias is not None
    middle = conv.kernel_size[0] // 2
    conv.weight[index] = 0.0
    conv.weight[index, source, middle, middle] = weight
    conv.bias[index] = bias
