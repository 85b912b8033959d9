"""All measures of looks, that is of how alike two sets of grey images look.

Renders, refined renders and one half of the real images are each compared with the other half of
the real images, the reference. The distance between the two real halves is the floor: the value
that a measure has for equal distributions. Many measures depend on the number of images in a set,
so all sets are reduced to one size first.

Axes in names: N images, H height, W width.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from factory.measures.looks.closed_share import closed_share_of
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
from factory.measures.looks.features import Extractor, Features, train_features
from factory.measures.looks.jackknife import (
    POSITIVE,
    Groups,
    Jackknife,
    Rounds,
    Sets,
    groups_of,
)
from factory.measures.looks.patches import MIN_SIDE_PX, patches_of, sliced_wasserstein
from factory.measures.looks.settings import FeatureTraining, LookSettings
from factory.measures.two_sample import MIN_IMAGES, check_images
from schemas.realism import ClosedShare, ClosestPair, Compared, Curves, LookDistances

Images = NDArray[np.uint8]
ANY = float("-inf"), float("inf")


class FeatureLooks(NamedTuple):
    """The measures in the space of features, by their names in `LookDistances`."""

    frechet: Compared
    kernel: Compared
    closed_share: ClosedShare
    coverage: Compared
    density: Compared
    diversity: Compared


class PatchLooks(NamedTuple):
    """The measures on patches, by their names in `LookDistances`."""

    sliced_wasserstein_fine: Compared
    sliced_wasserstein_coarse: Compared


class CurveLooks(NamedTuple):
    """The measures on spectra and histograms, by their names in `LookDistances`."""

    spectrum_db: Compared
    grey: Compared
    gradient: Compared
    spectra: Curves
    grey_histogram: Curves
    gradient_histogram: Curves
    num_images: int
    num_identities: int | None


class CopyLooks(NamedTuple):
    """What is measured of copies of real images, by its names in `LookDistances`."""

    memorised_share: Compared
    copy_distance: float
    copy_percentile: float
    closest: tuple[ClosestPair, ...]


Part = FeatureLooks | PatchLooks | CurveLooks | CopyLooks


class _ImageSets(NamedTuple):
    """All images that were given, before the sets are reduced to one size."""

    synthetic: Images
    refined: Images
    real: Images
    groups: Groups | None
    """identities of the renders; None where they are not known"""
    halves: tuple[NDArray[np.intp], NDArray[np.intp]]
    """positions in `real` of the reference, and of the half that the floor compares with it"""

    def compared(self, settings: LookSettings) -> tuple[Sets[Images], Jackknife]:
        """The four sets reduced to one size, and the jackknife that gives the intervals."""
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
        groups = None
        if self.groups is not None:  # from 0 without gaps, as some have no image in the sample
            groups = np.unique(self.groups[rows], return_inverse=True)[1]
        return sets, Jackknife(settings.num_rounds, num, groups, settings.seed)


def look_parts(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    settings: LookSettings,
    *,
    identities: Sequence[str] | None = None,
) -> tuple[Callable[[], Part], ...]:
    """Measure how alike renders and real images look, before and after refining.

    Args:
        synthetic_NHW, refined_NHW: (N, H, W) uint8, image k of both being one scene; at least
            `MIN_IMAGES`.
        real_NHW: (M, H, W) uint8; at least 2 `MIN_IMAGES`, because the other sets are compared with
            one half of them, in random order.
        identities: of the N scenes; with them the intervals are over identities, without them over
            images.

    Returns:
        Calls that can run in parallel; `looks_of` joins what they return, which is the same on
        every run.

    Raises:
        ValueError: the sets are not grey images of one size, too few, too small, or of too few
            identities. This is raised here, before any call.
    """
    sets = _checked(synthetic_NHW, refined_NHW, real_NHW, settings, identities)
    parts = _feature_looks, _patch_looks, _curve_looks, _copy_looks
    return tuple(partial(part, sets, settings) for part in parts)


def _checked(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    settings: LookSettings,
    identities: Sequence[str] | None,
) -> _ImageSets:
    """The sets, the real one in two halves; raises what `look_parts` says."""
    if synthetic_NHW.shape != refined_NHW.shape:
        raise ValueError(
            f"synthetic and refined images must be pairs, got {synthetic_NHW.shape} "
            f"and {refined_NHW.shape}"
        )
    for name, images_NHW in (("synthetic", synthetic_NHW), ("refined", refined_NHW)):
        check_images(name, images_NHW, real_NHW)
    check_images("real", real_NHW, real_NHW)
    if len(real_NHW) < 2 * MIN_IMAGES:
        raise ValueError(
            f"there are {len(real_NHW)} real images, but two halves need {2 * MIN_IMAGES}"
        )
    if min(real_NHW.shape[1:]) < MIN_SIDE_PX:
        raise ValueError(
            f"images are {real_NHW.shape[1:]}; both sides must have {MIN_SIDE_PX} px or more"
        )
    if identities is not None and len(identities) != len(synthetic_NHW):
        raise ValueError(
            f"there must be one identity for each image, got {len(identities)} identities of "
            f"{len(synthetic_NHW)} images"
        )
    groups = None if identities is None else groups_of(identities)
    halves = halves_of(len(real_NHW), settings.seed)
    return _ImageSets(synthetic_NHW, refined_NHW, real_NHW, groups, halves)


def halves_of(num_real: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the reference among the real images, and of as many others for the floor."""
    order = np.random.default_rng(seed).permutation(num_real)
    half = num_real // 2
    return order[:half], order[half : 2 * half]


def looks_of(parts: Sequence[Part]) -> LookDistances:
    """Join what the calls of `look_parts` returned."""
    return LookDistances(
        **{name: value for part in parts for name, value in part._asdict().items()}
    )


def measure_closed_share(
    synthetic_NHW: Images,
    refined_NHW: Images,
    real_NHW: Images,
    settings: LookSettings,
    *,
    identities: Sequence[str] | None = None,
) -> ClosedShare:
    """The closed share alone, of what `look_parts` takes. There is none of too few images.

    The network of features is that of the last call with the same renders and real images, so
    several refiners of these cost one training.

    Raises:
        ValueError: as `look_parts`, but for too few images.
    """
    least = max(MIN_IMAGES, settings.features.num_images // 3 + 1)
    if min(len(synthetic_NHW), len(real_NHW) // 2) < least:
        return ClosedShare(
            share=None,
            why_not=f"{len(synthetic_NHW)} renders and {len(real_NHW)} real images are too few: "
            f"{least} and {2 * least} are needed",
        )
    sets = _checked(synthetic_NHW, refined_NHW, real_NHW, settings, identities)
    return closed_share_of(*_scaled_features(sets, settings))


def _scaled_features(sets: _ImageSets, settings: LookSettings) -> tuple[Sets[Features], Jackknife]:
    """Features of a network that is trained on real images and renders, standardised."""
    images, jackknife = sets.compared(settings)
    pool = np.concatenate([images.synthetic, images.other_half, images.reference])
    extractor = _extractor(settings.features, pool.tobytes(), pool.shape)
    features = images.map(extractor)
    return features.map(partial(scaled_by, features.reference)), jackknife


@lru_cache(maxsize=1)
def _extractor(settings: FeatureTraining, pixels: bytes, shape: tuple[int, ...]) -> Extractor:
    return train_features(settings, np.frombuffer(pixels, np.uint8).reshape(shape))


def _feature_looks(sets: _ImageSets, settings: LookSettings) -> FeatureLooks:
    scaled, jackknife = _scaled_features(sets, settings)
    coverage, density = jackknife.compare(scaled, neighbours, (0, 1), POSITIVE)
    return FeatureLooks(
        frechet=jackknife.compare(scaled, frechet, POSITIVE)[0],
        kernel=jackknife.compare(scaled, kernel, ANY)[0],
        closed_share=closed_share_of(scaled, jackknife),
        coverage=coverage,
        density=density,
        diversity=jackknife.compare(scaled, diversity, POSITIVE)[0],
    )


def _patch_looks(sets: _ImageSets, settings: LookSettings) -> PatchLooks:
    images, jackknife = sets.compared(settings)
    patches = images.map(partial(patches_of, seed=settings.seed))
    distance = partial(sliced_wasserstein, seed=settings.seed)
    return PatchLooks(*jackknife.compare(patches, distance, POSITIVE, POSITIVE))


def _curve_looks(sets: _ImageSets, settings: LookSettings) -> CurveLooks:
    """The mean spectra and histograms of the sets, and their distances."""
    images, jackknife = sets.compared(settings)
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
        num_identities=None if sets.groups is None else int(sets.groups.max()) + 1,
    )


def _copy_looks(sets: _ImageSets, settings: LookSettings) -> CopyLooks:
    """The shares of images that are nearer to a real image than real images are to each other.

    All renders are compared with all real images, any of which a refiner may have seen. The floor
    compares one half of the real images with the other, by a limit that is taken from that other
    half alone. The interval is over renders (or identities), for the given real images.
    """
    synthetic, refined, real = (
        thumbnails(images) for images in (sets.synthetic, sets.refined, sets.real)
    )
    reference, other_half = (real[half] for half in sets.halves)
    rounds = partial(Rounds.draw, settings.num_rounds, seed=settings.seed)
    of_renders, of_real = rounds(len(refined), sets.groups), rounds(len(other_half), None)
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
    """The mean curve of each set but the second real half."""

    def mean(one: SetCurves) -> tuple[float, ...]:
        return tuple(one.each.mean(axis=0).tolist())

    return Curves(
        at=tuple(curves.reference.at.tolist()),
        synthetic=mean(curves.synthetic),
        refined=mean(curves.refined),
        real=mean(curves.reference),
    )
