"""The closed share: how much of the distance from renders to real images refining closed.

It is (synthetic - refined) / (synthetic - floor), each the kernel distance to one half of the real
images; the floor is that of the other half. A kernel distance is the root of the unbiased squared
MMD, and 0 where that is negative by chance. The squares themselves, which grow with the sixth power
of a shift in features, would call nearly everything closed that a refiner touched.

The three distances are not independent: they share the reference, and refined images are renders
that were changed. So the interval is not made of theirs: each round of the jackknife leaves the
same images out of all three and gives a share of its own, and the scatter of these shares gives the
interval.

No share is given unless the renders are farther from real images than the floor in every round, so
that no share is divided by what may be 0.
"""

import numpy as np

from factory.measures.looks.feature_distances import kernel
from factory.measures.looks.features import Features
from factory.measures.looks.jackknife import Jackknife, Sets
from schemas.realism import ClosedShare, Distance

NOTHING_TO_CLOSE = (
    "with {num} images of each, the renders are not certainly farther from real images than these "
    "are from each other"
)


def closed_share_of(scaled: Sets[Features], jackknife: Jackknife) -> ClosedShare:
    """The closed share with its 95 % interval.

    Args:
        scaled: features of the four sets, standardised over the reference.
    """
    values_3, values_R3 = jackknife.together(scaled, kernel)
    synthetic, refined, floor = np.sqrt(np.vstack([values_3, values_R3]).clip(0)).T
    if (synthetic <= floor).any():
        return ClosedShare(share=None, why_not=NOTHING_TO_CLOSE.format(num=len(scaled.reference)))
    share, *of_rounds = (synthetic - refined) / (synthetic - floor)
    half = jackknife.of_renders.half_width(np.array(of_rounds))
    return ClosedShare(
        share=Distance(value=share, low=share - half, high=share + half), why_not=None
    )
