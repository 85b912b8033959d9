"""Renders drawn so that their labels are distributed as the real domain's: after Lee, Kim and Suh,
ICLR 2018 ("Simulated+Unsupervised Learning With Adaptive Data Generation and Bidirectional
Mappings"). They simulate once more; here, the existing renders get weights.

The weights are the ratio of the two densities of the labels, from a classifier that is quadratic
in them, so that two normal distributions are matched exactly (Bickel, Brückner and Scheffer 2009,
"Discriminative Learning Under Covariate Shift").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue
from scipy.optimize import minimize
from scipy.special import expit

from factory.measures.weight_cap import weight_cap

Labels = NDArray[np.float64]
"""(n, k): k numbers that label each of n samples"""
_RIDGE = 1e-3
"""weight of the squared parameters of the classifier, which keeps it finite where the two
distributions do not overlap"""


class LabelTarget(Protocol):
    """How the labels of the real domain are distributed: `Domain.label_target` reads one."""

    @property
    def labels(self) -> Labels:
        """(m, k) samples of the distribution."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of an index that `of` needs."""

    def of(self, index: pa.Table) -> Labels:
        """The same k labels of a dataset's samples: (n, k).

        Raises:
            ValueError: some samples are not labelled with them.
        """

    def digest(self) -> Mapping[str, JsonValue]:
        """What names the distribution in the lineage of a run."""


@dataclass(frozen=True)
class Matching:
    """Weights, and what they achieve."""

    weights: NDArray[np.float64]
    """(n,), of mean 1"""
    effective: float
    """size of an unweighted sample that says as much: (sum w)^2 / sum w^2"""
    apart_before: float
    """difference of the means of the labels, in the target's standard deviations, root mean square
    over the labels"""
    apart_after: float
    """the same of the weighted samples"""

    def __str__(self) -> str:
        return (
            f"{len(self.weights)} are worth {self.effective:.0f}; means apart by "
            f"{self.apart_before:.2f} standard deviations before, {self.apart_after:.2f} after"
        )


def match_labels(given: Labels, target: Labels) -> Matching:
    """Weights under which samples with labels `given` are distributed as `target`.

    Args:
        given: (n, k).
        target: (m, k).

    Raises:
        ValueError: the two have nothing in common, so that a handful of samples would be drawn; or
            a label is not finite.
    """
    for whose, labels in (("of the renders", given), ("of the target", target)):
        if not np.isfinite(labels).all():
            raise ValueError(f"some labels {whose} are not finite; leave those samples out")
    centre, spread = target.mean(axis=0), np.maximum(target.std(axis=0), 1e-6)
    ours, theirs = (given - centre) / spread, (target - centre) / spread
    log_ratio = _log_density_ratio(ours, theirs)
    weights = np.exp(log_ratio - log_ratio.max())
    weights = np.minimum(weights, weight_cap(weights))
    weights /= weights.mean()
    effective = float(weights.sum() ** 2 / np.square(weights).sum())
    if effective < 10:
        raise ValueError(
            f"only {effective:.0f} of {len(given)} renders have labels like the target's; "
            "render more that have"
        )
    return Matching(
        weights,
        effective,
        _root_mean_square(ours.mean(axis=0)),
        _root_mean_square(np.average(ours, axis=0, weights=weights)),
    )


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _log_density_ratio(ours: Labels, theirs: Labels) -> NDArray[np.float64]:
    """(n,) log of the density of `theirs` over that of `ours`, at `ours`, up to a constant."""
    design = np.concatenate([_quadratic(ours), _quadratic(theirs)])
    is_theirs = np.repeat([0.0, 1.0], [len(ours), len(theirs)])
    # Both sets count alike, however many samples each has.
    shares = np.repeat([0.5 / len(ours), 0.5 / len(theirs)], [len(ours), len(theirs)])

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = design @ parameters
        value = shares @ (np.logaddexp(0.0, logits) - is_theirs * logits)
        slope = design.T @ (shares * (expit(logits) - is_theirs))
        return (
            float(value + _RIDGE / 2 * (parameters @ parameters)),
            slope + _RIDGE * parameters,
        )

    minimum = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(_quadratic(ours) @ minimum.x)


def _quadratic(values: Labels) -> NDArray[np.float64]:
    """(n, 1 + k + k (k + 1) / 2): 1, each label, and the product of each two labels."""
    rows, columns = np.triu_indices(values.shape[1])
    products = values[:, rows] * values[:, columns]
    return np.concatenate([np.ones((len(values), 1)), values, products], axis=1)
