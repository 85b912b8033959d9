"""Training with several workers on a cluster, of which parts are killed.

tests/training/test_workers.py has workers killed and resumed in one process, and
tests/all/test_lost_parts.py longer trials, in which parts are lost one after the other.
"""

import time
from collections.abc import Iterator

import pytest

from cluster.on_ray.training import train_on_ray
from support.cluster_training import (
    check_whole,
    cluster_config,
    kill_in_turn,
    kill_worker_and_history,
    num_workers_ever,
)
from support.clusters import running_cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("shared_ray")]


@pytest.fixture
def newer_cluster(shared_ray) -> Iterator[None]:
    """A cluster of somebody else on this machine, which Ray's own tools would rather look at."""
    with running_cluster(num_cpus=0):
        yield


@pytest.mark.long
def test_a_lost_worker_and_history_cost_the_steps_since_a_checkpoint(
    newer_cluster, synthetic, single_reals, tmp_path
) -> None:
    """And nothing else does: a cluster beside this one disturbs nobody's workers."""
    config = cluster_config(steps=60)
    before = num_workers_ever()
    killer = kill_in_turn(tmp_path, {30: kill_worker_and_history})
    train_on_ray(
        config, synthetic.location, single_reals.location, tmp_path, split="train", workers=2
    )
    killer.join(1)
    assert not killer.is_alive()
    check_whole(tmp_path, config)
    assert num_workers_ever() - before == 2 * 2, "two at the start, and two after the loss"


@pytest.mark.long
def test_an_error_of_ours_is_not_tried_again(synthetic, single_reals, tmp_path) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=r"ValueError: .* cannot share a batch of 6"):
        train_on_ray(
            cluster_config(batch_size=6),
            synthetic.location,
            single_reals.location,
            tmp_path,
            split="train",
            workers=2,
            max_failures=50,
        )
    assert time.monotonic() - started < 300, "fifty more groups of workers take longer"


def test_more_workers_than_there_are_cores_are_refused(synthetic, single_reals, tmp_path) -> None:
    with pytest.raises(RuntimeError, match="cannot hold 5 workers"):
        train_on_ray(
            cluster_config(),
            synthetic.location,
            single_reals.location,
            tmp_path,
            split="train",
            workers=5,
        )
