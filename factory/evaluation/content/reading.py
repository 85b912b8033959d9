"""What images show, estimated from their pixels by models that learn from labelled renders.

A ridge regression on histograms of oriented gradients (`factory.networks.classical`), cross-fitted:
renders are divided into two halves that share no identity, and each is estimated by a model that
learnt from the other. Real images get the mean of what both models say. The renders have to be in
the look of the real images (`factory.evaluation.degradation`), so that the look is not taken for
content.

Axes in names: N renders, M real images, F features, L labels.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.images.png import Pixels
from factory.measures.small_networks import shifted
from factory.networks.classical import Ridge, gradient_histograms
from factory.networks.evaluation_kinds import Examples, Names, Values

log = logging.getLogger(__name__)
Mask = NDArray[np.bool_]
MAX_SHIFT_PX = 3
"""renders are shifted by at most this along each axis: the corners of real eyes are found with
errors, those of renders are exact"""
_COPIES = 3
"""differently shifted copies of each render to learn from"""
MIN_IDENTITIES = 4
"""two for each half: one to learn from, and one to choose the penalty by"""


class Estimates(NamedTuple):
    """What images are estimated to show, in the units of the labels."""

    renders_NL: Values  # noqa: N815
    real_ML: Values  # noqa: N815


def estimates_of(renders: Examples, real: Pixels, *, seed: int) -> Estimates:
    """Estimate each label of renders and of real images.

    Renders are shifted at random before they are estimated too, as real images are.

    Args:
        renders: (N, H, W) images in the look of the real ones, their labels (N, L), and who they
            show.
        real: (M, H, W).
        seed: of the halves and of the shifts.

    Raises:
        ValueError: the renders are of fewer than 4 identities.
        MissingExtraError: scikit-learn is not installed.
    """
    num_identities = len(np.unique(renders.groups))
    if num_identities < MIN_IDENTITIES:
        raise ValueError(
            f"the renders are of {num_identities} identities, and at least {MIN_IDENTITIES} are "
            "needed: a model must not have seen the identity that it estimates"
        )
    rng = np.random.default_rng(seed)
    log.info("features of %d renders, %d times, and of %d real images",
             len(renders.images), _COPIES, len(real))  # fmt: skip
    copies = [
        gradient_histograms(shifted(renders.images, MAX_SHIFT_PX, rng)) for _ in range(_COPIES)
    ]
    real_MF = gradient_histograms(real)
    is_first = _half_of(renders.groups, rng)
    renders_NL = np.empty_like(renders.values_ND)
    answers_ML = []
    for number, learnt in enumerate((is_first, ~is_first), start=1):
        log.info("ridge regression on half %d of 2, %d renders", number, learnt.sum())
        estimate = _fitted(copies, renders, np.flatnonzero(learnt), rng)
        renders_NL[~learnt] = estimate(copies[0][~learnt])
        answers_ML.append(estimate(real_MF))
    return Estimates(renders_NL, np.mean(answers_ML, axis=0))


def _half_of(groups_N: Names, rng: np.random.Generator) -> Mask:
    """(N,) which images belong to the first of two halves that share no group: the groups from the
    largest to the smallest go into them in turn, in a random order among equals."""
    groups, sizes = np.unique(groups_N, return_counts=True)
    order = rng.permutation(len(groups))
    order = order[np.argsort(-sizes[order], kind="stable")]
    return np.isin(groups_N, groups[order[::2]])


def _fitted(
    copies_NF: Sequence[Values], renders: Examples, rows: NDArray[np.intp], rng: np.random.Generator
) -> Callable[[Values], Values]:
    """A model that learnt from some renders: (K, L) of features (K, F).

    The penalty of each label is the one whose model errs least on half of these renders' identities
    after it has learnt from the other half; then the model learns from all of them.

    Args:
        copies_NF: features of the differently shifted copies of all renders.
        rows: of the renders to learn from.
    """
    values_NL = renders.values_ND

    def learnt_from(
        some: NDArray[np.intp], ridge: Ridge
    ) -> list[tuple[float, Callable[[Values], Values]]]:
        features = np.concatenate([copy[some] for copy in copies_NF])
        values = np.tile(values_NL[some], (len(copies_NF), 1))
        candidates = ridge.candidates(features, values, seed=0)
        return [(float(chosen["alpha"]), estimate) for chosen, estimate in candidates]

    is_first = _half_of(renders.groups[rows], rng)
    held_out = rows[~is_first]
    tried = learnt_from(rows[is_first], Ridge())
    errors_AL = np.array(
        [
            ((estimate(copies_NF[0][held_out]) - values_NL[held_out]) ** 2).mean(axis=0)
            for _, estimate in tried
        ]
    )
    alphas_L = [tried[number][0] for number in errors_AL.argmin(axis=0)]
    models = dict(learnt_from(rows, Ridge(alphas=tuple(sorted(set(alphas_L))))))
    return lambda features: np.stack(
        [models[alpha](features)[:, label] for label, alpha in enumerate(alphas_L)], axis=1
    )
