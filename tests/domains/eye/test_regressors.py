"""The networks that evaluations train: what stops them, whose weights count, what is reported."""

import numpy as np
import pytest
import torch
from torch import nn

from factory.domains.eye.networks.gaze import angle_deg, gaze_of, unit
from factory.domains.eye.regressors import GazeCnn, IrisNetwork
from factory.networks.evaluation_kinds import Examples, Quantity
from factory.networks.stopping import Watch
from schemas.dataset import ImageSpec
from schemas.eye.estimators import GazeConfig
from support.drawn_eyes import drawn_eyes

SMALL = GazeConfig(maps=(8, 8, 16, 16, 16), hidden=32)
GAZE = Quantity("gaze", "deg", ("gaze",), gaze_of, angle_deg)
IRIS = Quantity(
    name="iris",
    unit="px",
    columns=("iris_px",),
    read=lambda index: np.empty((len(index), 2)),
    errors=lambda estimates, truth: np.hypot(*(estimates - truth).T),
)


def eyes(num: int, seed: int) -> tuple[Examples, Examples]:
    """Drawn eyes labelled with a gaze that their iris follows, and with its centre."""
    rng = np.random.default_rng(seed)
    centres_px = rng.uniform((20, 14), (34, 20), (num, 2))
    x, y = ((centres_px - (27, 17)) / 8).T
    images = drawn_eyes(centres_px, seed)
    groups = np.full(num, "one", np.str_)
    gaze = unit(np.stack([x, y, -np.ones(num)], axis=1))
    return Examples(images, gaze, groups), Examples(images, centres_px, groups)


@pytest.fixture(scope="module")
def trained_on() -> tuple[tuple[Examples, Examples], tuple[Examples, Examples]]:
    return eyes(150, 0), eyes(40, 1000)


@pytest.mark.slow
def test_gaze_is_learnt_and_the_facts_are_of_the_weights_that_are_used(trained_on) -> None:
    (train, _), (held_out, _) = trained_on
    options = GazeCnn(steps=120, batch_size=24, validate_every=40, network=SMALL, lr=3e-3)
    fitted = options.fit(train, held_out, GAZE, seed=0)
    error_deg = angle_deg(fitted.estimate(held_out.images), held_out.values_ND).mean()
    assert fitted.facts["held_out_error_deg"] == pytest.approx(error_deg)
    assert error_deg < 0.6 * fitted.facts["mean_answer_deg"]
    assert fitted.facts["collapsed"] == 0 and fitted.facts["updates"] % 40 == 0


@pytest.mark.slow
def test_iris_centres_are_learnt(trained_on) -> None:
    (_, train), (_, held_out) = trained_on
    options = IrisNetwork(steps=60, batch_size=16, maps=8, lr=1e-2, validate_every=20)
    fitted = options.fit(train, held_out, IRIS, seed=0)
    found_px = fitted.estimate(held_out.images)
    assert found_px.shape == (40, 2) and found_px.dtype == np.float64
    assert fitted.facts["held_out_error_px"] < 1.0 < 3.0 < fitted.facts["mean_answer_px"]


@pytest.mark.slow
def test_a_training_that_collapsed_says_so(trained_on) -> None:
    """Every label is the same, so that the answers are, and the held-out ones vary."""
    (train, _), (held_out, _) = trained_on
    constant = train._replace(values_ND=np.tile([0.0, 0.0, -1.0], (150, 1)))
    options = GazeCnn(steps=40, batch_size=16, validate_every=20, network=SMALL, stop="steps")
    facts = options.fit(constant, held_out, GAZE, seed=0).facts
    assert facts["collapsed"] == 1 and facts["updates"] == 40 and facts["stopped_by"] == "steps"


@pytest.mark.slow
def test_a_training_with_answers_that_are_not_finite_is_a_fault_of_its_options(trained_on) -> None:
    (train, _), (held_out, _) = trained_on
    options = GazeCnn(steps=9, batch_size=4, network=SMALL, lr=1e30, validate_every=1)
    with pytest.raises(RuntimeError, match=r"not finite; lower lr|lower --lr"):
        options.fit(train, held_out, GAZE, seed=0)


def watched(errors_px, truth=(0.0, 9.0), **options) -> tuple[Watch, int]:
    """A network of one weight that `errors_px` gives the error of at each validation, watched every
    10 updates; the watch, and the updates after which it stopped."""
    held_out = Examples(
        np.zeros((2, 4, 4), np.uint8), np.array(truth)[:, None], np.array(["a", "b"])
    )
    length = Quantity("length", "px", (), lambda index: np.empty(0), lambda a, b: abs(a - b)[:, 0])
    network = nn.Linear(1, 1, bias=False)

    def estimate(network, images):
        brightness = 100.0 * images.reshape(2, -1).mean(axis=1, keepdims=True)
        return held_out.values_ND + network.weight.item() + brightness

    watch = Watch(
        GazeCnn(**{"validate_every": 10, "steps": 10 * len(errors_px), **options}),
        estimate,
        np.array([4.0]),
        held_out,
        length,
        shifted=lambda images, rng: images + np.uint8(1),
        seed=0,
    )
    stopped = 10 * len(errors_px)
    for updates in range(1, stopped + 1):
        with torch.no_grad():
            network.weight.fill_(errors_px[(updates - 1) // 10])
        network.train()
        if watch(network, updates):
            stopped = updates
            break
        assert network.training
    watch.facts = watch.finish(network)
    watch.weight = float(network.weight.detach())
    return watch, stopped


def test_the_rule_best_keeps_the_weights_of_the_lowest_error_and_ends_by_patience() -> None:
    watch, stopped = watched([4, 2, 3, 2.5, 2.2, 1], patience=3)
    assert (watch.facts["updates"], stopped, watch.weight) == (20, 50, 2)
    assert watch.facts["stopped_by"] == "patience"
    assert watch.facts["held_out_error_px"] == 2 and watch.facts["mean_answer_px"] == 4.5
    watch, stopped = watched([4, 2, 3, 2.5, 2.2, 1], patience=4)
    assert (watch.facts["updates"], stopped, watch.facts["stopped_by"]) == (60, 60, "steps")


def test_the_rule_share_stops_at_the_first_validation_that_is_good_enough() -> None:
    watch, stopped = watched([4, 3, 2.2, 1, 0.5], stop="share", share=0.5)
    assert (watch.facts["updates"], stopped, watch.weight) == (30, 30, pytest.approx(2.2))
    assert watch.facts["stopped_by"] == "share"
    watch, stopped = watched([4, 3, 2.5, 2.4], stop="share", share=0.5)
    assert (watch.facts["updates"], stopped, watch.facts["stopped_by"]) == (40, 40, "steps")


def test_the_rule_shifted_looks_at_images_of_another_look() -> None:
    """There each brightness adds 100 px to the error, so that the weight nearest to -100 is best;
    the error that is reported is the one on the images as they are."""
    watch, _ = watched([4, -99, 2, 1], stop="shifted")
    assert watch.facts["updates"] == 20 and watch.facts["held_out_error_px"] == 99
    assert watch.facts["collapsed"] == 1


def test_the_rule_steps_makes_all_updates() -> None:
    watch, stopped = watched([1, 2, 3], stop="steps", patience=1)
    assert (watch.facts["updates"], stopped, watch.weight) == (30, 30, 3)


@pytest.mark.parametrize(
    ("truth", "collapsed"), [((0.0, 9.0), 0), ((4.0, 4.0), 1)], ids=["spread", "no better"]
)
def test_no_better_than_the_mean_answer_is_collapsed(truth, collapsed) -> None:
    assert watched([1], truth=truth)[0].facts["collapsed"] == collapsed


def test_images_that_the_networks_cannot_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"takes grey images of 8 bits.*3 channels"):
        IrisNetwork().check(ImageSpec(height=35, width=55, channels=3))
    with pytest.raises(ValueError, match="empty map"):
        GazeCnn().check(ImageSpec(height=18, width=55))
    GazeCnn().check(ImageSpec(height=35, width=55))
