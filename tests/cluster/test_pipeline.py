"""Stages on Ray: every shard once, whatever dies, and the summary says what happened."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import ray.cloudpickle

from cluster.job.summary import summarise
from cluster.on_ray import pipeline, session
from cluster.on_ray.pipeline import Workers, run_on_ray
from factory.dataset.shard_tasks import (
    ShardsFailedError,
    Stage,
    collect,
    run_here,
)
from schemas.outcome import Outcome
from support.clusters import OBJECT_STORE_BYTES

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


@dataclass(frozen=True)
class Numbers:
    shard: int
    where: str
    values: np.ndarray
    note: bytes


def read(shard: int) -> Numbers:
    values = np.arange(shard * 6, dtype=np.uint8).reshape(shard, 2, 3)
    return Numbers(shard, f"shard {shard}", values, b"a\nb" * shard)


def double(numbers: Numbers) -> Numbers:
    return Numbers(numbers.shard, numbers.where, numbers.values * 2, numbers.note)


def total(numbers: Numbers) -> Outcome:
    assert numbers.values.dtype == np.uint8 and numbers.values.shape == (numbers.shard, 2, 3)
    assert numbers.note == b"a\nb" * numbers.shard and numbers.where == f"shard {numbers.shard}"
    return Outcome(shard=numbers.shard, num_samples=int(numbers.values.sum(dtype=int)))


def stages(middle: Callable[[Numbers], Numbers] = double) -> tuple[Stage, ...]:
    return (
        Stage("read", partial(_give, read), holds_core=False),
        Stage("double", partial(_give, middle), Numbers),
        Stage("total", partial(_give, total), Numbers, holds_core=False),
    )


def _give(step: Callable) -> Callable:
    return step


def first_times(folder: Path, shard: int, times: int) -> bool:
    """Whether this is one of the first `times` calls for a shard, over all processes."""
    for attempt in range(times):
        try:
            (folder / f"{shard}-{attempt}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False


def failing(folder: Path, numbers: Numbers) -> Numbers:
    """Shard 1 meets a store that is away, once; shard 2 always does; shard 3 is a bug of ours;
    shard 4 takes its worker with it, always; shard 5 once."""
    shard = numbers.shard
    if shard == 1 and first_times(folder, shard, 1):
        raise ConnectionError("the store is away")
    if shard == 2:
        first_times(folder, shard, 100)
        raise TimeoutError("the store is slow")
    if shard == 3:
        first_times(folder, shard, 100)
        raise ValueError("not a shard")
    if (shard == 4 and first_times(folder, shard, 100)) or (
        shard == 5 and first_times(folder, shard, 1)
    ):
        os.kill(os.getpid(), signal.SIGKILL)
    return double(numbers)


def expected(shard: int) -> int:
    return int((np.arange(shard * 6, dtype=np.uint8) * 2).sum(dtype=int))


def test_here_the_stages_follow_each_other() -> None:
    assert [o.num_samples for o in run_here(stages(), [3, 0])] == [expected(3), 0]


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2])
def test_arrays_of_any_length_go_from_stage_to_stage(shared_ray: None, workers: int) -> None:
    outcomes = collect(run_on_ray(stages(), [4, 0, 2, 1], Workers(workers)))
    assert [o.shard for o in outcomes] == [0, 1, 2, 4]
    assert [o.num_samples for o in outcomes] == [expected(s) for s in (0, 1, 2, 4)]
    assert all(list(o.stage_seconds) == ["read", "double", "total"] for o in outcomes)


@pytest.mark.ray
@pytest.mark.slow
def test_whatever_one_shard_does_the_others_are_made(
    shared_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PAUSE_S", 0.1)
    work = stages(partial(failing, tmp_path))
    outcomes = {o.shard: o for o in run_on_ray(work, range(9), Workers(2))}
    assert sorted(outcomes) == list(range(9))
    made = [shard for shard, outcome in outcomes.items() if outcome.error is None]
    assert sorted(made) == [0, 1, 5, 6, 7, 8]
    assert all(outcomes[shard].num_samples == expected(shard) for shard in made)
    assert outcomes[1].attempts == 2 and outcomes[0].attempts == 1
    assert (outcomes[2].attempts, outcomes[2].error) == (3, "TimeoutError: the store is slow")
    assert (outcomes[3].attempts, outcomes[3].error) == (1, "ValueError: not a shard")
    assert outcomes[4].attempts == 3 and "its worker died" in str(outcomes[4].error)
    attempts = {s: len(list(tmp_path.glob(f"{s}-*"))) for s in (1, 2, 3, 4)}
    assert attempts[1] == 1 and attempts[2] == 3 and attempts[3] == 1
    assert 3 <= attempts[4] <= 3 * (1 + pipeline.RETRIES_IN_RAY)

    summary = summarise("double", list(outcomes.values()), 2.0, 2)
    assert (summary.num_shards, summary.num_set_aside) == (6, 3)
    assert any("shard 4" in line and "died" in line for line in summary.lines())
    with pytest.raises(ShardsFailedError, match="3 of 9 shards were set aside"):
        collect(outcomes.values())


def big_read(folder: Path, shard: int) -> Numbers:
    (folder / f"read-{shard}").touch()
    return Numbers(shard, "", np.full((10, 1 << 20), shard, np.uint8), b"")


def slow(folder: Path, numbers: Numbers) -> Numbers:
    time.sleep(0.3)
    done = len(list(folder.glob("done-*")))
    ahead = len(list(folder.glob("read-*"))) - done
    (folder / f"ahead-{numbers.shard}").write_text(str(ahead))
    (folder / f"done-{numbers.shard}").touch()
    return numbers


def count(numbers: Numbers) -> Outcome:
    return Outcome(shard=numbers.shard, num_samples=len(numbers.values))


@pytest.mark.ray
@pytest.mark.slow
def test_readers_wait_for_a_slow_engine_so_memory_is_bounded(
    shared_ray: None, tmp_path: Path
) -> None:
    """Shards of 10 MiB go through an object store that holds half of them."""
    num_shards = 2 * OBJECT_STORE_BYTES // (10 << 20)
    work = (
        Stage("read", partial(_give, partial(big_read, tmp_path)), holds_core=False),
        Stage("slow", partial(_give, partial(slow, tmp_path)), Numbers),
        Stage("count", partial(_give, count), Numbers, holds_core=False),
    )
    outcomes = collect(run_on_ray(work, range(num_shards), Workers(2)))
    assert [outcome.num_samples for outcome in outcomes] == [10] * num_shards
    ahead = [int(path.read_text()) for path in tmp_path.glob("ahead-*")]
    assert len(ahead) == num_shards == 30
    assert max(ahead) <= 8, "no more shards are read ahead than the object store holds"


def test_the_summary_names_the_stage_that_held_the_run_back() -> None:
    def made(shard: int, **seconds: float) -> Outcome:
        return Outcome(shard=shard, num_samples=100, num_filtered=5, stage_seconds=seconds)

    outcomes = [made(0, read=1, refine=9, commit=2), made(1, read=1, refine=9, commit=2)]
    summary = summarise("refine", outcomes, wall_s=10, workers=2)
    assert {stage.name: stage.busy for stage in summary.stages} == {
        "read": 0.1,
        "refine": 0.9,
        "commit": 0.2,
    }
    assert summary.images_per_s == 21
    assert "held back by refine, busy 90%" in summary.lines()[-1]
    idle = summarise("refine", outcomes, wall_s=100, workers=2)
    assert "too little work" in idle.lines()[-1]


def test_only_shards_whose_workers_died_are_tried_alone(monkeypatch) -> None:
    """An outage fails many shards at once; alone, they would take a night."""
    groups = []

    def attempt(stages, shards, workers):
        groups.append(list(shards))
        for shard in shards:
            if shard != 3:  # its worker dies each time
                failed = len(groups) < 3
                yield Outcome(shard=shard, error="no answer" if failed else None, transient=failed)

    monkeypatch.setattr(pipeline, "_attempt", attempt)
    monkeypatch.setattr(pipeline, "ensure_ray", lambda: None)
    monkeypatch.setattr(pipeline, "PAUSE_S", 0)
    outcomes = {outcome.shard: outcome for outcome in run_on_ray(stages(), range(5))}
    assert groups == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 4], [3]]
    assert [shard for shard, outcome in outcomes.items() if outcome.error] == [3]
    assert "worker died" in (outcomes[3].error or "")


@pytest.mark.slow
def test_who_waits_in_vain_is_told_what_the_cluster_has(monkeypatch, caplog) -> None:
    caplog.set_level(logging.WARNING)  # Ray's own threads may log details meanwhile
    monkeypatch.setattr(session, "SILENCE_S", 0.5)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": False}])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0})
    made: list[int] = []
    with session._reporting_silence("refine", lambda: len(made)):
        for _ in range(30):  # as long as shards come, nothing is said
            made.append(0)
            time.sleep(0.02)
        assert caplog.text == ""
        given_up = time.monotonic() + 20
        while not caplog.text and time.monotonic() < given_up:
            time.sleep(0.02)
    assert "no shard came back" in caplog.text
    assert "the cluster has 1 nodes with 3 cores and 0 GPUs" in caplog.text
