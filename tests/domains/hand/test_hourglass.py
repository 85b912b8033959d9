"""The paper's stacked hourglass: its layers, the places that it gives, and what it learns."""

import numpy as np
import pytest
import torch

from factory.domains.hand.networks.depth_augmentation import turned_and_cropped
from factory.domains.hand.networks.hourglass import StackedHourglass, peaks_px, target_heat
from factory.domains.hand.networks.hourglass_training import train_hourglass
from factory.domains.hand.networks.joint_training import Posed
from factory.domains.hand.networks.joints import NUM_JOINTS, as_depth, found_joints_px
from schemas.hand.estimators import HourglassConfig, HourglassTraining
from support.hand_pairs import discs_64px, drawn_hands

SMALL = HourglassConfig(stacks=2, maps=16, input_px=64)


def posed(num: int, seed: int, side_px: int = 56) -> Posed:
    """Hands of a quarter of the usual size."""
    rows, images = drawn_hands(num, seed)
    scale = side_px / 224
    joints_px = np.asarray(rows["joints14_uvd"].to_pylist(), np.float32)[..., :2]
    step = 224 // side_px
    return Posed(images[:, ::step, ::step], (joints_px + 0.5) * scale - 0.5, 300)


def test_the_paper_s_network_has_the_layers_of_newell_et_al() -> None:
    """Counted by hand: a convolution has a bias, a batch norm two numbers for each map."""

    def residual(a: int, b: int) -> int:
        half = b // 2
        change = 2 * a + (a + 1) * half + 2 * half + (9 * half + 1) * half + 2 * half
        return change + (half + 1) * b + (0 if a == b else (a + 1) * b)

    begin = 50 * 64 + 2 * 64 + residual(64, 128) + residual(128, 128) + residual(128, 256)
    hourglass = (4 * 3 + 1) * residual(256, 256)
    stack = hourglass + residual(256, 256) + 257 * 256 + 2 * 256 + 257 * 14
    between = 257 * 256 + 15 * 256
    with torch.device("meta"):
        network = StackedHourglass()
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert num_parameters == begin + 2 * stack + between == 6_562_588
    assert f"{num_parameters:,}" in (StackedHourglass.__doc__ or "")


def test_pictures_of_224_give_two_stacks_of_heatmaps_of_64() -> None:
    heat = StackedHourglass(HourglassConfig(maps=4))(torch.zeros(2, 224, 224))
    assert tuple(heat.shape) == (2, 2, NUM_JOINTS, 64, 64)
    with pytest.raises(ValueError, match="square pictures, not 64 x 96 px"):
        StackedHourglass(SMALL)(torch.zeros(1, 64, 96))


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    one, same = (StackedHourglass(SMALL, seed=3).state_dict() for _ in range(2))
    other = StackedHourglass(SMALL, seed=4).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["heat.0.weight"], other["heat.0.weight"])


def test_the_background_lies_at_the_back_of_the_cube() -> None:
    network = StackedHourglass(SMALL)
    depth = torch.zeros(1, 64, 64)
    depth[0, :32], depth[0, 32] = 1, 301
    values = network._scaled(depth)[0, 0, :, 0]
    assert values[:32].tolist() == [-1] * 32 and values[32:].tolist() == [1] * 32


def test_places_are_read_from_heatmaps_to_a_quarter_of_a_cell() -> None:
    truth = torch.tensor(np.random.default_rng(0).uniform(6, 217, (50, 2, 2)), dtype=torch.float32)
    found_px = peaks_px(target_heat(truth, 64, 224), 224)
    assert (found_px - truth).abs().max() <= 3.5 / 4 + 1e-3
    assert (found_px - truth).mean().abs() < 0.1


def test_a_peak_at_the_border_stays_and_heat_that_is_not_finite_gives_no_place() -> None:
    heat = torch.zeros(1, 3, 8, 8)
    heat[0, 0, 0, 7] = 1
    heat[0, 1, 3, 4], heat[0, 1, 3, 5], heat[0, 1, 2, 4] = 1, 0.5, 0.5
    heat[0, 2, 1, 1] = torch.inf
    found_px = peaks_px(heat, 16)[0]
    assert found_px[0].tolist() == [14.5, 0.5]
    assert found_px[1].tolist() == [(4.75) * 2 - 0.5, (3.25) * 2 - 0.5]
    assert found_px[2].isnan().all()


def test_rotations_and_crops_leave_depths_as_they_are() -> None:
    hands = posed(8, 0)
    images, joints_px = turned_and_cropped(hands.images, hands.joints_px, np.random.default_rng(0))
    for before, after in zip(hands.images, images, strict=True):
        assert not np.array_equal(before, after)
        assert set(np.unique(after)) <= {0, *np.unique(before).tolist()}
    centred = hands.joints_px - hands.joints_px.mean(axis=1, keepdims=True)
    moved = joints_px - joints_px.mean(axis=1, keepdims=True)
    turn = np.array(
        [np.angle((a @ (1, -1j)) @ (b @ (1, 1j))) for a, b in zip(centred, moved, strict=True)]
    )
    assert np.nanmax(np.abs(turn)) <= np.radians(20.01) and np.nanmax(np.abs(turn)) > 0.05


def discs(num: int, seed: int) -> Posed:
    """Discs whose middle is every joint."""
    images, centres_px = discs_64px(num, seed)
    return Posed(images, np.repeat(centres_px[:, None], NUM_JOINTS, axis=1).astype("f4"), 300)


@pytest.mark.slow
def test_what_it_has_not_seen_is_found() -> None:
    """To a fraction of a cell, which is 4 px wide here."""
    train, held_out = discs(64, 0), discs(30, 999)
    losses: list[float] = []
    training = HourglassTraining(steps=30, batch_size=4, lr=1e-2, network=SMALL)
    network = train_hourglass(training, train, losses.append)
    found_px = found_joints_px(network.joints_px, held_out.images)
    error_px = np.linalg.norm(found_px - held_out.joints_px, axis=-1)
    assert len(losses) == 30 and losses[-1] < losses[0] / 2
    assert error_px.mean() < 2 and np.abs((found_px - held_out.joints_px).mean()) < 0.5


def test_joints_outside_the_picture_teach_nothing() -> None:
    hands = posed(4, 0)
    hands.joints_px[:, 3] = np.nan
    training = HourglassTraining(steps=2, batch_size=2, network=SMALL)
    network = train_hourglass(training, hands)
    start = StackedHourglass(SMALL, seed=0)
    unmoved = [
        torch.equal(network.heat[1].weight[joint], start.heat[1].weight[joint])
        for joint in range(NUM_JOINTS)
    ]
    assert unmoved[3] and not all(unmoved)


def test_answers_that_are_not_finite_are_refused() -> None:
    network = StackedHourglass(SMALL).eval()
    with torch.no_grad():
        network.heat[1].weight.fill_(torch.inf)
    with pytest.raises(ValueError, match="not finite"):
        found_joints_px(network.joints_px, posed(2, 0).images)
    assert as_depth(posed(1, 0).images).shape == (1, 56, 56)
