"""Releases with shards that are missing, damaged or another's."""

from pathlib import Path

import pytest

from factory.dataset.tar import DamagedShardError
from factory.reading.release import Release
from support.planted import flipped
from support.reading import damage, keys, place_of
from support.releases import urls_of


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-512])


def remove(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes(), 700))


def another(path: Path) -> None:
    path.write_bytes(path.with_name(min(p.name for p in path.parent.glob("*.tar"))).read_bytes())


WAYS = {cut: "bytes, released", remove: "is missing", flip: "sha256", another: "sha256|bytes"}


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def what(request, spoilt) -> str:
    """What is said of shard 2, which is spoilt in one way."""
    request.param(Path(urls_of(spoilt)[2]))
    return WAYS[request.param]


def test_an_error_names_the_shard_and_the_release(spoilt, what) -> None:
    release = Release(place_of(spoilt))
    with pytest.raises(DamagedShardError, match=what) as raised:
        list(release.epoch())
    assert f"shard 2 of the release {place_of(spoilt)} (../../shards/000002-" in str(raised.value)
    assert keys(release[i] for i in (0, 9, 15)) == ["000000-000000", "000001-000004",
                                                    "000003-000000"]  # fmt: skip


def test_its_samples_are_left_out_and_counted_where_that_is_asked_for(spoilt, what) -> None:
    release = Release(place_of(spoilt), damaged="skip")
    read = keys(release.epoch())
    assert sorted(read) == keys(Release(place_of(spoilt))[:10]) + [
        f"{shard:06d}-{row:06d}" for shard, num in ((3, 5), (4, 4)) for row in range(num)
    ]
    assert sum(skipped.num_samples for skipped in release.skipped) == 5
    assert {skipped.shard for skipped in release.skipped} == {2}
    assert place_of(spoilt) in release.skipped[0].why


@pytest.mark.parametrize("ends", ["pad", "drop"])
@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_keep_step_where_samples_are_left_out(spoilt, ends, ranks) -> None:
    """Others take their place, or DDP would wait for ever for the rank that has fewer."""
    damage(spoilt, 2)
    release = Release(place_of(spoilt), damaged="skip")
    read = [keys(release.epoch(rank=r, num_ranks=ranks, ends=ends)) for r in range(ranks)]
    assert {len(of) for of in read} == {-(-24 // ranks) if ends == "pad" else 24 // ranks}
    every = [key for of in read for key in of]
    assert not any(key.startswith("000002") for key in every)
    again = Release(place_of(spoilt), damaged="skip")
    assert read == [keys(again.epoch(rank=r, num_ranks=ranks, ends=ends)) for r in range(ranks)]
    uneven = [keys(again.epoch(rank=r, num_ranks=ranks, ends="uneven")) for r in range(ranks)]
    assert len([key for of in uneven for key in of]) == 19


def test_a_release_of_which_nothing_is_left_gives_up(spoilt) -> None:
    for shard in range(5):
        damage(spoilt, shard)
    release = Release(place_of(spoilt), damaged="skip")
    assert keys(release.epoch()) == [] and len(release.skipped) == 5
    with pytest.raises(DamagedShardError, match="in a row cannot be read"):
        list(release.epoch(rank=0, num_ranks=2))


def test_a_digest_is_compared_once(spoilt, monkeypatch) -> None:
    release = Release(place_of(spoilt))
    list(release.epoch())
    damage(spoilt, 1, position=-600)  # zeros at the end, which nothing else looks at
    assert len(keys(release.epoch(1))) == 24
    with pytest.raises(DamagedShardError, match="sha256"):
        list(Release(place_of(spoilt)).epoch())


def test_the_check_can_be_turned_off(spoilt) -> None:
    damage(spoilt, 1, position=-600)
    assert len(keys(Release(place_of(spoilt), check_sha256=False).epoch())) == 24
    path = Path(urls_of(spoilt)[0])
    path.write_bytes(path.read_bytes().replace(b'"mirrored":false', b'"mirrored":true ', 1))
    assert Release(place_of(spoilt), check_sha256=False)[0].record["mirrored"] is True
    for position, said in ((700, "is damaged"), (512, "is damaged")):
        damage(spoilt, 3, position=position)
        with pytest.raises(DamagedShardError, match=f"shard 3 of the release.*{said}"):
            list(Release(place_of(spoilt), check_sha256=False).epoch())


def test_a_single_sample_is_checked_without_the_rest_of_its_tar(spoilt) -> None:
    """Against the digest of its png, which is in the index."""
    row = spoilt.index(1).to_pylist()[2]
    damage(spoilt, 1, position=row["png_offset"] + row["png_length"] - 30)
    release = Release(place_of(spoilt))
    assert release[5].key == "000001-000000"
    with pytest.raises(DamagedShardError, match=r"the png at byte .* has another sha256"):
        release[7]


def test_a_tar_of_another_shard_is_seen_without_digests(spoilt) -> None:
    paths = [Path(url) for url in urls_of(spoilt)]
    paths[1].write_bytes(paths[0].read_bytes())
    release = Release(place_of(spoilt), check_sha256=False, damaged="skip")
    read = keys(release.epoch())
    assert set(read) <= {key for key in read if not key.startswith("000001")}
    assert len(read) == len(set(read)) == 19
