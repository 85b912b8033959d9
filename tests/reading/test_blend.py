"""Several releases read as one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.reading.blend import BLOCK_SAMPLES, Blend
from factory.reading.release import Release
from support.reading import keys, place_of


@pytest.fixture(scope="module")
def parts(released) -> list[Release]:
    """A release whole, and its first shard alone."""
    return [Release(place_of(released)), Release(place_of(released), where="shard = 0")]


def sources(blend: Blend, epoch: int = 0, **where) -> np.ndarray:
    places = blend.plan(epoch, seed=0, shuffle=True).places(np.arange(len(blend)))
    return places.source


def test_each_release_has_its_share_of_every_stretch(parts) -> None:
    blend = Blend(parts, [3, 1], num_samples=4 * BLOCK_SAMPLES)
    blocks = sources(blend).reshape(4, BLOCK_SAMPLES)
    assert (blocks == 1).sum(1).tolist() == [BLOCK_SAMPLES // 4] * 4
    assert len({tuple(block) for block in blocks.tolist()}) == 4
    short = Blend(parts, [1, 2])
    assert len(short) == 24 + 5 == len(list(short.epoch()))


def test_a_release_gives_each_sample_once_before_it_gives_one_again(parts) -> None:
    blend = Blend(parts, [1, 1])
    given: list[list[str]] = [[], []]
    for epoch in range(6):
        read = keys(blend.epoch(epoch, seed=4))
        for source, key in zip(
            blend.plan(epoch, seed=4, shuffle=True).places(np.arange(len(blend))).source,
            read, strict=True,
        ):  # fmt: skip
            given[source].append(key)
    for release, had in zip(parts, given, strict=True):
        size = len(release)
        rounds = [had[i : i + size] for i in range(0, len(had), size)]
        assert all(sorted(full) == sorted(keys(release)) for full in rounds[:-1])
        assert rounds[0] != rounds[1] and len(set(rounds[-1])) == len(rounds[-1])


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 60))
def test_ranks_and_workers_share_it_from_any_place_on(parts, ranks, workers, batch, start) -> None:
    blend = Blend(parts, [2, 1], num_samples=50)
    expected = keys(blend.epoch(2, seed=1))
    read = [
        keys(blend.epoch(2, seed=1, rank=rank, num_ranks=ranks, worker=worker, start=start,
                         num_workers=workers, batch_size=batch, ends="uneven"))
        for rank in range(ranks) for worker in range(workers)
    ]  # fmt: skip
    assert Counter(key for of in read for key in of) == Counter(expected[start:])


@pytest.mark.parametrize("shares", [[1, 1e-6], [5, 1, 1, 1], [0.2] * 40])
def test_shares_of_any_size_are_kept(parts, shares) -> None:
    releases = [parts[0]] * len(shares)
    blend = Blend(releases, shares, num_samples=20_000)
    counts = np.bincount(sources(blend), minlength=len(shares))
    expected = np.array(shares) / sum(shares) * len(blend)
    assert np.abs(counts - expected).max() <= len(shares) / 2 + blend_block(blend)


def blend_block(blend: Blend) -> int:
    """How far the last, begun block may be off."""
    return 0 if len(blend) % BLOCK_SAMPLES == 0 else 64


def test_what_cannot_be_blended_is_refused(parts, released) -> None:
    nothing = Release(place_of(released), where="false")
    with pytest.raises(ValueError, match="2 releases and 1 weights"):
        Blend(parts, [1])
    with pytest.raises(ValueError, match="weights are positive"):
        Blend(parts, [1, 0])
    with pytest.raises(ValueError, match="nothing is read of it"):
        Blend([*parts, nothing], [1, 1, 1])
    with pytest.raises(ValueError, match="at least one sample"):
        Blend(parts, [1, 1], num_samples=0)


def test_its_digest_changes_with_what_is_read(parts) -> None:
    blends = [Blend(parts, [1, 1]), Blend(parts, [1, 2]), Blend(parts[::-1], [1, 1]),
              Blend(parts, [1, 1], num_samples=7)]  # fmt: skip
    assert len({blend.digest() for blend in blends}) == 4
    assert Blend(parts, [2, 2]).digest() == blends[0].digest()
