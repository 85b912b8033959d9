"""What eyes bring for evaluations of whether refining pays."""

from factory.domains.eye.quantities import CONTENT
from factory.domains.eye.regressors import GazeCnn, IrisNetwork
from factory.domains.eye.test_sets import QUANTITIES, TEST_SETS
from factory.networks.classical import CLASSICAL
from factory.networks.evaluation_kinds import Evaluation

EVALUATION = Evaluation(
    quantities=QUANTITIES,
    regressors={"gaze_cnn": GazeCnn, "iris_network": IrisNetwork, **CLASSICAL},
    test_sets=TEST_SETS,
    content=CONTENT,
    published=(
        "Shrivastava et al. 2017 (Table 3, MPIIGaze, not calibrated, mean error): the paper's "
        "network 11.2° on renders, 7.8° on refined images; k nearest neighbours 9.9° on renders. "
        "Table 2, share within 7°: renders 62.3 %, refined 69.4 %, with four times the data 64.9 % "
        "and 87.2 %.",
    ),
)
