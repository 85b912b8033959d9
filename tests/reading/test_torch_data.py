"""Releases in the loaders of PyTorch: the same samples in the same order, also after a restart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from factory.reading import torch_data
from factory.reading.blend import Blend
from factory.reading.loader import ReleaseLoader
from factory.reading.release import Release
from factory.reading.sample import Sample
from factory.reading.torch_data import ReleaseDataset, ReleaseIterable, batch_of
from support.reading import damage, keys, place_of, plain


@pytest.fixture(scope="module")
def release(released) -> Release:
    return Release(place_of(released))


def key_of(sample: Sample) -> str:
    return sample.key


def loaded(loader) -> list[str]:
    return [key for batch in loader for key in batch.keys]


def simple(source, batch_size=4, **given) -> ReleaseLoader:
    """A loader of keys alone."""
    return ReleaseLoader(source, batch_size, transform=key_of, collate=list, **given)


# --- batches --------------------------------------------------------------------------------------


def test_a_batch_has_images_and_labels_side_by_side(released, release) -> None:
    expected = list(plain(released).items())[:3]
    batch = batch_of(release[:3])
    assert batch.keys == [key for key, _ in expected]
    assert batch.images.dtype == torch.uint8
    assert np.array_equal(batch.images.numpy(), [image for _, (_, image) in expected])
    records = [record for _, (record, _) in expected]
    for name in ("gaze", "pupil_px", "iris_px", "gaze_yaw_rad"):
        assert batch.labels[name].dtype == torch.float32
        assert np.allclose(batch.labels[name], [record[name] for record in records])
    assert batch.labels["mirrored"].dtype == torch.bool
    assert batch.labels["eye_side"] == [record["eye_side"] for record in records]


def test_a_batch_keeps_16_bits_and_has_nan_for_what_is_not_known() -> None:
    image = np.array([[0, 65535]], np.uint16)
    records = [
        {"key": "0-0", "a": None, "b": None, "c": [1, 2], "d": {"fx": 1.0}, "e": [1]},
        {"key": "0-1", "a": [1.5, 2], "b": None, "c": [3], "d": None, "e": ["x"]},
    ]
    batch = batch_of([Sample(str(record["key"]), image, record) for record in records])
    assert batch.images.dtype == torch.uint16 and batch.images.tolist() == [[[0, 65535]]] * 2
    assert torch.isnan(batch.labels["a"][0]).all() and batch.labels["a"][1].tolist() == [1.5, 2]
    for name in "bcde":
        assert batch.labels[name] == [record[name] for record in records]


# --- plain loaders --------------------------------------------------------------------------------


def test_a_map_style_set_is_read_in_the_order_of_its_sampler(release) -> None:
    dataset = ReleaseDataset(release)
    assert len(dataset) == 24 and dataset[3].key == release[3].key
    loader = DataLoader(dataset, 5, sampler=[7, 3, 23, 0, 1, 2], collate_fn=batch_of)
    assert loaded(loader) == keys(release.take([7, 3, 23, 0, 1, 2]))
    shuffled = loaded(DataLoader(dataset, 5, shuffle=True, collate_fn=batch_of))
    assert sorted(shuffled) == keys(release)
    assert (
        DataLoader(ReleaseDataset(release, key_of), 2, collate_fn=list).dataset[0] == release[0].key
    )


def test_an_iterable_set_goes_through_the_epochs_and_on_from_a_state(release) -> None:
    data = ReleaseIterable(release, seed=3, transform=key_of)
    iterator = iter(data)
    first = [next(iterator) for _ in range(7)]
    state = data.state_dict()
    assert [*first, *iterator] == keys(release.epoch(seed=3))
    assert list(data) == keys(release.epoch(1, seed=3))
    again = ReleaseIterable(release, seed=3, transform=key_of)
    again.load_state_dict(state)
    assert [*first, *again] == keys(release.epoch(seed=3))
    again.set_epoch(5)
    assert list(again) == keys(release.epoch(5, seed=3))


class Worker:
    """What a DataLoader tells each of its workers."""

    def __init__(self, id: int, num_workers: int):
        self.id, self.num_workers = id, num_workers


@pytest.mark.parametrize("had", [0, 3, 4, 9])
def test_a_worker_goes_on_from_a_state_of_its_own(release, monkeypatch, had) -> None:
    """As torchdata's StatefulDataLoader asks it to."""
    monkeypatch.setattr(torch_data, "get_worker_info", lambda: Worker(1, 2))
    data = ReleaseIterable(release, batch_size=4, transform=key_of)
    iterator = iter(data)
    first = [next(iterator) for _ in range(had)]
    state = data.state_dict()
    assert state["done"] == had
    again = ReleaseIterable(release, batch_size=4, transform=key_of)
    again.load_state_dict(state)
    expected = keys(release.epoch(worker=1, num_workers=2, batch_size=4))
    assert [*first, *again] == [*first, *iterator] == expected
    if had:
        monkeypatch.setattr(torch_data, "get_worker_info", lambda: None)
        with pytest.raises(ValueError, match="one worker of a DataLoader"):
            again.load_state_dict(state)


# --- the loader -----------------------------------------------------------------------------------


def test_a_loader_gives_batches_of_the_epochs(release) -> None:
    loader = ReleaseLoader(release, 5)
    assert len(loader) == 5 and loader.epoch == 0
    batches = list(loader)
    assert [len(batch.keys) for batch in batches] == [5, 5, 5, 5, 4]
    assert [key for batch in batches for key in batch.keys] == keys(release.epoch())
    assert loader.epoch == 1 and loaded(loader) == keys(release.epoch(1))
    short = ReleaseLoader(release, 5, drop_last=True)
    assert len(short) == 4 and [len(batch.keys) for batch in short] == [5] * 4
    assert short.state_dict()["epoch"] == 1 and short.state_dict()["position"] == 0


def read_some(loader: ReleaseLoader, num_batches: int) -> list[str]:
    iterator = iter(loader)
    return [key for _ in range(num_batches) for key in next(iterator)]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5),
    st.sampled_from(["pad", "drop"]), st.data(),
)  # fmt: skip
def test_training_goes_on_with_the_same_samples_with_any_number_of_ranks(
    release, ranks, ranks_after, batch, batch_after, ends, data
) -> None:
    length = 24 // ranks if ends == "drop" else -(-24 // ranks)
    steps = data.draw(st.integers(0, -(-length // batch) - 1))
    had, states = [], []
    for rank in range(ranks):
        loader = simple(release, batch, rank=rank, num_ranks=ranks, ends=ends)
        had.append(read_some(loader, steps))
        states.append(loader.state_dict())
    assert all(state == states[0] for state in states)
    rest = []
    for rank in range(ranks_after):
        loader = simple(release, batch_after, rank=rank, num_ranks=ranks_after, ends="uneven")
        loader.load_state_dict(states[0])
        rest.append([key for batch in loader for key in batch])
        assert loader.epoch == 1
    expected = keys(release.epoch())
    position = states[0]["position"]
    assert position == steps * batch * ranks
    assert [key for together in zip(*had, strict=True) for key in together] == expected[:position]
    dealt = [of[i] for i in range(24) for of in rest if i < len(of)]
    assert dealt == expected[position:]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2)])
def test_the_state_counts_what_the_loop_has_had_and_not_what_workers_read_ahead(
    release, before, after
) -> None:
    loader = simple(release, num_workers=before, seed=2)
    had = read_some(loader, 3)
    state = loader.state_dict()
    assert state["position"] == 12
    again = simple(release, num_workers=after, seed=2)
    again.load_state_dict(state)
    rest = [key for batch in again for key in batch]
    assert had + rest == keys(release.epoch(seed=2))


@pytest.mark.slow
def test_an_iterable_set_does_not_guess_how_far_workers_have_read(release) -> None:
    data = ReleaseIterable(release, batch_size=4, seed=2)
    read = loaded(DataLoader(data, 4, num_workers=2, collate_fn=batch_of))
    assert read == keys(release.epoch(seed=2))
    with pytest.raises(RuntimeError, match="use ReleaseLoader"):
        data.state_dict()


def test_a_state_at_the_end_of_an_epoch_begins_the_next_one(release) -> None:
    loader = simple(release, 24)
    read_some(loader, 1)
    assert loader.state_dict()["position"] == 24
    again = simple(release, 24)
    again.load_state_dict(loader.state_dict())
    assert again.epoch == 1 and next(iter(again)) == keys(release.epoch(1))


def test_a_state_of_other_samples_or_another_order_is_refused(released, release) -> None:
    state = simple(release).state_dict()
    others = [
        simple(Release(place_of(released), where="shard > 0")),
        simple(release, seed=1),
        simple(release, shuffle=False),
        simple(Blend([release], [1])),
    ]
    for other in others:
        with pytest.raises(ValueError, match="of other samples, or of another order"):
            other.load_state_dict(state)


def test_a_blend_goes_on_in_the_middle(release, released) -> None:
    part = Release(place_of(released), where="shard = 0")
    blend = Blend([release, part], [1, 1])
    loader = simple(blend, 3, seed=7)
    list(loader)
    had = read_some(loader, 4)
    again = simple(blend, 3, seed=7)
    again.load_state_dict(loader.state_dict())
    assert again.epoch == 1
    assert had + [key for batch in again for key in batch] == keys(blend.epoch(1, seed=7))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_loader_counts_what_its_workers_left_out(spoilt, workers) -> None:
    damage(spoilt, 1)
    release = Release(place_of(spoilt), damaged="skip")
    loader = simple(release, num_workers=workers)
    read = [key for batch in loader for key in batch]
    assert len(read) == 19 and not any(key.startswith("000001") for key in read)
    assert loader.epoch == 1
    counted = [(of, skipped.shard, skipped.num_samples) for of, skipped in loader.skipped]
    assert {(of, shard) for of, shard, _ in counted} == {(release, 1)}
    assert sum(num for _, _, num in counted) == 5
    resumed = simple(release)
    first = read_some(resumed, 2)
    again = simple(Release(place_of(spoilt), damaged="skip"), num_workers=workers)
    again.load_state_dict(resumed.state_dict())
    assert first + [key for batch in again for key in batch] == read


def test_the_rank_is_that_of_the_process_group(release, tmp_path) -> None:
    with pytest.raises(ValueError, match="give rank and num_ranks, or neither"):
        ReleaseLoader(release, 4, rank=0)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        assert loaded(ReleaseLoader(release, 4)) == keys(release.epoch())
    finally:
        torch.distributed.destroy_process_group()
