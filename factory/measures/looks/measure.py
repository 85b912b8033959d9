"""All measures of looks: renders, refined renders and a half of the real images against the other
half.

Many of them depend on how many images a set has, so the sets are cut to one size first, and the
reference is the same for all.

Axes in names: N images, H height, W width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from factory.measures.looks.copies import nearest_in, nearest_others, thumbnails
from factory.measures.looks.curves import (
    SetCurves,
    gradient_histograms,
    grey_histograms,
    rms_difference,
    spectra,
    wasserstein,
)
from factory.measures.looks.feature_distances import (
    diversity,
    frechet,
    kernel,
    neighbours,
    scaled_by,
)
from factory.measures.looks.features import FeatureTraining
from factory.measures.looks.jackknife import (
    POSITIVE,
    Groups,
    Jackknife,
    Rounds,
    Sets,
    groups_of,
)
from factory.measures.looks.patches import MIN_SIDE_PX, patches_of, sliced_wasserstein
from factory.measures.two_sample import MIN_IMAGES, check_images
from schemas.base import Model
from schemas.realism import ClosestPair, Compared, Curves, LookDistances

Images = NDArray[np.uint8]
ANY = float("-inf"), float("inf")


class LookSettings(Model):
    """How looks are measured; the defaults take some minutes of one core, half of them for the
    features."""

    num_images: Annotated[int, Field(ge=MIN_IMAGES)] = 1500
    """most images of each compared set; there can be no more than half of the real ones"""
    num_rounds: Annotated[int, Field(ge=10)] = 100
    """that intervals are taken from"""
    features: FeatureTraining = FeatureTraining()
    copy_percentile: Annotated[float, Field(gt=0, lt=100)] = 1.0
    """of the distances from real images to the nearest other: what is nearer counts as a copy"""
    num_closest: Annotated[int, Field(ge=0)] = 8
    """pairs to name"""
    seed: int = 0
    """of the halves, samples and rounds"""


class FeatureLooks(NamedTuple):
    """As fields of `LookDistances`; so are the other parts."""

    frechet: Compared
    kernel: Compared
    coverage: Compared
    density: Compared
    diversity: Compared


class PatchLooks(NamedTuple):
    sliced_wasserstein_fine: Compared
    sliced_wasserstein_coarse: Compared


class CurveLooks(NamedTuple):
    spectrum_db: Compared
    grey: Compared
    gradient: Compared
    spectra: Curves
    grey_histogram: Curves
    gradient_histogram: Curves
    num_images: int
    num_identities: int | None


class CopyLooks(NamedTuple):
    memorised_share: Compared
    copy_distance: float
    copy_percentile: float
    closest: tuple[ClosestPair, ...]


Part = FeatureLooks | PatchLooks | CurveLooks | CopyLooks


class _Given(NamedTuple):
    """The images as they came."""

    synthetic: Images
    refined: Images
    real: Images
    groups: Groups | None
    halves: tuple[NDArray[np.intp], NDArray[np.intp]]
    """positions in `real`: of the reference, and of what the floor compares with it"""

    def compared(self, settings: LookSettings) -> tuple[Sets[Images], Jackknife]:
        """Sets of one size, and the rounds of their intervals."""
        reference, other_half = self.halves
        num = min(len(self.synthetic), len(reference), settings.num_images)
        rng = np.random.default_rng((settings.seed, 1))
        rows = np.sort(rng.permutation(len(self.synthetic))[:num])
        sets = Sets(
            self.synthetic[rows],
            self.refined[rows],
            self.real[other_half[:num]],
            self.real[reference[:num]],
        )
        groups = None if self.groups is None else _renumbered(self.groups[rows])
        return sets, Jackknife(settings.num_rounds, num, groups, settings.seed)


def look_parts(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    settings: LookSettings,
    *,
    identities: Sequence[str] | None = None,
) -> tuple[Callable[[], Part], ...]:
    """The parts of `measure_looks`, for `looks_of`, as calls that can be made side by side.

    Raises:
        ValueError: as `measure_looks`, at once.
    """
    if synthetic_NHW.shape != refined_NHW.shape:
        raise ValueError(
            f"synthetic and refined images must be pairs, got {synthetic_NHW.shape} "
            f"and {refined_NHW.shape}"
        )
    for name, images_NHW in (("synthetic", synthetic_NHW), ("refined", refined_NHW)):
        check_images(name, images_NHW, real_NHW)
    check_images("real", real_NHW, real_NHW)
    if len(real_NHW) < 2 * MIN_IMAGES:
        raise ValueError(f"{len(real_NHW)} real images, two halves need {2 * MIN_IMAGES}")
    if min(real_NHW.shape[1:]) < MIN_SIDE_PX:
        raise ValueError(
            f"images are {real_NHW.shape[1:]}; both sides must have {MIN_SIDE_PX} px or more"
        )
    if identities is not None and len(identities) != len(synthetic_NHW):
        raise ValueError(f"{len(identities)} identities of {len(synthetic_NHW)} images")
    groups = None if identities is None else groups_of(identities)
    order = np.random.default_rng(settings.seed).permutation(len(real_NHW))
    half = len(order) // 2
    halves = order[:half], order[half : 2 * half]
    given = _Given(synthetic_NHW, refined_NHW, real_NHW, groups, halves)
    parts = in_features, in_patches, in_curves, in_copies
    return tuple(partial(part, given, settings) for part in parts)


def looks_of(parts: Sequence[Part]) -> LookDistances:
    """The results of `look_parts`, in one."""
    return LookDistances(
        **{name: value for part in parts for name, value in part._asdict().items()}
    )


def measure_looks(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    settings: LookSettings,
    *,
    identities: Sequence[str] | None = None,
) -> LookDistances:
    """How alike renders and real images look, before and after refining.

    Args:
        synthetic_NHW, refined_NHW: uint8, image k of both being one scene; at least 20.
        real_NHW: uint8; at least 40, as the other sets are compared with half of them, in
            random order.
        identities: of the scenes, for intervals over identities; None for intervals over images.

    Returns:
        The same on every run.

    Raises:
        ValueError: not grey images of one size, too few, too small, or too few identities.
    """
    parts = look_parts(synthetic_NHW, refined_NHW, real_NHW, settings, identities=identities)
    return looks_of([part() for part in parts])


def in_features(given: _Given, settings: LookSettings) -> FeatureLooks:
    """What is measured in the features of a network that learns from real images and renders."""
    images, jackknife = given.compared(settings)
    pool = np.concatenate([images.synthetic, images.other_half, images.reference])
    features = images.map(settings.features(pool))
    scaled = features.map(partial(scaled_by, features.reference))
    coverage, density = jackknife.compare(scaled, neighbours, (0, 1), POSITIVE)
    return FeatureLooks(
        frechet=jackknife.compare(scaled, frechet, POSITIVE)[0],
        kernel=jackknife.compare(scaled, kernel, ANY)[0],
        coverage=coverage,
        density=density,
        diversity=jackknife.compare(scaled, diversity, POSITIVE)[0],
    )


def in_patches(given: _Given, settings: LookSettings) -> PatchLooks:
    """What is measured on patches."""
    images, jackknife = given.compared(settings)
    patches = images.map(partial(patches_of, seed=settings.seed))
    distance = partial(sliced_wasserstein, seed=settings.seed)
    return PatchLooks(*jackknife.compare(patches, distance, POSITIVE, POSITIVE))


def in_curves(given: _Given, settings: LookSettings) -> CurveLooks:
    """Spectra and histograms, and how they differ."""
    images, jackknife = given.compared(settings)
    power, greys, gradients = (
        images.map(curve) for curve in (spectra, grey_histograms, gradient_histograms)
    )
    return CurveLooks(
        spectrum_db=jackknife.compare(power, rms_difference, POSITIVE)[0],
        grey=jackknife.compare(greys, wasserstein, POSITIVE)[0],
        gradient=jackknife.compare(gradients, wasserstein, POSITIVE)[0],
        spectra=_curves(power),
        grey_histogram=_curves(greys),
        gradient_histogram=_curves(gradients),
        num_images=len(images.reference),
        num_identities=None if given.groups is None else int(given.groups.max()) + 1,
    )


def in_copies(given: _Given, settings: LookSettings) -> CopyLooks:
    """Images that are nearer to a real one than real ones are to each other.

    All renders against all real images, any of which a refiner may have seen; for the floor, one
    half of the real images against the other, by a distance of that half's own. The interval is
    over renders (or identities), given the real images.
    """
    synthetic, refined, real = (
        thumbnails(images) for images in (given.synthetic, given.refined, given.real)
    )
    reference, other_half = (real[half] for half in given.halves)
    rounds = partial(Rounds.draw, settings.num_rounds, seed=settings.seed)
    of_renders, of_real = rounds(len(refined), given.groups), rounds(len(other_half), None)
    copy, copy_in_half = (
        float(np.percentile(nearest_others(real_MP).distance, settings.copy_percentile))
        for real_MP in (real, reference)
    )
    nearest = nearest_in(real, refined)
    order = np.argsort(nearest.distance, kind="stable")[: settings.num_closest]
    return CopyLooks(
        memorised_share=Compared(
            synthetic=of_renders.share(nearest_in(real, synthetic).distance <= copy),
            refined=of_renders.share(nearest.distance <= copy),
            floor=of_real.share(nearest_in(reference, other_half).distance <= copy_in_half),
        ),
        copy_distance=copy,
        copy_percentile=settings.copy_percentile,
        closest=tuple(
            ClosestPair(
                refined=int(k), real=int(nearest.which[k]), distance=float(nearest.distance[k])
            )
            for k in order
        ),
    )


def _curves(curves: Sets[SetCurves]) -> Curves:
    def mean(one: SetCurves) -> tuple[float, ...]:
        return tuple(one.each.mean(axis=0).tolist())

    return Curves(
        at=tuple(curves.reference.at.tolist()),
        synthetic=mean(curves.synthetic),
        refined=mean(curves.refined),
        real=mean(curves.reference),
    )


def _renumbered(groups: Groups) -> Groups:
    """From 0 without gaps, where the sample left an identity out."""
    return np.unique(groups, return_inverse=True)[1]
