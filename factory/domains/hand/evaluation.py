"""What hands bring for evaluations of whether refining pays."""

import numpy as np

from factory.domains.hand.degradation import fit
from factory.domains.hand.regressors import Hourglass, JointNetwork
from factory.domains.hand.test_sets import QUANTITIES, TEST_SETS
from factory.images.png import Pixels
from factory.networks.evaluation_kinds import Degrade, Evaluation


def _fit(renders: Pixels, real: Pixels) -> Degrade:
    degradation = fit(renders.astype(np.uint16, copy=False), real.astype(np.uint16, copy=False))
    return lambda images, seed: degradation.apply(images.astype(np.uint16, copy=False), seed)


EVALUATION = Evaluation(
    quantities=QUANTITIES,
    regressors={"hourglass": Hourglass, "joint_network": JointNetwork},
    test_sets=TEST_SETS,
    degradation=_fit,
    published=(
        "Shrivastava et al. 2017 (Table 4, all real frames of the NYU test set, pixels of their "
        "224 px crops, share within 5 px): a stacked hourglass 69.7 % on renders, 72.4 % on "
        "refined images, 74.5 % on real frames; with three views 77.7 % on renders and 83.3 % on "
        "refined images. These are other frames than those that are scored here.",
    ),
)
