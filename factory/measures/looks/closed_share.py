"""The closed share: how much of the distance from renders to real images refining closed.

It is (synthetic - refined) / (synthetic - floor), each the kernel distance to one half of the real
images; the floor is that of the other half. This distance is unbiased, so the share does not depend
on the number of images, but for chance.

The three distances are not independent: they share the reference, and refined images are renders
that were changed. So the interval is not made of theirs. Each round of the jackknife leaves the
same images out of all three, and the interval is that of Fieller (1954) for a ratio: all shares
θ for which numerator - θ denominator is not told from 0. It is bounded where the denominator is
told from 0, that is, where the renders are farther from real than real images are from each other.
Elsewhere there is nothing to close, and no share is given.
"""

import numpy as np

from factory.measures.looks.feature_distances import kernel
from factory.measures.looks.features import Features
from factory.measures.looks.jackknife import Jackknife, Sets
from schemas.realism import ClosedShare, Distance

NOTHING_TO_CLOSE = (
    "the renders are no farther from real images than these are from each other, as far as "
    "{num} images of each can tell"
)


def closed_share_of(scaled: Sets[Features], jackknife: Jackknife) -> ClosedShare:
    """The closed share with its 95 % interval.

    Args:
        scaled: features of the four sets, standardised over the reference.
    """
    values_3, values_R3 = jackknife.together(scaled, kernel)
    to_terms = np.array([[1, 1], [-1, 0], [0, -1]])
    numerator, denominator = values_3 @ to_terms
    squares = jackknife.of_renders.squares(values_R3 @ to_terms)
    # All θ for which (numerator - θ denominator)² is at most the squared half width of that
    # difference: a θ² - 2 b θ + c <= 0.
    a, b, c = (
        denominator**2 - squares[1, 1],
        numerator * denominator - squares[0, 1],
        numerator**2 - squares[0, 0],
    )
    if denominator <= 0 or a <= 0:
        return ClosedShare(share=None, why_not=NOTHING_TO_CLOSE.format(num=len(scaled.reference)))
    half = np.sqrt(max(b**2 - a * c, 0.0))
    share = Distance(value=numerator / denominator, low=(b - half) / a, high=(b + half) / a)
    return ClosedShare(share=share, why_not=None)
