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
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from factory.images.png import Pixels
from schemas.base import Model
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

    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1)
    """for each seed the sets are divided into folds once more"""
    num_folds: Annotated[int, Field(ge=2)] = 2
    """number of parts of either set, each classified by a network trained on the others"""
    num_images: Annotated[int, Field(ge=MIN_IMAGES)] = 3000
    """most images of either set that are used"""
    num_steps: Annotated[int, Field(gt=0)] = 250
    """optimiser steps of each network"""
    batch_size: Annotated[int, Field(gt=1)] = 64
    """images of a training step, half of them from either set"""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
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
                of 16 bits without `full_scale`, or of 8 bits with it.
        """
        check_images("real", real_NHW, real_NHW, full_scale)
        check_images("other", other_NHW, real_NHW, full_scale)
        scale = 255 if full_scale is None else full_scale
        accuracies = []
        for seed in self.seeds:
            with one_thread(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                accuracies += self._run(real_NHW, other_NHW, seed, scale)
            of_seed = accuracies[-self.num_folds :]
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

    def _run(self, real_NHW: Images, other_NHW: Images, seed: int, full_scale: int) -> list[float]:
        """Train one network for each fold; the shares of held-out images classified correctly."""
        accuracies = []
        for fold, (real, other) in enumerate(self.folds(len(real_NHW), len(other_NHW), seed)):
            (real_test, real_train), (other_test, other_train) = real, other
            network = _Classifier()
            rng = np.random.default_rng((seed, 2, fold))
            self._fit(network, real_NHW[real_train], other_NHW[other_train], rng, full_scale)
            says_real = _logits(network, real_NHW[real_test], full_scale) > 0
            says_other = _logits(network, other_NHW[other_test], full_scale) <= 0
            accuracies.append(float(np.concatenate([says_real, says_other]).mean()))
        return accuracies

    def _fit(
        self,
        network: nn.Module,
        real_NHW: Images,
        other_NHW: Images,
        rng: np.random.Generator,
        full_scale: int,
    ) -> None:
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=self.num_steps
        )
        half = min(self.batch_size // 2, len(real_NHW))
        target = torch.cat([torch.ones(half), torch.zeros(half)])
        batches = zip(
            batches_of(real_NHW, half, rng), batches_of(other_NHW, half, rng), strict=False
        )
        network.train()
        for _ in range(self.num_steps):
            batch = cast("Images", np.concatenate(next(batches)))
            images = shifted(batch, self.max_shift_px, rng)
            logits = network(network_planes(images, full_scale))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, target)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        network.eval()


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


class _Classifier(nn.Sequential):
    """A small network: (n, 2, H, W) of `network_planes` to (n,) logits of the class "real".

    Its weights lie channels last in memory, which saves a third of a step's time on a CPU.
    """

    def __init__(self) -> None:
        super().__init__(
            *stage(2, 16),
            *stage(16, 32),
            *stage(32, 48),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(48, 1),
            nn.Flatten(0),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def stage(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """A convolution with stride 2 that halves the image size, batch normalisation and a ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def batches_of(images_NHW: Some, size: int, rng: np.random.Generator) -> Iterator[Some]:
    """Endless random batches of `size` images.

    Every image is drawn once before any is drawn again, but for a remainder that is smaller than a
    batch.
    """
    while True:
        order = rng.permutation(len(images_NHW))
        for start in range(0, len(order) - size + 1, size):
            yield cast("Some", images_NHW[order[start : start + size]])


def shifted(images_NHW: Images, most_px: int, rng: np.random.Generator) -> Images:
    """Move each image by a random number of whole pixels in x and in y, at most `most_px`.

    What moves in from beyond the border repeats the pixels at the border.
    """
    num, height, width = images_NHW.shape
    dy, dx = rng.integers(-most_px, most_px + 1, (2, num))
    rows = np.clip(np.arange(height) - dy[:, None], 0, height - 1)
    columns = np.clip(np.arange(width) - dx[:, None], 0, width - 1)
    which = np.arange(num)[:, None, None]
    moved: Images = images_NHW[which, rows[:, :, None], columns[:, None, :]]
    return moved


def network_planes(images_NHW: Images, full_scale: int = 255) -> Tensor:
    """The input of the networks here: (n, 2, H, W) float32, channels last in memory.

    The first plane has the values on [-1, 1]. The second has 4 times their difference from the
    mean of their 3 x 3 neighbourhood, which lets a short training see grain and blur of a few grey
    levels: with it, networks detect added noise of 3 levels at once; without it, one in three does.
    """
    values = torch.from_numpy(images_NHW.astype(np.float32))
    grey = values.div_(full_scale / 2).sub_(1).unsqueeze(1)
    around = nn.functional.avg_pool2d(grey, 3, stride=1, padding=1, count_include_pad=False)
    planes = torch.cat([grey, 4 * (grey - around)], dim=1)
    return planes.contiguous(memory_format=torch.channels_last)


def _logits(network: nn.Module, images_NHW: Images, full_scale: int) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [
            network(network_planes(images_NHW[start : start + 256], full_scale)).numpy()
            for start in range(0, len(images_NHW), 256)
        ]
    return np.concatenate(parts)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread, because sums on several threads differ in their last bits."""
    num = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num)


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
