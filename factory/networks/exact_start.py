"""A refiner that starts as the identity to a fraction of a millimetre, for depth.

tanh(1.2 x), the start for looks, moves depth by centimetres and fills an empty background. Here
R(x) = tanh(f(x)), where f is the inverse of tanh in straight pieces. Every kink takes one map of
the first convolution or, where that is narrow, of a block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from factory.networks.refiner import Refiner, ResNetBlock

LARGEST_ERROR = 0.0018
"""of R(x) - x on all of [-1, 1]: 0.27 mm of 301 mm"""
SHARE = 0.5
"""of a layer's maps, at most, that are taken; the others keep their random start"""


class Kink(NamedTuple):
    """f gains bend * relu(|x| - place), with the sign of x."""

    place: float
    bend: float


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
"""of either sign, so that tanh(f(x)) - x swings evenly between + and - the largest error: each
piece is as steep as it may be, and as long"""


@torch.no_grad()
def start_as_exact_identity(refiner: Refiner) -> None:
    """Make R(x) = x to `LARGEST_ERROR`; maps and filters that it does not take stay random.

    Raises:
        ValueError: not of one channel, or too narrow for the 20 maps that it takes.
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
    for place, kink, sign in _signed(first):
        gain = kink.bend**0.5  # shared by both convolutions, so that neither filter is huge
        _take(refiner.first, place, 0, sign * gain, -gain * kink.place)
        refiner.last.weight[0, place] = sign * gain
    for block in refiner.blocks:
        assert isinstance(block, ResNetBlock)
        block.conv2.weight.zero_()
    for block, kinks in zip(refiner.blocks, rest, strict=False):
        assert isinstance(block, ResNetBlock)
        _add_in_block(block, kinks, first)


def _add_in_block(block: ResNetBlock, kinks: tuple[Kink, ...], first: tuple[Kink, ...]) -> None:
    """Maps 0 and 1 carry the positive and the negative part of x through all blocks; a block's
    kinks are made of them and added to maps 2 and 3."""
    carried, sums = first[0].bend ** 0.5, first[1].bend ** 0.5
    middle = block.conv2.kernel_size[0] // 2
    for place, kink, sign in _signed(kinks):
        gain, part = kink.bend**0.5, int(sign < 0)
        _take(block.conv1, place, part, gain / carried, -gain * kink.place)
        block.conv2.weight[2 + part, place, middle, middle] = gain / sums


def _signed(kinks: tuple[Kink, ...]) -> Iterator[tuple[int, Kink, float]]:
    """(map, kink, sign), a pair of maps for each kink."""
    for place, kink in enumerate(kinks):
        yield 2 * place, kink, 1.0
        yield 2 * place + 1, kink, -1.0


def _take(conv: nn.Conv2d, place: int, source: int, weight: float, bias: float) -> None:
    """Map `place` becomes weight * (map `source`) + bias, pixel by pixel."""
    assert conv.bias is not None
    middle = conv.kernel_size[0] // 2
    conv.weight[place] = 0.0
    conv.weight[place, source, middle, middle] = weight
    conv.bias[place] = bias
