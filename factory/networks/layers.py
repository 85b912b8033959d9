"""Convolutions that refiner and discriminator share."""

import torch
from torch import nn


def _conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: str = "zeros"
) -> nn.Conv2d:
    """A `same`-padded convolution, left uninitialised: no draw from the global generator."""
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d,
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        padding_mode=padding if kernel > 1 else "zeros",
    )
    return conv


def _he_init(conv: nn.Conv2d, generator: torch.Generator, gain: float = 2.0) -> None:
    """Normal weights of variance gain / fan_in, zero bias."""
    fan_in = conv.weight[0].numel()
    with torch.no_grad():
        conv.weight.normal_(0.0, (gain / fan_in) ** 0.5, generator=generator)
        if conv.bias is not None:
            conv.bias.zero_()
