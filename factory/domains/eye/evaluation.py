"""What eyes bring for evaluations of whether refining pays."""

from factory.domains.eye.regressors import GazeCnn, IrisNetwork
from factory.domains.eye.test_sets import QUANTITIES, TEST_SETS
from factory.networks.classical import CLASSICAL
from factory.networks.evaluation_kinds import Evaluation

EVALUATION = Evaluation(
    quantities=QUANTITIES,
    regressors={"gaze_cnn": GazeCnn, "iris_network": IrisNetwork, **CLASSICAL},
    test_sets=TEST_SETS,
)
