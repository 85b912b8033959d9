"""The networks that evaluations train on hands: what they learn, answer and refuse."""

import numpy as np
import pytest

from factory.domains.hand.evaluation import EVALUATION
from factory.domains.hand.quantities import JOINTS
from factory.domains.hand.regressors import FindsJoints, Hourglass, JointNetwork
from factory.networks.evaluation_kinds import Examples
from schemas.dataset import ImageSpec
from support.hand_pairs import discs_64px

NETWORKS = (
    JointNetwork(steps=30, batch_size=8, maps=4, reduce=2, lr=2e-2, validate_every=15),
    Hourglass(steps=24, batch_size=4, stacks=1, maps=16, input_px=64, lr=1e-2, validate_every=12),
)


def discs(num: int, seed: int) -> Examples:
    """Discs whose middle is every joint."""
    images, centres_px = discs_64px(num, seed)
    return Examples(
        images, np.tile(centres_px, (1, 14)), np.array([f"frame-{n}" for n in range(num)])
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", NETWORKS, ids=lambda one: type(one).__name__)
def test_joints_are_learnt_and_a_picture_without_a_hand_gets_the_mean(options) -> None:
    train, held_out = discs(48, 0), discs(20, 999)
    fitted = options.fit(train, held_out, JOINTS, seed=0)
    estimates = fitted.estimate(held_out.images)
    assert estimates.shape == (20, 28) and estimates.dtype == np.float64
    error_px = JOINTS.errors(estimates, held_out.values_ND).mean()
    assert fitted.facts["held_out_error_px"] == pytest.approx(error_px)
    assert error_px < 0.4 * fitted.facts["mean_answer_px"] and fitted.facts["collapsed"] == 0
    assert fitted.facts["updates"] % options.validate_every == 0
    none = fitted.estimate(np.zeros((1, 64, 64), np.uint16))
    assert np.allclose(none, train.values_ND.mean(axis=0))


def test_the_rule_shifted_looks_at_frames_of_a_poorer_camera(monkeypatch) -> None:
    seen = []

    def trained(self, posed, seed, watch):
        seen.append((posed, watch.images, watch.judged_by))
        raise StopIteration

    monkeypatch.setattr(JointNetwork, "_trained", trained)
    train, held_out = discs(6, 0), discs(6, 1)
    train.values_ND[2, :2] = 70, 3  # beside the picture
    for stop in ("shifted", "best"):
        with pytest.raises(StopIteration):
            JointNetwork(stop=stop).fit(train, held_out, JOINTS, seed=0)
    (posed, plain, judged_by), (_, _, same) = seen
    assert same is plain or np.array_equal(same, plain)
    assert judged_by.dtype == np.uint16 and not np.array_equal(judged_by, plain)
    outside = np.isnan(posed.joints_px).all(axis=-1)
    assert outside.sum() == 1 and outside[2, 0] and posed.cube_mm == 300


@pytest.mark.parametrize("options", NETWORKS, ids=lambda one: type(one).__name__)
def test_what_they_cannot_learn_from_is_refused(options: FindsJoints) -> None:
    options.check(ImageSpec(height=224, width=224, bits=16))
    with pytest.raises(ValueError, match="depth of 16 bits, the dataset has 1 channels of 8 bits"):
        options.check(ImageSpec(height=224, width=224, bits=8))
    with pytest.raises(ValueError, match=r"square|multiple"):
        options.check(ImageSpec(height=224, width=100, bits=16))
    deep = discs(3, 0)
    deep.images[1, 30, 30] = 402
    with pytest.raises(ValueError, match=r"depths up to 402 mm in a cube of 300 mm.*cube_mm"):
        options.fit(deep, deep, JOINTS, seed=0)


def test_an_error_is_the_mean_distance_over_joints() -> None:
    truth = discs(4, 0).values_ND
    estimates = truth.copy()
    estimates[:, 0] += 3
    estimates[:, 1] -= 4
    assert np.allclose(JOINTS.errors(estimates, truth), 5 / 14)
    assert set(EVALUATION.regressors) == {"hourglass", "joint_network"}
    assert all(kind().estimates("joints") for kind in EVALUATION.regressors.values())
