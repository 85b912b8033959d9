"""FID and KID as papers report them, computed by torch-fidelity.

Fréchet Inception distance: Heusel et al. 2017 (arXiv:1706.08500). Kernel Inception distance:
Bińkowski et al. 2018 (arXiv:1801.01401). The features and both distances are torch-fidelity's;
here the sets are chosen: renders, refined renders and one half of the real images are each compared
with the other half, the reference, and all sets have one size, because FID depends on it.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import cast

import numpy as np
import torch

from factory.dataset.shard_tasks import SideBySide
from factory.images.png import Grey, Pixels
from factory.measures.looks.inception import Features, import_torchvision
from factory.measures.looks.measure import halves_of
from schemas.realism import Fidelity, InceptionDistance

KID_SUBSETS = 100
MOST_IN_SUBSET = 1000
"""images of a subset, as torch-fidelity and papers take them; half of a set that is smaller than
two subsets, so that subsets differ"""


def measure_fidelity(
    synthetic: Pixels,
    refined: Pixels,
    real: Pixels,
    network: Callable[[Grey], Features],
    weights: str,
    seed: int,
    side_by_side: SideBySide,
) -> Fidelity:
    """FID and KID of renders, refined renders and real images to one half of the real images.

    Args:
        synthetic, refined: (N, H, W) or (N, H, W, 3) uint8, in an order that has nothing to do with
            what they show; at least 4.
        real: (M, H, W) or (M, H, W, 3) uint8; at least 8, because one half is the reference.
        network: gives features of images; it is sent to workers.
        weights: sha256 of the file of its weights.
        seed: of the halves of the real images.
        side_by_side: makes calls at the same time.

    Raises:
        ValueError: there are too few images, or they are not of 8 bits.
    """
    synthetic, refined, real = map(_of_8_bits, (synthetic, refined, real))
    reference, other_half = halves_of(len(real), seed)
    num = min(len(synthetic), len(refined), len(reference))
    if num < 4:
        raise ValueError(
            f"FID and KID need 4 images of each set and 8 real ones, got {len(synthetic)} "
            f"synthetic, {len(refined)} refined and {len(real)} real ones"
        )
    sets = synthetic[:num], refined[:num], real[other_half[:num]], real[reference[:num]]
    *others, features = side_by_side([partial(network, images) for images in sets], "inception")
    subset_size = min(MOST_IN_SUBSET, num // 2)
    distances: list[InceptionDistance] = side_by_side(
        [partial(inception_distance, other, features, subset_size) for other in others]
    )
    return Fidelity(
        synthetic=distances[0],
        refined=distances[1],
        floor=distances[2],
        num_images=num,
        height=real.shape[1],
        width=real.shape[2],
        channels=1 if real.ndim == 3 else real.shape[3],
        kid_subsets=KID_SUBSETS,
        kid_subset_size=subset_size,
        library=f"torch-fidelity {version('torch-fidelity')}",
        weights=weights,
    )


def _of_8_bits(images: Pixels) -> Grey:
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 for FID and KID, got {images.dtype}")
    return cast(Grey, images)


def inception_distance(
    other_ND: Features, reference_ND: Features, subset_size: int
) -> InceptionDistance:
    """torch-fidelity's FID and KID of two sets of features, with its kernel, seed and estimator.

    Args:
        other_ND, reference_ND: (N, D) float32, N at least 2 and D at least 2.
        subset_size: images that each subset of KID takes of both sets; at most N.
    """
    import_torchvision()
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )
    from torch_fidelity.metric_kid import (
        KEY_METRIC_KID_MEAN,
        KEY_METRIC_KID_STD,
        kid_features_to_metric,
    )

    other, reference = torch.from_numpy(other_ND), torch.from_numpy(reference_ND)
    statistics = [fid_features_to_statistics(features) for features in (other, reference)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)
    kid = kid_features_to_metric(
        other,
        reference,
        kid_subsets=KID_SUBSETS,
        kid_subset_size=subset_size,
        verbose=False,
    )
    return InceptionDistance(
        fid=fid[KEY_METRIC_FID],
        kid=kid[KEY_METRIC_KID_MEAN],
        kid_sd=kid[KEY_METRIC_KID_STD],
    )
