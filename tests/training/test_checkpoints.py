"""Checkpoints of training: whole or not there, in every kind of store."""

import json
import threading

import numpy as np
import pytest
import torch

from factory.store.open import open_store
from factory.training.checkpoints import FOLDER, Checkpoints
from factory.training.history import HistoryBuffer
from schemas.base import FormatError
from schemas.training import Counters

SHAPE = (1, 2, 3)


def history(value: float) -> HistoryBuffer:
    buffer = HistoryBuffer(4, SHAPE, seed=0)
    buffer.exchange(np.full((2, *SHAPE), value, np.float16), worker=1)
    return buffer


def counters(clock: int) -> Counters:
    return Counters(clock=clock, num_draws=2**40, num_refiner_updates=3, seconds=1.5)


def save(checkpoints: Checkpoints, *clocks: int) -> None:
    for clock in clocks:
        tensors = {"refiner.weight": torch.full((2, 3), float(clock)), "step": torch.tensor(1.0)}
        checkpoints.save(clock, tensors, counters(clock), history(clock))
    checkpoints.wait()


def test_they_come_back_and_two_are_kept(any_location) -> None:
    checkpoints = Checkpoints(any_location)
    assert checkpoints.clocks() == []
    save(checkpoints, 5, 10, 100)
    assert checkpoints.clocks() == [100, 10]
    assert len(list(open_store(any_location).entries(FOLDER))) == 6
    read = Checkpoints(any_location).read(100)
    assert read.counters == counters(100)
    assert torch.equal(read.tensors["refiner.weight"], torch.full((2, 3), 100.0))
    restored = HistoryBuffer(4, SHAPE, seed=9)
    restored.restore(any_location, read.history)
    assert (restored.last(1) == 100).all() and restored.last(0) is None
    assert restored.statistics().size == 2
    again = np.full((2, *SHAPE), 7, np.float16)
    assert np.array_equal(restored.exchange(again), history(100).exchange(again))


def test_saving_takes_down_the_moment_of_the_call(tmp_path) -> None:
    """Weights and history go on changing while it is written."""
    buffer, weight = history(1), torch.ones(3)
    held = threading.Event()

    checkpoints = Checkpoints(str(tmp_path))
    put = checkpoints.store.put
    checkpoints.store.put = lambda name, content: (held.wait(10), put(name, content))
    checkpoints.save(1, {"weight": weight}, counters(1), buffer)
    weight.add_(1)
    buffer.exchange(np.full((2, *SHAPE), 9, np.float16))
    held.set()
    checkpoints.wait()
    read = checkpoints.read(1)
    assert (read.tensors["weight"] == 1).all()
    restored = HistoryBuffer(4, SHAPE, seed=0)
    restored.restore(str(tmp_path), read.history)
    assert restored.statistics().num_exchanges == 1


def test_what_a_kill_left_is_no_checkpoint_and_goes_later(tmp_path) -> None:
    store = open_store(tmp_path)
    store.put(f"{FOLDER}/step-00000007.networks.safetensors", b"half")
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 5)
    assert checkpoints.clocks() == [5]
    with pytest.raises(FileNotFoundError):
        checkpoints.read(7)
    save(checkpoints, 8, 10)
    assert not any("00000007" in entry.name for entry in store.entries(FOLDER))


@pytest.mark.parametrize("part", ["json", "networks.safetensors", "history.safetensors"])
def test_damage_is_found(tmp_path, part) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 5)
    path = tmp_path / FOLDER / f"step-00000005.{part}"
    path.write_bytes(path.read_bytes()[:-3] + b"\xff")
    with pytest.raises(FormatError, match=r"damaged|has changed since"):
        HistoryBuffer(4, SHAPE, seed=0).restore(str(tmp_path), checkpoints.read(5).history)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1",
        b"[]",
        b"{}",
        b'{"counters": {}}',
        b'{"counters": 3, "networks": "", "history": {}}',
    ],
)
def test_a_state_of_another_shape_is_damage(tmp_path, content) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 5)
    path = tmp_path / FOLDER / "step-00000005.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="step-00000005 is damaged"):
        checkpoints.read(5)


def test_counters_that_lack_one_or_are_of_another_pass_are_damage(tmp_path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 5)
    path = tmp_path / FOLDER / "step-00000005.json"
    state = json.loads(path.read_bytes())
    for wrong in ({"counters": {}}, {"counters": state["counters"] | {"clock": 4}}):
        path.write_text(json.dumps(state | wrong))
        with pytest.raises(FormatError, match="step-00000005 is damaged"):
            checkpoints.read(5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_damage(tmp_path, bad) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 5)
    tensors = {"discriminator.layers.0.bias": torch.tensor([1.0, bad]), "step": torch.tensor(1)}
    checkpoints.save(6, tensors, counters(6), history(6))
    checkpoints.wait()
    with pytest.raises(FormatError, match=r"step-00000006 is damaged: discriminator\.layers\.0"):
        checkpoints.read(6)
    assert checkpoints.read(5).clock == 5


def test_files_of_others_in_the_folder_are_left_alone(tmp_path) -> None:
    checkpoints = Checkpoints(str(tmp_path))
    save(checkpoints, 5)
    names = (".nfs0001", "step-00000005.json.bak", "notes.json", "step-x.json")
    for name in names:
        (tmp_path / FOLDER / name).write_bytes(b"")
    save(checkpoints, 8, 10, 12)
    assert checkpoints.clocks() == [12, 10]
    assert {path.name for path in (tmp_path / FOLDER).iterdir()} >= set(names)


def test_what_keeps_one_from_being_written_is_raised(tmp_path) -> None:
    checkpoints = Checkpoints(str(tmp_path))

    def full(name: str, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    checkpoints.store.put = full
    checkpoints.save(1, {}, counters(1), None)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.wait()
    assert checkpoints.clocks() == []
