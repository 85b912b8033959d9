"""Models that are no networks, as baselines: nearest neighbours, random forest, support vectors,
adaptive linear regression and ridge regression.

The first four are those that table 3 of Shrivastava et al. 2017 sets beside its network, on
features of Schneider et al. 2014 ("Manifold Alignment for Person Independent Appearance-based Gaze
Estimation", ICPR). Here, nearest neighbours and adaptive linear regression compare reduced
pictures, and the others take histograms of oriented gradients, which are among the features of
Schneider et al., and those of Huang et al. 2017 ("TabletGaze", Machine Vision and Applications 28).
Options that need choosing are chosen from a short list on the held-out examples. scikit-learn
computes the models, on one thread.

Axes: N images, F features, D numbers of the quantity.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.images.png import Pixels
from factory.networks.evaluation_kinds import Examples, Fitted, Quantity, Regressor, Values
from factory.store.extras import require
from schemas.base import Float
from schemas.dataset import ImageSpec

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Features = NDArray[np.float64]
Estimate = Callable[[Features], Values]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[Float, Field(gt=0)]
Share = Annotated[Float, Field(gt=0, lt=1)]

REDUCED = (9, 15)
"""(height, width) of a reduced picture. Lu et al. take 3 x 5 for pictures of one person; renders
are of many"""
CELL_PX = 5
"""side of a cell of the gradients' histograms; an eye of 35 x 55 px has 7 x 11 of them"""
_BLOCK_CELLS = 2
"""cells along the side of a block, whose contrast is normalised"""
_ORIENTATIONS = 9
SHIFTED_COPIES = 4
"""of each training image, where these are moved"""
_AT_ONCE = 250
"""pictures whose gradients are in memory together"""


def reduced(images: Pixels) -> Features:
    """(N, 135): pictures (N, H, W) reduced to 9 x 15 means of areas, each then brought to mean 0
    and standard deviation 1; a picture of one grey value becomes zeros."""
    height, width = REDUCED
    flat = np.empty((len(images), height * width))
    for row, image in zip(flat, images, strict=True):
        row[:] = cv2.resize(
            image.astype(np.float64), (width, height), interpolation=cv2.INTER_AREA
        ).ravel()
    flat -= flat.mean(axis=1, keepdims=True)
    sd = flat.std(axis=1, keepdims=True)
    return np.asarray(np.divide(flat, sd, out=np.zeros_like(flat), where=sd > 1e-3))


def gradient_histograms(images: Pixels) -> Features:
    """(N, F) histograms of oriented gradients of pictures (N, H, W), as Dalal and Triggs 2005 make
    them: 9 orientations without sign, between the nearest two of which a gradient is divided; cells
    of 5 px; overlapping blocks of 2 x 2 cells, brought to length 1, clipped at 0.2, and to length 1
    again. Unlike theirs, a gradient counts in its own cell alone.

    Pictures whose sides are no multiples of 5 are first scaled to the nearest. (OpenCV 5 has no
    histograms of gradients any more.)
    """
    rows, columns = (max(_BLOCK_CELLS, round(side / CELL_PX)) for side in images.shape[1:])
    parts = [
        _block_histograms(images[start : start + _AT_ONCE], rows, columns)
        for start in range(0, len(images), _AT_ONCE)
    ]
    num_blocks = (rows - _BLOCK_CELLS + 1) * (columns - _BLOCK_CELLS + 1)
    return np.concatenate([np.empty((0, num_blocks * _BLOCK_CELLS**2 * _ORIENTATIONS)), *parts])


def _block_histograms(images: Pixels, rows: int, columns: int) -> Features:
    height, width, num = rows * CELL_PX, columns * CELL_PX, len(images)
    values = np.empty((num, height, width))
    for value, image in zip(values, images, strict=True):
        value[:] = cv2.resize(image.astype(np.float64), (width, height))
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), "edge")
    down, right = (
        padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1],
        padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2],
    )
    angle = np.arctan2(down, right) / np.pi * _ORIENTATIONS  # in units of one orientation
    lower = np.floor(angle)
    upper_share, strength = angle - lower, np.hypot(down, right)
    cells = np.zeros((num, rows, columns, _ORIENTATIONS))
    for orientation in range(_ORIENTATIONS):
        weight = np.where((lower - orientation) % _ORIENTATIONS == 0, 1 - upper_share, 0.0)
        weight += np.where((lower + 1 - orientation) % _ORIENTATIONS == 0, upper_share, 0.0)
        pixels = (weight * strength).reshape(num, rows, CELL_PX, columns, CELL_PX)
        cells[..., orientation] = pixels.sum(axis=(2, 4))
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (_BLOCK_CELLS,) * 2, axis=(1, 2))
    flat = blocks.reshape(num, -1, _BLOCK_CELLS**2 * _ORIENTATIONS)
    flat = _of_length_1(flat).clip(max=0.2)
    return _of_length_1(flat).reshape(num, -1)


def _of_length_1(vectors: Features) -> Features:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-9))


class Classical(Regressor):
    """A model of features that are computed from each picture alone."""

    quantities: ClassVar[frozenset[str] | None] = None
    NAME: ClassVar[str]
    """begins messages"""

    max_shift_px: int = Field(default=0, ge=0, exclude_if=lambda shift_px: shift_px == 0)
    """how far training images are moved at most, along each axis. A model then learns from each
    image `SHIFTED_COPIES` times, each time moved anew: real images are not cut out exactly"""

    def check(self, image: ImageSpec) -> None:
        if image.channels != 1:
            raise ValueError(
                f"{self.NAME} takes images of one channel, the dataset has {image.channels}"
            )

    @abstractmethod
    def features(self, images: Pixels) -> Features:
        """(N, F) of pictures (N, H, W)."""

    @abstractmethod
    def candidates(
        self, features_NF: Features, values_ND: Values, seed: int
    ) -> Iterator[tuple[Mapping[str, float | int], Estimate]]:
        """Models that were trained on the same examples with each choice of the options that are
        chosen on held-out examples."""

    def fit(self, train: Examples, held_out: Examples, quantity: Quantity, *, seed: int) -> Fitted:
        require("sklearn", self.NAME)
        if self.max_shift_px:
            train = self._moved(train, seed)
        features_NF = self.features(train.images)
        held_out_NF = self.features(held_out.images)

        def error_of(estimates_ND: Values) -> float:
            return float(quantity.errors(estimates_ND, held_out.values_ND).mean())

        tried = [
            (error_of(estimate(held_out_NF)), chosen, estimate)
            for chosen, estimate in self.candidates(features_NF, train.values_ND, seed)
        ]
        error, chosen, best = min(tried, key=lambda one: one[0])
        mean_answer = np.broadcast_to(train.values_ND.mean(axis=0), held_out.values_ND.shape)
        facts = {
            **chosen,
            f"held_out_error_{quantity.unit}": error,
            f"mean_answer_{quantity.unit}": error_of(mean_answer),
        }
        return Fitted(lambda images: best(self.features(images)), facts)

    def _moved(self, train: Examples, seed: int) -> Examples:
        from factory.measures.small_networks import shifted

        rng = np.random.default_rng([seed, 2])
        return Examples.concatenated(
            [
                train._replace(images=shifted(train.images, self.max_shift_px, rng))
                for _ in range(SHIFTED_COPIES)
            ]
        )


def _estimates(model: "BaseEstimator", num_values: int) -> Estimate:
    return lambda features_NF: np.asarray(model.predict(features_NF)).reshape(-1, num_values)


class _OfReduced(Classical):
    def features(self, images: Pixels) -> Features:
        return reduced(images)


class _OfGradients(Classical):
    def features(self, images: Pixels) -> Features:
        return gradient_histograms(images)


class Nearest(_OfReduced):
    """The mean of the labels of the nearest training pictures, weighted by inverse distance."""

    NAME = "a model of nearest neighbours"

    neighbours: tuple[Count, ...] = Field(default=(5, 10, 20, 50), min_length=1)
    """numbers of neighbours to choose from"""

    def candidates(
        self, features_NF: Features, values_ND: Values, seed: int
    ) -> Iterator[tuple[Mapping[str, float | int], Estimate]]:
        from sklearn.neighbors import KNeighborsRegressor

        for k in sorted({min(k, len(features_NF)) for k in self.neighbours}):
            model = KNeighborsRegressor(k, weights="distance", algorithm="brute", n_jobs=1)
            model.fit(features_NF, values_ND)
            yield {"neighbours": k}, _estimates(model, values_ND.shape[1])


class Forest(_OfGradients):
    """A random forest (Breiman 2001) on histograms of oriented gradients."""

    NAME = "a random forest"

    trees: Count = 100
    """number of trees"""
    min_leaf: tuple[Count, ...] = Field(default=(1, 5), min_length=1)
    """smallest numbers of training pictures in a leaf to choose from"""
    features_share: Annotated[Float, Field(gt=0, le=1)] = 0.02
    """share of the features that are tried at each split"""

    def candidates(
        self, features_NF: Features, values_ND: Values, seed: int
    ) -> Iterator[tuple[Mapping[str, float | int], Estimate]]:
        from sklearn.ensemble import RandomForestRegressor

        for min_leaf in self.min_leaf:
            model = RandomForestRegressor(
                self.trees,
                min_samples_leaf=min_leaf,
                max_features=self.features_share,
                random_state=seed,
                n_jobs=1,
            )
            model.fit(features_NF, values_ND[:, 0] if values_ND.shape[1] == 1 else values_ND)
            yield {"min_leaf": min_leaf}, _estimates(model, values_ND.shape[1])


class SupportVectors(_OfGradients):
    """Support vector regression with a Gaussian kernel, one model for each number of the quantity.

    The histograms of oriented gradients are reduced to their principal components, which changes
    distances little and makes the kernel cheap. Values are scaled to standard deviation 1, in which
    `epsilon` counts.
    """

    NAME = "a support vector machine"

    penalties: tuple[Positive, ...] = Field(default=(0.3, 1.0, 3.0, 10.0), min_length=1)
    """penalties C to choose from"""
    epsilon: Annotated[Float, Field(ge=0)] = 0.1
    """errors up to this many standard deviations of the labels cost nothing"""
    components: Count = 96
    """number of principal components"""

    def candidates(
        self, features_NF: Features, values_ND: Values, seed: int
    ) -> Iterator[tuple[Mapping[str, float | int], Estimate]]:
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.decomposition import PCA
        from sklearn.multioutput import MultiOutputRegressor
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR

        components = min(self.components, len(features_NF) - 1, features_NF.shape[1])
        projection = PCA(max(1, components), svd_solver="randomized", random_state=seed)
        projected = projection.fit_transform(features_NF)
        for penalty in self.penalties:
            machines = MultiOutputRegressor(SVR(C=penalty, epsilon=self.epsilon), n_jobs=1)
            model = TransformedTargetRegressor(machines, transformer=StandardScaler())
            model.fit(projected, values_ND)
            both = make_pipeline(projection, model)
            yield {"penalty": penalty}, _estimates(both, values_ND.shape[1])


class Ridge(_OfGradients):
    """Ridge regression on histograms of oriented gradients."""

    NAME = "ridge regression"

    alphas: tuple[Positive, ...] = Field(default=(0.1, 1.0, 10.0, 100.0), min_length=1)
    """weights of the squared coefficients to choose from"""

    def candidates(
        self, features_NF: Features, values_ND: Values, seed: int
    ) -> Iterator[tuple[Mapping[str, float | int], Estimate]]:
        from sklearn.linear_model import Ridge as LinearRidge

        for alpha in self.alphas:
            model = LinearRidge(alpha=alpha, solver="cholesky").fit(features_NF, values_ND)
            yield {"alpha": alpha}, _estimates(model, values_ND.shape[1])


class AdaptiveLinear(_OfReduced):
    """Adaptive linear regression (Lu et al., TPAMI 36(10), 2014).

    The feature e of a picture is rebuilt from few features E of training pictures: the weights w of
    smallest |E w - e|² / 2 + p |w|, with the sum of absolute values |w|, which then weigh the
    labels. This is the Lagrangian of the paper's problem, the smallest |w| with |E w - e| at most
    a tolerance.

    Unlike the paper: the penalty p is given in place of the tolerance; only the nearest training
    pictures are candidates; pictures are reduced to 9 x 15 in place of 3 x 5; weights are not
    negative and are divided by their sum, so that the estimate is a weighted mean of labels however
    well the picture is rebuilt; neither shifts of less than a pixel nor blinks are estimated
    alongside.
    """

    NAME = "adaptive linear regression"

    penalties: tuple[Share, ...] = Field(default=(0.03, 0.1, 0.3, 0.5), min_length=1)
    """penalties to choose from, as shares of the one from which on all weights are 0"""
    nearest: Count = 200
    """number of training pictures that a picture may be rebuilt from"""

    def candidates(
        self, features_NF: Features, values_ND: Values, seed: int
    ) -> Iterator[tuple[Mapping[str, float | int], Estimate]]:
        from sklearn.neighbors import NearestNeighbors

        near = NearestNeighbors(
            n_neighbors=min(self.nearest, len(features_NF)), algorithm="brute", n_jobs=1
        ).fit(features_NF)

        def estimate(penalty: float, features: Features) -> Values:
            rows_NK = near.kneighbors(features, return_distance=False)
            estimates = np.empty((len(features), values_ND.shape[1]))
            for out, feature, rows in zip(estimates, features, rows_NK, strict=True):
                out[:] = _rebuilding_weights(features_NF[rows], feature, penalty) @ values_ND[rows]
            return estimates

        for penalty in self.penalties:
            yield {"penalty": penalty}, partial(estimate, penalty)


def _rebuilding_weights(near_KF: Features, feature_F: Features, penalty: float) -> Features:
    """(K,) weights of the sum 1 that rebuild a feature.

    Args:
        penalty: share of the one from which on all weights are 0.
    """
    from sklearn.linear_model import Lasso

    products_K = near_KF @ feature_F
    most = products_K.max() / len(feature_F)
    if most <= 1e-9:  # a picture of one grey value, or one that none of the others resembles
        return np.full(len(near_KF), 1 / len(near_KF))
    model = Lasso(
        penalty * most, fit_intercept=False, positive=True, tol=1e-3, precompute=near_KF @ near_KF.T
    )
    weights = model.fit(np.asfortranarray(near_KF.T), feature_F).coef_
    return np.asarray(weights / weights.sum())


CLASSICAL: Mapping[str, type[Classical]] = {
    "nearest": Nearest,
    "forest": Forest,
    "support_vectors": SupportVectors,
    "ridge": Ridge,
    "adaptive_linear": AdaptiveLinear,
}
"""by the `kind` in the configuration of an evaluation"""
