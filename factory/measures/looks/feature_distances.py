"""Measures of two sets in the space of features.

Axes in names: N images, D features, R rounds.
"""

import numpy as np
from numpy.typing import NDArray

from factory.measures.looks.features import Features
from factory.measures.looks.jackknife import Keep, Statistic, Values

NUM_NEIGHBOURS = 5
"""that a real image's neighbourhood reaches to, as in Naeem et al. 2020"""
Matrix = NDArray[np.float64]


def scaled_by(reference_ND: Features, features_ND: Features) -> Features:
    """Each feature less its mean over the reference, in its standard deviations there.

    Features that never change in the reference are in their own unit.
    """
    sd = reference_ND.std(axis=0)
    scaled: Features = (features_ND - reference_ND.mean(axis=0)) / np.where(sd > 1e-6, sd, 1)
    return scaled


def frechet(other_ND: Features, reference_ND: Features) -> Statistic:
    """Heusel et al. 2017 (arXiv:1706.08500), equation (6), in place of Inception's these features.

    As there, two sets of n images of one distribution are some D²/n apart.
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
    # the trace of the root of left @ right, by the root of a matrix that is symmetric
    values, vectors = np.linalg.eigh(left)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    of_root = np.sqrt(np.linalg.eigvalsh(root @ right @ root).clip(0)).sum()
    return float(between @ between + np.trace(left) + np.trace(right) - 2 * of_root)


def kernel(other_ND: Features, reference_ND: Features) -> Statistic:
    """Binkowski et al. 2018 (arXiv:1801.01401): unbiased squared MMD, kernel (xy / D + 1)³.

    Over all images at once, which is what the mean over their random subsets tends to.
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
        found = (
            _mean_of_pairs(within, other_RN)
            + _mean_of_pairs(among, reference_RN)
            - 2 * _mean_of(across, other_RN, reference_RN)
        )
        return found[:, None]

    return statistic


def neighbours(other_ND: Features, reference_ND: Features) -> Statistic:
    """Naeem et al. 2020 (arXiv:2002.09797), section 3: (R, 2) coverage and density."""
    among, across = _distances(reference_ND, reference_ND), _distances(reference_ND, other_ND)

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        found = []
        for kept, like in zip(other_RN, reference_RN, strict=True):
            k = min(NUM_NEIGHBOURS, int(like.sum()) - 1)
            near = np.partition(among[np.ix_(like, like)], k, axis=1)[:, k]  # 0 is itself
            inside = across[np.ix_(like, kept)] < near[:, None]
            found.append((inside.any(axis=1).mean(), inside.sum(axis=0).mean() / k))
        return np.array(found, np.float64)

    return statistic


def diversity(other_ND: Features, reference_ND: Features) -> Statistic:
    """Mean distance between two images, as a part of that between two of the reference."""
    within, among = _distances(other_ND, other_ND), _distances(reference_ND, reference_ND)

    def statistic(other_RN: Keep, reference_RN: Keep) -> Values:
        found = _mean_of_pairs(within, other_RN) / _mean_of_pairs(among, reference_RN)
        return np.asarray(found[:, None])

    return statistic


def _distances(left_ND: Features, right_ND: Features) -> Matrix:
    squares = (left_ND**2).sum(axis=1)[:, None] + (right_ND**2).sum(axis=1)
    distances = np.sqrt((squares - 2 * left_ND @ right_ND.T).clip(0))
    return _without_diagonal(distances) if left_ND is right_ND else distances


def _without_diagonal(matrix: Matrix) -> Matrix:
    np.fill_diagonal(matrix, 0)
    return matrix


def _mean_of_pairs(matrix: Matrix, kept_RN: Keep) -> Values:
    """(R,) of the elements between two different images that are kept; the diagonal is 0."""
    kept = kept_RN.astype(np.float64)
    num = kept.sum(axis=1)
    return np.asarray(((kept @ matrix) * kept).sum(axis=1) / (num * (num - 1)))


def _mean_of(matrix: Matrix, rows_RN: Keep, columns_RN: Keep) -> Values:
    rows, columns = rows_RN.astype(np.float64), columns_RN.astype(np.float64)
    return np.asarray(
        ((rows @ matrix) * columns).sum(axis=1) / (rows.sum(axis=1) * columns.sum(axis=1))
    )
