"""The largest weight of a resampling, so that a few samples are not most of what is drawn."""

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHT_QUANTILE = 0.95
"""weights are cut where samples of smaller weight make up this share of the target's mass"""


def weight_cap(
    weights_N: NDArray[np.float64],
    counts_N: NDArray[np.float64] | None = None,
) -> float:
    """The weight that no sample should exceed.

    Args:
        weights_N: (N,) not negative.
        counts_N: (N,) how many samples have each weight; None for one each.
    """
    order = np.argsort(weights_N)
    mass = np.cumsum((weights_N if counts_N is None else weights_N * counts_N)[order])
    return float(weights_N[order][np.searchsorted(mass, MAX_WEIGHT_QUANTILE * mass[-1])])
