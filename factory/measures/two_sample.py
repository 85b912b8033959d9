"""The classifier two-sample test: can a small network tell two sets of images apart?

Lopez-Paz and Oquab 2017 (arXiv:1610.06545). A network is trained on a part of both sets and
classifies the rest. If both sets have one distribution, it is right for half of these held-out
images; the more the sets differ, the more often it is right. So its accuracy measures how real
refined images look. An accuracy near 50 % means only as much as the network can see, so two more
tests accompany it: synthetic against real images shows the power of the test, and one half of the
real images against the other its floor, the accuracy for equal distributions.

The test is cross-validated: the sets are divided into folds, and each fold is classified by a
network that was trained on the others, so that every image is held out once for every seed.

Axes in names: N images, H height, W width.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.images.png import Pixels
from schemas.base import Float, Model
from schemas.report import Realism, TwoSample

log = logging.getLogger(__name__)

Images = Pixels
Some = TypeVar("Some", bound=NDArray[Any])
Split = tuple[NDArray[np.intp], NDArray[np.intp]]
"""positions of the images that are held out, and of those that are trained on"""
Z95 = 1.959964
"""two-sided 95 % quantile of the normal distribution"""
MIN_IMAGES = 20
"""fewest images of either set; with fewer, no interval would mean anything"""


class TwoSampleTest(Model):
    """A classifier two-sample test and its budget.

    Both sets have equal weight, however many images each has. Each seed draws its own folds,
    initial weights, batches and shifts. The folds depend only on the seed and the sizes of the
    sets, so the images of one scene before and after refining fall into the same fold.
    """

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1)
    """for each seed the sets are divided into folds once more"""
    num_folds: Annotated[int, Field(ge=2)] = 2
    """number of parts of either set, each classified by a network trained on the others"""
    num_images: Annotated[int, Field(ge=MIN_IMAGES)] = 3000
    """most images of either set that are used"""
    num_steps: Annotated[int, Field(gt=0)] = 250
    """optimiser steps of each network"""
    batch_size: Annotated[int, Field(gt=1)] = 64
    """images of a training step, half of them from either set"""
    learning_rate: Annotated[Float, Field(gt=0)] = 2e-3
    """the highest learning rate; a one-cycle schedule rises to it and falls again"""
    max_shift_px: Annotated[int, Field(ge=0)] = 2
    """training images of both sets are shifted at random by at most this, in x and in y"""

    def __call__(
        self, real_NHW: Images, other_NHW: Images, full_scale: int | None = None
    ) -> TwoSample:
        """Measure how well networks tell held-out images of the two sets apart.

        Args:
            real_NHW, other_NHW: (n, H, W) uint8, or uint16 with `full_scale`; all of one size, and
                at least `MIN_IMAGES` of either.
            full_scale: the value of 16-bit images that becomes 1, where 0 becomes -1; None for
                8-bit images.

        Returns:
            The accuracy in [0, 1], 0.5 for equal distributions, with a 95 % interval (see
            `interval`). `num_train` and `num_test` count the images of both sets that one network
            was trained on and classified. The result is the same on every run and with any number
            of threads.

        Raises:
            ValueError: there are too few images, or the sets differ in size or type, or images are
                of 16 bits without `full_scale`, or of 8 bits with it; or the training of a network
                diverged.
        """
        from factory.measures import two_sample_classifier as classifier

        check_images("real", real_NHW, real_NHW, full_scale)
        check_images("other", other_NHW, real_NHW, full_scale)
        scale = 255 if full_scale is None else full_scale
        budget = classifier.Budget(
            self.num_steps, self.batch_size, self.learning_rate, self.max_shift_px
        )
        accuracies: list[float] = []
        for seed in self.seeds:
            folds = self.folds(len(real_NHW), len(other_NHW), seed)
            of_seed = classifier.accuracies(budget, folds, real_NHW, other_NHW, seed, scale)
            accuracies += of_seed
            log.info(
                "The two-sample test with seed %d classified %.1f %% of the held-out images "
                "correctly.",
                seed,
                100 * np.mean(of_seed),
            )
        num_test, num_train = self.sizes(len(real_NHW), len(other_NHW))
        low, high = interval(accuracies, 2 * num_test)
        return TwoSample(
            accuracy=float(np.mean(accuracies)),
            low=low,
            high=high,
            num_train=2 * num_train,
            num_test=2 * num_test,
            seeds=self.seeds,
        )

    def sizes(self, num_real: int, num_other: int) -> tuple[int, int]:
        """(held out, trained on): how many images of either set one network is given."""
        num = min(num_real, num_other, self.num_images)
        num_test = num // self.num_folds
        return num_test, (self.num_folds - 1) * num_test

    def folds(self, num_real: int, num_other: int, seed: int) -> Iterator[tuple[Split, Split]]:
        """For each fold, ((test, train) of the real set, (test, train) of the other), positions.

        Over all folds, each image of the smaller set is held out once, but for a remainder, and as
        many of the larger set are.
        """
        num_test, num_train = self.sizes(num_real, num_other)
        orders = [
            np.random.default_rng((seed, which)).permutation(num)[: num_test + num_train]
            for which, num in enumerate((num_real, num_other))
        ]
        for first in range(0, num_test * self.num_folds, num_test):
            real, other = (
                (order[first : first + num_test], np.delete(order, slice(first, first + num_test)))
                for order in orders
            )
            yield real, other


def comparisons(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    test: TwoSampleTest,
    full_scale: int | None = None,
) -> tuple[Callable[[], TwoSample], Callable[[], TwoSample], Callable[[], TwoSample]]:
    """The three tests of `Realism` as calls that can run in parallel.

    Args:
        synthetic_NHW, refined_NHW: (N, H, W) uint8 or uint16, image k of both being one scene. So
            a scene is held out of both comparisons or of neither, and their accuracies differ
            because of the refiner alone.
        real_NHW: (M, H, W) of the same type; at least 2 `MIN_IMAGES`, because the floor compares
            its two halves.
        full_scale: as for `TwoSampleTest`.

    Returns:
        The tests of synthetic against real, refined against real, and real against real images;
        `realism_of` takes their results in this order.

    Raises:
        ValueError: synthetic and refined images differ in number or size.
    """
    if synthetic_NHW.shape != refined_NHW.shape:
        raise ValueError(
            f"synthetic and refined images must be pairs, got {synthetic_NHW.shape} "
            f"and {refined_NHW.shape}"
        )
    order = np.random.default_rng(min(test.seeds)).permutation(len(real_NHW))
    half = len(order) // 2
    return (
        partial(test, real_NHW, synthetic_NHW, full_scale),
        partial(test, real_NHW, refined_NHW, full_scale),
        partial(test, real_NHW[order[:half]], real_NHW[order[half:]], full_scale),
    )


def realism_of(results: Sequence[TwoSample]) -> Realism:
    """The results of `comparisons` as one record.

    Args:
        results: of the three calls, in their order.
    """
    synthetic, refined, floor = results
    return Realism(synthetic_vs_real=synthetic, refined_vs_real=refined, real_vs_real=floor)


def interval(accuracies: Sequence[float], num_test: int) -> tuple[float, float]:
    """95 % interval of the mean accuracy of several networks, over images and networks.

    The variance has two parts. The first is that of the `num_test` held-out images of one network,
    counted once, as if all networks had classified the same images. The second is that of the
    networks, as far as their accuracies scatter more than the images explain. The sum gives the
    number of independent answers that the mean is worth, and the interval is a Wilson interval of
    that number.

    Cross-validation classifies more images than those of one network, but its answers are not
    independent: near 50 %, a chance surplus in one fold helps the networks that train on it as much
    as the one that classifies it. The variance of cross-validation has no unbiased estimate (Bengio
    and Grandvalet 2004). In simulations of three to six linear classifiers, an interval that
    counted every image held the true accuracy in 87 to 97 % of the cases near chance, and this one
    in 98 % or more at any accuracy. So this interval is wide rather than narrow, by a factor of up
    to the square root of the number of folds.

    Args:
        accuracies: one for each network, in [0, 1].
        num_test: number of images that one network classified.

    Returns:
        (low, high), inside [0, 1].
    """
    mean = float(np.mean(accuracies))
    of_images = mean * (1 - mean) / num_test
    of_networks = 0.0
    if len(accuracies) > 1:
        scatter = float(np.var(accuracies, ddof=1))
        of_networks = max(0.0, scatter - of_images) / len(accuracies)
    worth = num_test * of_images / (of_images + of_networks) if of_images > 0 else num_test
    return wilson(mean, worth)


def wilson(share: float, num: float) -> tuple[float, float]:
    """The 95 % Wilson interval (low, high) of a share that was seen in `num` independent answers.

    It lies inside [0, 1].
    """
    shrink = 1 / (1 + Z95**2 / num)
    middle = shrink * (share + Z95**2 / (2 * num))
    half = shrink * Z95 * float(np.sqrt(share * (1 - share) / num + (Z95 / (2 * num)) ** 2))
    return max(0.0, middle - half), min(1.0, middle + half)


def check_images(
    name: str, images_NHW: Images, like_NHW: Images, full_scale: int | None = None
) -> None:
    """Check the images of one set before anything is trained.

    Args:
        name: of the set, for the message.
        like_NHW: the real images, whose size the others must have.
        full_scale: given for 16-bit images, None for 8-bit ones.

    Raises:
        ValueError: they are not at least `MIN_IMAGES` one-channel images of that type and size.
    """
    dtype = np.dtype(np.uint8 if full_scale is None else np.uint16)
    if images_NHW.ndim != 3 or images_NHW.dtype != dtype:
        raise ValueError(
            f"{name} images must be (n, h, w) {dtype}, are {images_NHW.shape} {images_NHW.dtype}"
        )
    if images_NHW.shape[1:] != like_NHW.shape[1:]:
        raise ValueError(
            f"{name} images are {images_NHW.shape[1:]}, but real images are {like_NHW.shape[1:]}"
        )
    if len(images_NHW) < MIN_IMAGES:
        raise ValueError(
            f"there are {len(images_NHW)} {name} images, but a test needs {MIN_IMAGES}"
        )
