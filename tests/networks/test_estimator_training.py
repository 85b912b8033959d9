"""The loop that trains estimators: what it draws, and where it stops."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from factory.networks.estimator_training import train_network
from schemas.base import Model

pytestmark = pytest.mark.slow


class Updates(Model):
    steps: int = 6
    batch_size: int = 3
    seed: int = 4


def network_and_schedule() -> tuple[nn.Linear, LambdaLR]:
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    return network, LambdaLR(optimiser, lambda step: 1 / (1 + step))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_no_weight(bad) -> None:
    """The weights are those of the updates before it."""
    ways = []
    for fails_at in (3, None):
        network, schedule = network_and_schedule()
        losses: list[float] = []

        def loss_of(rows, rng, fails_at=fails_at, network=network, losses=losses):
            loss = network(torch.ones(1, 1)).square().sum()
            return loss * bad if len(losses) == fails_at else loss

        if fails_at is None:
            train_network(network, Updates(steps=3), 9, loss_of, schedule, losses.append)
        else:
            with pytest.raises(RuntimeError, match=r"loss of update 4 is (nan|inf).* lower --lr"):
                train_network(network, Updates(), 9, loss_of, schedule, losses.append)
        assert len(losses) == 3
        ways.append([value.clone() for value in network.state_dict().values()])
    assert all(torch.equal(one, two) for one, two in zip(*ways, strict=True))


def test_updates_draw_by_the_seed_and_their_number_and_follow_the_schedule() -> None:
    network, schedule = network_and_schedule()
    weight, seen, numbers = network.weight.detach().clone(), [], []

    def loss_of(rows, rng):
        seen.append(rows.tolist())
        numbers.append(rng.random())
        return network.weight.sum()

    trained = train_network(network, Updates(), 9, loss_of, schedule)
    for step in range(6):
        rng = np.random.default_rng([4, step])
        assert seen[step] == rng.integers(9, size=3).tolist()
        assert numbers[step] == rng.random()
        weight -= 0.1 / (1 + step)
    assert trained is network and not network.training
    assert network.weight.detach() == pytest.approx(weight, abs=1e-6)


def test_training_ends_where_the_caller_says() -> None:
    network, schedule = network_and_schedule()
    seen = []

    def stop(watched, updates):
        seen.append((watched is network, updates))
        return updates == 4

    losses: list[float] = []
    train_network(
        network, Updates(), 9, lambda rows, rng: network.weight.sum(), schedule, losses.append, stop
    )
    assert seen == [(True, 1), (True, 2), (True, 3), (True, 4)] and len(losses) == 4
    assert not network.training
