"""Orders of epochs: every position once, the same for all, and as mixed as it is said to be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.reading.order import DEFAULT_MIX, Mix, ReleaseOrder, Turn, permutation

ENDS = ("pad", "drop", "uneven")


def order(
    counts, *, seed: int = 0, epoch: int = 0, mix: Mix = DEFAULT_MIX, shuffle: bool = True
) -> ReleaseOrder:
    num_samples = np.array(counts, np.int64)
    return ReleaseOrder(
        num_samples, num_samples * 1000, seed=seed, epoch=epoch, mix=mix, shuffle=shuffle
    )


def whole(of: ReleaseOrder) -> list[tuple[int, int]]:
    places = of.places(np.arange(of.num_samples))
    return list(zip(places.shard.tolist(), places.row.tolist(), strict=True))


def all_rows(counts) -> list[tuple[int, int]]:
    return [(shard, row) for shard, count in enumerate(counts) for row in range(count)]


counts_of_shards = st.lists(st.integers(0, 9), max_size=8)


@settings(deadline=None)
@given(counts_of_shards, st.integers(0, 3), st.integers(0, 2), st.integers(1, 40), st.booleans())
def test_an_order_has_every_sample_once(counts, seed, epoch, mixed, shuffle) -> None:
    ordered = order(counts, seed=seed, epoch=epoch, mix=Mix(num_samples=mixed), shuffle=shuffle)
    assert sorted(whole(ordered)) == all_rows(counts)
    if not shuffle:
        assert whole(ordered) == all_rows(counts)


@settings(deadline=None)
@given(counts_of_shards, st.data())
def test_places_do_not_depend_on_what_is_asked_together(counts, data) -> None:
    ordered = order(counts, mix=Mix(num_samples=12))
    everything = whole(ordered)
    if everything:
        positions = data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=5))
        places = ordered.places(np.array(positions, np.int64))
        asked = list(zip(places.shard.tolist(), places.row.tolist(), strict=True))
        assert asked == [everything[position] for position in positions]


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    first = whole(order([20] * 5))
    assert first == whole(order([20] * 5))
    others = (order([20] * 5, seed=1), order([20] * 5, epoch=1))
    assert all(whole(other) != first for other in others)


def test_the_order_of_a_seed_does_not_change_with_versions() -> None:
    """Else a training that goes on with a newer numpy would read some samples twice."""
    assert permutation((0, 0, 1), 8).tolist() == GOLDEN
    assert [shard for shard, _ in whole(order([2, 2, 2]))] == GOLDEN_SHARDS


GOLDEN = [7, 6, 4, 5, 3, 1, 0, 2]
GOLDEN_SHARDS = [0, 0, 1, 2, 2, 1]


# --- how well it mixes ----------------------------------------------------------------------------


def position_counts(mix: Mix, repeats: int = 1000) -> np.ndarray:
    """(12, 12) how often each sample came at each position."""
    seen = np.zeros((12, 12))
    for seed in range(repeats):
        places = order([3, 3, 3, 3], seed=seed, mix=mix).places(np.arange(12))
        seen[places.shard * 3 + places.row, np.arange(12)] += 1
    return seen


@pytest.mark.parametrize("mix", [Mix(), Mix(num_samples=6)], ids=["one window", "two windows"])
def test_a_sample_is_equally_likely_at_every_position(mix) -> None:
    """Chi-squared over samples and positions, as for a uniform permutation."""
    expected = 1000 / 12
    chi2 = ((position_counts(mix) - expected) ** 2 / expected).sum()
    free = 11 * 11
    assert abs(chi2 - free) < 5 * np.sqrt(2 * free)


def share_of_neighbours(counts: list[int], mix: Mix, seed: int) -> float:
    """How often two samples in a row are of one shard."""
    shards = order(counts, seed=seed, mix=mix).places(np.arange(sum(counts))).shard
    return float(np.mean(shards[1:] == shards[:-1]))


def test_within_one_window_neighbours_are_of_one_shard_as_often_as_by_chance() -> None:
    counts = [100] * 20
    shares = [share_of_neighbours(counts, Mix(), seed) for seed in range(40)]
    by_chance = 99 / 1999
    assert np.mean(shares) == pytest.approx(by_chance, abs=4 * np.sqrt(by_chance / 2000 / 40))


def test_beyond_one_window_neighbours_are_of_one_shard_once_in_the_shards_of_a_window() -> None:
    counts = [100] * 40
    shares = [share_of_neighbours(counts, Mix(num_samples=1000), seed) for seed in range(20)]
    assert np.mean(shares) == pytest.approx(1 / 10, rel=0.05)
    assert share_of_neighbours(counts, Mix(num_samples=1), 0) > 0.98


def test_windows_are_of_equal_size_and_bounded_by_samples_and_bytes() -> None:
    counts = [100] * 40
    assert order(counts).num_windows == 1
    assert order(counts, mix=Mix(num_samples=1000)).num_windows == 4
    assert order(counts, mix=Mix(num_bytes=500_000)).num_windows == 8
    assert order(counts, mix=Mix(num_samples=1)).num_windows == 40
    assert order([]).num_windows == 0 and order([0, 0]).num_samples == 0
    ordered = order(counts, mix=Mix(num_samples=1000))
    (following,) = ordered.shards_after(999)
    assert set(ordered.places(np.arange(1000, 2000)).shard) == set(following)
    assert len(ordered.shards_after(3999)[0]) == 0


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        Mix(num_samples=0)


# --- who reads what -------------------------------------------------------------------------------


def positions_of(turn: Turn, total: int) -> list[int]:
    return [p for _, batch in turn.batches(total) for p in batch.tolist()]


def dealt(total: int, ranks: int, workers: int, batch: int, ends: str, start: int = 0):
    """The positions of each rank, of its workers in turn."""
    of_ranks = []
    for rank in range(ranks):
        batches = []
        for worker in range(workers):
            turn = Turn(rank, ranks, worker, workers, batch, ends, start)
            batches += [(end, b.tolist()) for end, b in turn.batches(total)]
        batches.sort()
        of_ranks.append([position for _, positions in batches for position in positions])
    return of_ranks


@settings(deadline=None)
@given(
    st.integers(0, 50), st.integers(1, 7), st.integers(1, 5), st.integers(1, 6),
    st.sampled_from(ENDS), st.integers(0, 60),
)  # fmt: skip
def test_every_position_is_read_once(total, ranks, workers, batch, ends, start) -> None:
    of_ranks = dealt(total, ranks, workers, batch, ends, start)
    left = list(range(start, total))
    in_turn = sorted(position for of_rank in of_ranks for position in of_rank)
    lengths = {len(of_rank) for of_rank in of_ranks}
    assert lengths == {Turn(r, ranks, ends=ends, start=start).num_samples(total)
                       for r in range(ranks)}  # fmt: skip
    if ends == "uneven":
        assert in_turn == left and max(lengths) - min(lengths) <= 1
        return
    (length,) = lengths
    if ends == "drop":
        dropped = set(left) - set(in_turn)
        assert len(in_turn) == len(set(in_turn)) and len(dropped) < ranks
    else:
        assert set(in_turn) >= set(left) and len(in_turn) - len(left) < ranks
        assert length * ranks >= len(left)


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 4), st.integers(1, 6), st.integers(1, 5))
def test_the_order_of_a_rank_is_the_same_with_any_number_of_workers(
    total, ranks, batch, workers
) -> None:
    alone = dealt(total, ranks, 1, batch, "pad")
    assert dealt(total, ranks, workers, batch, "pad") == alone
    assert dealt(total, ranks, 1, 1, "pad") == alone


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.data())
def test_a_worker_goes_on_where_it_was(total, ranks, workers, batch, data) -> None:
    turn = Turn(0, ranks, 0, workers, batch)
    everything = positions_of(turn, total)
    done = data.draw(st.integers(0, len(everything)))
    resumed = Turn(0, ranks, 0, workers, batch, done=done)
    assert positions_of(resumed, total) == everything[done:]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 2, "num_ranks": 2},
        {"worker": -1},
        {"batch_size": 0},
        {"start": -1},
        {"ends": "wrap"},
    ],
)
def test_a_turn_that_does_not_exist_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"does not exist|at least|ends is one of"):
        Turn(**wrong)
