"""What eyes bring for evaluations of whether refining pays."""

from factory.domains.eye.quantities import GAZE, IRIS
from factory.domains.eye.regressors import GazeCnn, IrisNetwork
from factory.domains.eye.test_sets import IrisCentres, LabelledGaze, ScreenTargets
from factory.networks.classical import CLASSICAL
from factory.networks.evaluation_kinds import Evaluation

EVALUATION = Evaluation(
    quantities={quantity.name: quantity for quantity in (GAZE, IRIS)},
    regressors={"gaze_cnn": GazeCnn, "iris_network": IrisNetwork, **CLASSICAL},
    test_sets={
        "screen_targets": ScreenTargets,
        "labelled_gaze": LabelledGaze,
        "iris_centres": IrisCentres,
    },
)
