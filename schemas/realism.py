"""How alike refined and real images look, by measures that need no classifier.

In every `Compared`, three sets of the same number of images are held against one half of the real
images: the renders, the same renders refined, and the other half of the real images. The last is
the floor: what the measure says of sets that do not differ but for chance.
"""

from pydantic import Field

from schemas.base import Float, Model, Sha256

Curve = tuple[Float, ...]


class Distance(Model):
    """A number with its 95 % interval over images, or over identities where those are known."""

    value: Float
    low: Float
    high: Float


class Compared(Model):
    """One measure against the same half of the real images."""

    synthetic: Distance
    refined: Distance
    floor: Distance
    """of the other half of the real images"""


class ClosedShare(Model):
    """How much of the distance from renders to real images refining closed."""

    share: Distance | None
    """(synthetic - refined) / (synthetic - floor) of the roots of `kernel`: 1 where refined images
    are as near to real ones as these are to each other, 0 where they are as far away as the
    renders, below 0 where they are farther; None where it has no meaning"""
    why_not: str | None
    """why there is none, in words; None where there is one"""


class InceptionDistance(Model):
    """How far a set of images is from another one in features of Inception."""

    fid: Float
    """Fréchet distance of the features; above 0 also for equal distributions, the more so the fewer
    images there are"""
    kid: Float
    """squared maximum mean discrepancy, cubic kernel, mean over subsets; unbiased, so that chance
    makes it negative as often as positive"""
    kid_sd: Float
    """standard deviation over the subsets, which overlap; not an error of `kid`"""


class Fidelity(Model):
    """FID and KID to one half of the real images, by the network that papers use."""

    synthetic: InceptionDistance
    refined: InceptionDistance
    floor: InceptionDistance
    """of the other half of the real images"""
    num_images: int = Field(gt=0)
    """in each of the compared sets"""
    height: int
    width: int
    """of the images, px, before the network resizes them"""
    channels: int
    """1 for grey images, which the network is shown three times over"""
    kid_subsets: int
    kid_subset_size: int
    library: str
    """that computed it, with its version"""
    weights: Sha256
    """of the file of weights"""


class Curves(Model):
    """One curve for each set, over the same places."""

    at: Curve
    """where the values belong: frequencies, or the lower edges of bins"""
    synthetic: Curve
    refined: Curve
    real: Curve
    """of the half that the others are compared with"""


class ClosestPair(Model):
    """A refined image and the real one nearest to it."""

    refined: int
    """position among the refined images that were given"""
    real: int
    """position among the real images that were given"""
    distance: Float
    """as `LookDistances.copy_distance`"""


class LookDistances(Model):
    """Distances between sets of images, 0 for no difference unless said otherwise.

    Many grow as sets shrink, the floor with them: compare with the floor, and reports only if
    `num_images` is the same.
    """

    frechet: Compared
    """squared Frechet distance of features, in squares of their standard deviations over the real
    images; above 0 also for equal distributions, by an amount that falls as 1/n"""
    kernel: Compared
    """squared maximum mean discrepancy of the same features, cubic kernel; no unit; unbiased, so
    that chance makes it negative as often as positive"""
    closed_share: ClosedShare | None = None
    """how much of the distance refining closed, by `kernel`; None in reports from before it was
    measured"""
    sliced_wasserstein_fine: Compared
    """mean distance between 7x7 patches of the finest detail along random directions, in standard
    deviations of the real images' patches"""
    sliced_wasserstein_coarse: Compared
    """the same of patches at half the size, detail left out"""
    spectrum_db: Compared
    """root mean square difference of mean log power over spatial frequencies, dB"""
    grey: Compared
    """Wasserstein-1 distance of grey values, grey levels"""
    gradient: Compared
    """Wasserstein-1 distance of gradient magnitudes, grey levels per pixel"""
    coverage: Compared
    """share of the real images that have an image of the other set in their neighbourhood: more is
    better, 0 to 1"""
    density: Compared
    """how many real neighbourhoods an image lies in, relative to what equal sets would have; about
    1 for equal sets, 0 far away, above 1 where images crowd around typical real ones"""
    diversity: Compared
    """mean distance between two images of the set, relative to that between two real images: about
    1 for equal sets, 0 where all images are one"""
    memorised_share: Compared
    """share of images nearer to a real image than `copy_distance`, 0 to 1; about
    `copy_percentile` / 100 for real images that are no copies"""
    copy_distance: Float
    """root mean square difference of two small pictures of contrast 1; `copy_percentile` % of the
    real images have another one nearer than this"""
    copy_percentile: Float
    closest: tuple[ClosestPair, ...]
    """the refined images that lie nearest to a real one, nearest first"""
    spectra: Curves
    """mean log power, dB over one squared grey level, over cycles per pixel"""
    grey_histogram: Curves
    """share of the pixels, over grey levels"""
    gradient_histogram: Curves
    """share of the pixels, over grey levels per pixel"""
    num_images: int = Field(gt=0)
    """in each of the compared sets"""
    num_identities: int | None
    """of renders, where intervals are over these"""
