"""The discriminator D of Shrivastava et al. 2017 (arXiv:1612.07828), section 2.2 and appendix.

For every patch of an image it says whether the patch is of a real or of a refined image. Shapes:
n images, C channels, H x W pixels, h x w patches. Images are float32 in [-1, 1].
"""

import torch
from torch import Tensor, nn

from factory.networks.layers import he_init, same_conv
from schemas.discriminator import DiscriminatorConfig

REAL, REFINED = 0, 1
"""the discriminator's two classes, in the order of its logits"""


class Discriminator(nn.Module):
    """The discriminator D. It takes (n, C, H, W) float32 in [-1, 1] and gives (n, 2, h, w) logits.

    Class 0 is real, class 1 refined. A ReLU follows every convolution but the last, whose output
    is the logits; the softmax of the paper is part of the losses. The initial weights depend on
    `seed` alone. With `scope = global` the logits are (n, 2, 1, 1), and all images must have the
    size that the network was made for.
    """

    def __init__(
        self,
        config: DiscriminatorConfig | None = None,
        *,
        seed: int = 0,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        """Make the layers and draw their weights.

        Args:
            config: None stands for the defaults.
            image_size: (H, W) of the images, needed for `scope = global` only.

        Raises:
            ValueError: `scope = global` without an image size.
        """
        super().__init__()
        self.config = config = config if config is not None else DiscriminatorConfig()
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        channels = config.channels
        for index, layer in enumerate(config.layers):
            if layer.kind == "maxpool":
                layers.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.kernel // 2))
                continue
            is_last = index == len(config.layers) - 1
            if is_last and config.scope == "global":
                conv = _fully_connected(channels, layer.maps, config, image_size)
            else:
                conv = same_conv(channels, layer.maps, layer.kernel, layer.stride)
            channels = layer.maps
            he_init(conv, generator, gain=1.0 if is_last else 2.0)
            layers.append(_with_spectral_norm(conv, generator) if config.spectral_norm else conv)
            if not is_last:
                layers.append(nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        return logits


def _fully_connected(
    channels: int, maps: int, config: DiscriminatorConfig, image_size: tuple[int, int] | None
) -> nn.Conv2d:
    """A convolution whose filters are as large as its input, which makes it fully connected."""
    if image_size is None:
        raise ValueError("a discriminator with scope = global needs the size of its images")
    before = config.model_copy(update={"layers": config.layers[:-1]})
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, channels, maps, patch_map_size(before, *image_size)
    )
    return conv


def _with_spectral_norm(conv: nn.Conv2d, generator: torch.Generator) -> nn.Module:
    """Apply spectral normalisation to a convolution.

    PyTorch draws its starting vectors from the global generator, so that one is seeded for the
    moment and restored.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        return nn.utils.parametrizations.spectral_norm(conv)


def patch_map_size(config: DiscriminatorConfig, height: int, width: int) -> tuple[int, int]:
    """How many patches (h, w) the discriminator judges in images of height x width pixels."""
    for layer in config.layers:
        reach = 2 * (layer.kernel // 2) - layer.kernel
        height = (height + reach) // layer.stride + 1
        width = (width + reach) // layer.stride + 1
    return height, width
