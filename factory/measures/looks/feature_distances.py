"""Measures of two sets of images in the space of their features.

Every function here takes the features of a set and of its reference, and gives a `Statistic`:
the measure as a function of which images of both a round of the jackknife keeps.

Axes in names: N images, D features, R rounds.
"""

import numpy as np
from numpy.typing import NDArray

from factory.measures.looks.features import Features
from factory.measures.looks.jackknife import Keep, Statistic, Values

NUM_NEIGHBOURS = 5
"""a neighbourhood reaches to the nearest neighbour of this rank, as in Naeem et al. 2020"""
Matrix = NDArray[np.float64]


def scaled_by(reference_ND: Features, features_ND: Features) -> Features:
    """Standardise features: subtract the mean over the reference, divide by the deviation there.

    Features that are constant over the reference are not divided.

    Args:
        reference_ND, features_ND: (N, D) float64.

    Returns:
        (N, D) float64, `features_ND` standardised.
    """
    sd = reference_ND.std(axis=0)
    scaled: Features = (features_ND - reference_ND.mean(axis=0)) / np.where(sd > 1e-6, sd, 1)
    return scaled


def frechet(other_ND: Features, reference_ND: Features) -> Statistic:
    """Fréchet distance, equation (6) of Heusel et al. 2017 (arXiv:1706.08500).

    It is computed on the features here rather than on those of Inception. It is biased in the same
    way: two sets of n images of one distribution have a distance of about D²/n.
    """

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        return np.array(
            [
                [_frechet(other_ND[kept], reference_ND[like])]
                for kept, like in zip(other_RN, reference_RN, strict=True)
            ]
        )

    return statistic


def _frechet(left_ND: Features, right_ND: Features) -> float:
    between = left_ND.mean(axis=0) - right_ND.mean(axis=0)
    left, right = np.cov(left_ND.T), np.cov(right_ND.T)
    # The trace of the square root of left @ right is that of a symmetric matrix with the same
    # eigenvalues, whose root is numerically stable.
    values, vectors = np.linalg.eigh(left)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    of_root = np.sqrt(np.linalg.eigvalsh(root @ right @ root).clip(0)).sum()
    return float(between @ between + np.trace(left) + np.trace(right) - 2 * of_root)


def kernel(other_ND: Features, reference_ND: Features) -> Statistic:
    """Kernel distance of Binkowski et al. 2018 (arXiv:1801.01401), an unbiased squared MMD.

    The kernel is (x·y / D + 1)³. The paper averages over random subsets; this is computed over all
    images at once, to which that average converges.
    """
    num_features = other_ND.shape[1]

    def of(left_ND: Features, right_ND: Features) -> Matrix:
        return np.asarray((left_ND @ right_ND.T / num_features + 1) ** 3)

    within, among, across = (
        _without_diagonal(of(other_ND, other_ND)),
        _without_diagonal(of(reference_ND, reference_ND)),
        of(other_ND, reference_ND),
    )

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        values_R = (
            _mean_of_pairs(within, other_RN)
            + _mean_of_pairs(among, reference_RN)
            - 2 * _mean_of(across, other_RN, reference_RN)
        )
        return values_R[:, None]

    return statistic


def neighbours(other_ND: Features, reference_ND: Features) -> Statistic:
    """Coverage and density, section 3 of Naeem et al. 2020 (arXiv:2002.09797).

    Coverage is the share of reference images that have an image of the other set in their
    neighbourhood. Density is the mean number of neighbourhoods that hold an image of the other
    set, divided by the number expected. The statistic gives (R, 2).
    """
    among, across = _distances(reference_ND, reference_ND), _distances(reference_ND, other_ND)

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        values = []
        for kept, like in zip(other_RN, reference_RN, strict=True):
            k = min(NUM_NEIGHBOURS, int(like.sum()) - 1)
            # Rank 0 is the image itself, so rank k is its k-th neighbour.
            radius = np.partition(among[np.ix_(like, like)], k, axis=1)[:, k]
            inside = across[np.ix_(like, kept)] < radius[:, None]
            values.append((inside.any(axis=1).mean(), inside.sum(axis=0).mean() / k))
        return np.array(values, np.float64)

    return statistic


def diversity(other_ND: Features, reference_ND: Features) -> Statistic:
    """Mean distance of two images, divided by the mean distance of two reference images."""
    within, among = _distances(other_ND, other_ND), _distances(reference_ND, reference_ND)

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        ratio_R = _mean_of_pairs(within, other_RN) / _mean_of_pairs(among, reference_RN)
        return np.asarray(ratio_R[:, None])

    return statistic


def _distances(left_ND: Features, right_ND: Features) -> Matrix:
    squares = (left_ND**2).sum(axis=1)[:, None] + (right_ND**2).sum(axis=1)
    distances = np.sqrt((squares - 2 * left_ND @ right_ND.T).clip(0))
    return _without_diagonal(distances) if left_ND is right_ND else distances


def _without_diagonal(matrix: Matrix) -> Matrix:
    np.fill_diagonal(matrix, 0)
    return matrix


def _mean_of_pairs(matrix: Matrix, kept_RN: Keep) -> Values:
    """(R,) mean over all pairs of two different images that a round keeps.

    Args:
        matrix: (N, N) values of pairs, with a diagonal of 0.
    """
    kept = kept_RN.astype(np.float64)
    num = kept.sum(axis=1)
    return np.asarray(((kept @ matrix) * kept).sum(axis=1) / (num * (num - 1)))


def _mean_of(matrix: Matrix, rows_RN: Keep, columns_RN: Keep) -> Values:
    """(R,) mean over the rows and columns that a round keeps."""
    rows, columns = rows_RN.astype(np.float64), columns_RN.astype(np.float64)
    return np.asarray(
        ((rows @ matrix) * columns).sum(axis=1) / (rows.sum(axis=1) * columns.sum(axis=1))
    )
