"""The losses of Shrivastava et al. 2017 (arXiv:1612.07828), section 2.

The paper sums over images, patches and pixels. Here every term is a **mean**: cross-entropy over
patches, absolute differences over pixels. So a weight means the same at any batch, image and map
size. The paper's weight, of a sum over pixels against one over patches, converts by lambda_mean =
lambda_sum * C H W / (h w) for images of (C, H, W) and maps of (h, w): 15.3 for 1 on eyes.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from factory.networks.discriminator import REAL, REFINED
from factory.training.config import PsiName

Psi = Callable[[Tensor], Tensor]
"""A feature transform: (n, C, H, W) to (n, ...), differentiable."""


def _cross_entropy(logits: Tensor, target: int) -> Tensor:
    """Mean over all patches of -log softmax(logits)[target]; logits (n, 2, h, w)."""
    if logits.ndim != 4 or logits.shape[1] != 2:
        raise ValueError(f"logits must be (n, 2, h, w), are {tuple(logits.shape)}")
    # -log p(target) of two classes is softplus(other - target), exact for large logits too.
    return functional.softplus(logits[:, 1 - target] - logits[:, target]).mean()


def discriminator_loss(refined_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Equation (2): both domains with equal weight, however many images each has.

    Args:
        refined_logits: (n, 2, h, w), D of refined images.
        real_logits: (m, 2, h, w), D of real images.

    Returns:
        Scalar; ln 2 where D cannot tell.
    """
    refined = _cross_entropy(refined_logits, REFINED)
    return 0.5 * (refined + _cross_entropy(real_logits, REAL))


def realism_loss(refined_logits: Tensor) -> Tensor:
    """Equation (3): how sure D is that refined images are not real.

    Args:
        refined_logits: (n, 2, h, w), D of refined images, attached to R.

    Returns:
        Scalar; ln 2 where D cannot tell.
    """
    return _cross_entropy(refined_logits, REAL)


def gradient_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """R1 of Mescheder et al. 2018 (arXiv:1801.04406), equation (9): E |d D(x) / d x|^2 over real
    images, where D(x) is the log-odds of `real`, in the mean over patches.

    Args:
        real_logits: (m, 2, h, w), D of real images.
        real: (m, C, H, W), what they were computed from, with gradients required.

    Returns:
        Scalar, to be multiplied by gamma / 2.
    """
    log_odds = (real_logits[:, REAL] - real_logits[:, REFINED]).mean(dim=(1, 2))
    (gradient,) = torch.autograd.grad(log_odds.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def identity(images: Tensor) -> Tensor:
    """The image itself, the paper's default."""
    return images


def derivatives(images: Tensor) -> Tensor:
    """Differences of neighbours along x and y, flattened: blind to a change of brightness."""
    along_x = images[..., :, 1:] - images[..., :, :-1]
    along_y = images[..., 1:, :] - images[..., :-1, :]
    return torch.cat([along_x.flatten(1), along_y.flatten(1)], dim=1)


def channel_mean(images: Tensor) -> Tensor:
    """The mean of the colour channels (n, 1, H, W): colours are free, brightness is not."""
    return images.mean(dim=1, keepdim=True)


def _filter_bank() -> Tensor:
    """(6, 1, 9, 9): gradients along x and y and a blob, of Gaussians of 1 and 2 pixels.

    Each filter has absolute sum 2, so that its response has the range of a difference of pixels.
    """
    ys, xs = torch.meshgrid(torch.arange(-4.0, 5.0), torch.arange(-4.0, 5.0), indexing="ij")
    filters = []
    for sigma in (1.0, 2.0):
        bell = torch.exp(-(xs**2 + ys**2) / (2 * sigma**2))
        blob = (2 - (xs**2 + ys**2) / sigma**2) * bell
        filters += [xs * bell, ys * bell, blob - blob.mean()]
    return torch.stack([2 * f / f.abs().sum() for f in filters])[:, None]


def features(images: Tensor) -> Tensor:
    """A fixed convolutional feature map (n, 6 C, H, W): smoothed edges and blobs at two scales.

    It holds the outlines of iris, pupil and lids and lets fine texture and brightness go.
    """
    bank = _filter_bank().to(images)
    n, channels, height, width = images.shape
    padded = functional.pad(images.reshape(n * channels, 1, height, width), (4,) * 4, "replicate")
    return functional.conv2d(padded, bank).reshape(n, channels * len(bank), height, width)


_PSI: dict[PsiName, Psi] = {
    "identity": identity,
    "derivatives": derivatives,
    "channel_mean": channel_mean,
    "features": features,
}


def self_regularisation(refined: Tensor, synthetic: Tensor, psi: PsiName = "identity") -> Tensor:
    """Section 2.1: mean |psi(refined) - psi(synthetic)|.

    Args:
        refined: (n, C, H, W) in [-1, 1], attached to R.
        synthetic: (n, C, H, W) in [-1, 1], what it was made from.
    """
    if refined.shape != synthetic.shape:
        raise ValueError(f"refined {tuple(refined.shape)}, synthetic {tuple(synthetic.shape)}")
    transform = _PSI[psi]
    # All four transforms are linear: one pass over the difference does for both images.
    return transform(refined - synthetic).abs().mean()


def diversity(refined: Tensor, other: Tensor, apart: Tensor, limit: float) -> Tensor:
    """How different two refined images of a render are, for how different their noise was: Yang et
    al. 2019 (arXiv:1901.09024). To be made large.

    Args:
        refined, other: (n, C, H, W), R of the same images with other noise, attached to R.
        apart: (n, k), the difference of their noise.
        limit: beyond which more difference is worth nothing.

    Returns:
        Scalar: mean |difference of pixels| over mean |difference of noise|.
    """
    ratio = (refined - other).abs().mean(dim=(1, 2, 3)) / apart.abs().mean(dim=1).clamp_min(1e-6)
    return ratio.clamp_max(limit).mean()


def kept_pixels(
    refined: Tensor,
    synthetic: Tensor,
    *,
    full_scale: float,
    empty_below: float,
    empty_beyond: float,
) -> Tensor:
    """Which pixels of a depth image still show the hand once it is stored, where
    `factory.refinement.engines.base.PixelCodec` empties some.

    Args:
        refined: (n, C, H, W) in [-1, 1].
        synthetic: (n, C, H, W) in [-1, 1], what it was made from.
        full_scale: the stored value of 1.
        empty_below, empty_beyond: as in `TrainConfig`, in stored values; 0 for none.

    Returns:
        (n, C, H, W), 1 for a pixel that is kept, else 0. The gradient is that of a decision which
        becomes certain within half of these limits.
    """
    stored = (refined + 1) * (full_scale / 2)
    limits = [(stored - empty_below + 0.5, empty_below)]
    if empty_beyond > 0:
        change = (refined - synthetic).abs() * (full_scale / 2)
        limits.append((empty_beyond + 0.5 - change, empty_beyond))
    margins = torch.stack([margin / (limit / 2) for margin, limit in limits])
    soft = margins.sigmoid().prod(dim=0)
    return (margins > 0).all(dim=0).to(soft) + (soft - soft.detach())


_BLUR_PX = 2.0
"""standard deviation of the blur before `common_shift`. Ragged outlines are notched, and without it
a deep notch counts as little as a shallow one: less than half of the displacement of whole
outlines is seen (docs/training.md)"""


def common_shift(after: Tensor, before: Tensor) -> Tensor:
    """How far all images of a batch moved together: the displacement that explains their changes
    best, by least squares and to first order (as in Lucas and Kanade 1981).

    Changes of single outlines cancel. What remains is a shift that all samples share, which biases
    every model that is trained on them. Bright regions may also grow, which is no displacement:
    where a region is cut by the border, it would look like one.

    Args:
        after: (n, C, H, W), attached to R: refined images, or their `kept_pixels`.
        before: (n, C, H, W), the same of what they were made from. H and W are at least 16.

    Returns:
        Scalar: the square of the displacement, in px^2. It is underestimated beyond about 2 px, and
        0 where no render has an edge.
    """
    was, is_now = _blurred(before.float()), _blurred(after.float())
    change = (is_now - was)[..., 1:-1, 1:-1].flatten()
    along_x = (was[..., 1:-1, 2:] - was[..., 1:-1, :-2]).flatten() / 2
    along_y = (was[..., 2:, 1:-1] - was[..., :-2, 1:-1]).flatten() / 2
    terms = torch.stack([along_x, along_y, torch.hypot(along_x, along_y)])
    # What is added makes the equations solvable where there is no edge; edges are far above it.
    products = terms @ terms.T + 1e-4 * torch.eye(len(terms)).to(terms)
    explained: Tensor = torch.linalg.solve(products, terms @ change)
    return explained[:2].square().sum()


def _blurred(images: Tensor) -> Tensor:
    """(n, C, H - 8, W - 8) of (n, C, H, W), by a Gaussian."""
    steps = torch.arange(-4, 5).to(images)
    weights = (-0.5 * (steps / _BLUR_PX).square()).exp()
    weights = weights / weights.sum()
    planes = images.flatten(0, 1)[:, None]
    along_y = functional.conv2d(planes, weights[None, None, :, None])
    blurred = functional.conv2d(along_y, weights[None, None, None, :])
    return blurred.reshape(len(images), -1, *blurred.shape[-2:])
