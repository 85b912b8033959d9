"""The convolutions of the refiner and the discriminator, and their initial weights."""

import torch
from torch import nn


def same_conv(
    channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: str = "zeros"
) -> nn.Conv2d:
    """A convolution whose padding keeps the image size at stride 1.

    Its weights are left uninitialised, so that nothing is drawn from PyTorch's global generator;
    `he_init` draws them. They are on PyTorch's default device.

    Args:
        kernel: side of the filters in pixels, odd.
        padding: `padding_mode` of `torch.nn.Conv2d`.
    """
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d,
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        padding_mode=padding if kernel > 1 else "zeros",
        device=torch.get_default_device(),
    )
    return conv


def he_init(conv: nn.Conv2d, generator: torch.Generator, gain: float = 2.0) -> None:
    """Draw normal weights of variance gain / fan_in and set the bias to zero.

    With a gain of 2 this is the initialisation of He et al. 2015 (arXiv:1502.01852) for layers
    that a ReLU follows. A convolution on the device `meta` has no weights to draw.
    """
    if conv.weight.is_meta:
        return
    fan_in = conv.weight[0].numel()
    with torch.no_grad():
        conv.weight.normal_(0.0, (gain / fan_in) ** 0.5, generator=generator)
        if conv.bias is not None:
            conv.bias.zero_()
