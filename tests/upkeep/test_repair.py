"""Repair: what is damaged is withdrawn and made again, the same bytes, whatever dies between."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from factory.dataset.commit import withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.lineage import StaleShardsError
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.registry import make_source
from factory.ingestion.shards import ingested_card
from factory.refinement.shards import missing_shards
from factory.upkeep.means import FromParent, FromSource, Means
from factory.upkeep.repair import RepairReport, apply_repairs, repairs_for, stale_children
from factory.validation.pairs import NotComparableError, open_trio
from schemas.eye.kind import EYE
from schemas.outcome import Outcome
from support import fakes, misbehaving, planted, releases
from support.planted import verified

pytestmark = pytest.mark.slow

MADE = ("runs/", "reports/", "releases/", "tmp/", "children/")


def repaired(
    dataset: Dataset,
    means: Means | None = None,
    parent: Dataset | None = None,
    children: Sequence[Dataset] = (),
    *,
    withdraw_stale: bool = False,
) -> RepairReport:
    """Verify, and mend what was found."""
    repairs = repairs_for(
        dataset,
        verified(dataset, parent),
        means=means,
        parent=parent,
        withdraw_stale=withdraw_stale,
    )
    return apply_repairs(
        dataset,
        repairs,
        means=means,
        parent=parent,
        children=children,
        make_shards=fakes.make_shards_here,
    )


def made(dataset: Dataset) -> dict[str, bytes]:
    return planted.content(dataset, *MADE)


@pytest.mark.parametrize("damage", planted.DAMAGE)
def test_every_damage_is_mended_to_the_same_bytes(
    dataset, two_shards, eight_inputs, damage
) -> None:
    plant, kind = planted.DAMAGE[damage]
    plant(dataset.store, 1)
    report = repaired(dataset, FromSource(dataset, str(eight_inputs)))
    in_place = {"rows": "index anew", "rejects": "rejects anew"}
    assert [(r.shard, r.remedy) for r in report.repairs] == [(1, in_place.get(kind, "remake"))]
    assert report.remade == (1,) and report.failed is None and report.withdrawn == ()
    assert report.changed == ((1,) if kind == "index" else ()), "unknown where it was unreadable"
    assert made(dataset) == made(two_shards)
    assert verified(dataset) == [] and report.broken_releases == ()


@pytest.mark.parametrize("damage", ["a truncated tar", "a missing tar", "a truncated index"])
def test_a_refined_shard_is_made_again_from_its_parent(child, dataset, refiner, damage) -> None:
    expected = made(child)
    planted.DAMAGE[damage][0](child.store, 1)
    means = FromParent(child, dataset, str(refiner))
    assert repaired(child, means, dataset).remade == (1,)
    assert made(child) == expected and verified(child, dataset) == []


def test_rows_are_mended_from_the_tar_alone(child, dataset) -> None:
    expected = made(child)
    planted.DAMAGE["an index with other places"][0](child.store, 0)
    report = repaired(child, None, dataset)
    assert report.remade == (0,) and report.changed == ()
    assert made(child) == expected


@pytest.mark.parametrize("damage", ["a truncated index", "an empty index"])
def test_an_unreadable_index_is_made_from_its_tar_though_the_inputs_are_gone(
    dataset, two_shards, damage
) -> None:
    planted.DAMAGE[damage][0](dataset.store, 1)
    report = repaired(dataset)
    assert [repair.remedy for repair in report.repairs] == ["index anew"]
    assert report.remade == (1,) and made(dataset) == made(two_shards)


@pytest.mark.parametrize("of_the_tar", ["a truncated tar", "a digit changed in a label"])
def test_what_an_index_lost_is_made_from_the_inputs_where_they_are_there(
    dataset, two_shards, eight_inputs, of_the_tar
) -> None:
    """Without its digest nobody can tell whether the labels in the tar are the right ones."""
    for damage in ("a truncated index", of_the_tar):
        planted.DAMAGE[damage][0](dataset.store, 1)
    report = repaired(dataset, FromSource(dataset, str(eight_inputs)))
    assert [repair.remedy for repair in report.repairs] == ["remake"]
    assert made(dataset) == made(two_shards)


@pytest.mark.parametrize("damage", ["a truncated index", "a truncated tar", "a missing tar"])
def test_nothing_is_withdrawn_that_nobody_could_make_again(dataset, damage) -> None:
    planted.DAMAGE[damage][0](dataset.store, 1)
    dataset.store.delete("plan/000001.json")
    before = planted.objects(dataset)
    (repair,) = repaired(dataset).repairs
    assert repair.obstacle is not None and "not known" in repair.obstacle
    assert planted.objects(dataset) == before


def test_no_refined_shard_is_withdrawn_while_its_parent_is_out_of_reach(child) -> None:
    planted.DAMAGE["a truncated index"][0](child.store, 1)
    before = planted.objects(child)
    (repair,) = repaired(child, None, None).repairs
    assert repair.obstacle is not None and planted.objects(child) == before


@pytest.mark.parametrize("damage", ["missing rejects", "truncated rejects"])
def test_lost_rejects_cost_no_sample(dataset, damage) -> None:
    planted.DAMAGE[damage][0](dataset.store, 1)
    before = planted.objects(dataset)
    (repair,) = repaired(dataset).repairs
    assert repair.obstacle is not None and "--source-input" in repair.obstacle
    assert planted.objects(dataset) == before and dataset.committed() == [0, 1]


def test_without_its_parent_an_index_is_left_as_it_is(child) -> None:
    planted.DAMAGE["an index with other places"][0](child.store, 0)
    before = planted.objects(child)
    (repair,) = repaired(child, None, None).repairs
    assert repair.obstacle is not None and "not known" in repair.obstacle
    assert planted.objects(child) == before


def test_without_means_it_is_withdrawn_and_the_next_ingest_makes_it(
    dataset, two_shards, eight_inputs
) -> None:
    planted.DAMAGE["a truncated tar"][0](dataset.store, 0)
    report = repaired(dataset)
    assert report.withdrawn == (0,) == report.changed and report.remade == ()
    assert dataset.committed() == [1] and verified(dataset) == []
    fakes.build_here(dataset, eight_inputs, planted.OPTIONS)
    assert made(dataset) == made(two_shards)


def test_the_next_refine_makes_a_withdrawn_shard(child, dataset, refiner) -> None:
    expected = made(child)
    withdraw(child, 1, 1, "a test")
    fakes.refine_here(dataset, refiner, Path(child.location))
    assert made(child) == expected


class Died(Exception):  # noqa: N818
    """The process of a test ends here."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("prefix", ["shards/", "rejected/", "index/"])
@pytest.mark.parametrize("damage", ["a truncated tar", "a truncated index"])
def test_a_repair_that_dies_at_any_step_is_finished_by_the_next(
    dataset, two_shards, eight_inputs, damage, prefix, when
) -> None:
    def die(moment: str, name: str) -> None:
        if moment == when and name.startswith(prefix):
            raise Died

    planted.DAMAGE[damage][0](dataset.store, 1)
    dying = misbehaving.hooked(dataset, die)
    with pytest.raises(Died):
        repaired(dying, FromSource(dying, str(eight_inputs)))
    assert dataset.committed() == [0, 1], "the damaged one, until a whole one takes its place"
    repaired(dataset, FromSource(dataset, str(eight_inputs)))
    assert made(dataset) == made(two_shards) and verified(dataset) == []


def test_a_shard_that_was_replaced_since_it_was_found_damaged_is_left_alone(
    dataset, eight_inputs
) -> None:
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    problems, means = verified(dataset), FromSource(dataset, str(eight_inputs))
    options = {"parent": None, "withdraw_stale": False}
    to_withdraw = repairs_for(dataset, problems, means=None, **options)
    to_make = repairs_for(dataset, problems, means=means, **options)
    apply_repairs(dataset, to_make, means=means, parent=None, children=(),
                  make_shards=fakes.make_shards_here)  # fmt: skip
    after = planted.objects(dataset)
    for repairs, with_means in ((to_withdraw, None), (to_make, means)):
        apply_repairs(dataset, repairs, means=with_means, parent=None, children=(),
                      make_shards=fakes.make_shards_here)  # fmt: skip
        assert planted.objects(dataset) == after


def test_a_dry_run_says_the_same_and_changes_nothing(dataset, eight_inputs) -> None:
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    before = planted.objects(dataset)
    (repair,) = repairs_for(
        dataset,
        verified(dataset),
        means=FromSource(dataset, str(eight_inputs)),
        parent=None,
        withdraw_stale=False,
    )
    assert (repair.shard, repair.remedy, repair.obstacle) == (1, "remake", None)
    assert ".tar is damaged" in repair.why and planted.objects(dataset) == before


def test_a_shard_whose_inputs_are_gone_is_not_withdrawn(dataset, eight_inputs, tmp_path) -> None:
    shutil.copytree(eight_inputs, tmp_path / "some")
    for suffix in ("jpg", "json"):
        (tmp_path / "some" / f"6.{suffix}").unlink()
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    before = planted.objects(dataset)
    (repair,) = repaired(dataset, FromSource(dataset, str(tmp_path / "some"))).repairs
    assert repair.obstacle is not None and "lacks 1 of its 4 inputs, as 6" in repair.obstacle
    assert planted.objects(dataset) == before


def test_a_shard_whose_inputs_changed_is_not_withdrawn(dataset, eight_inputs, tmp_path) -> None:
    shutil.copytree(eight_inputs, tmp_path / "other")
    fakes.write_pair(tmp_path / "other", "5", seed=99)
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    (repair,) = repaired(dataset, FromSource(dataset, str(tmp_path / "other"))).repairs
    assert repair.obstacle is not None and "as 5, have another size" in repair.obstacle
    assert dataset.committed() == [0, 1]


@pytest.fixture
def rotten_inputs(eight_inputs, tmp_path) -> Path:
    """The inputs, after one that became a sample has rotted without changing its size."""
    inputs = tmp_path / "rotten"
    shutil.copytree(eight_inputs, inputs)
    raw = bytearray((inputs / "5.jpg").read_bytes())
    raw[2:4] = b"??"
    (inputs / "5.jpg").write_bytes(raw)
    return inputs


def test_a_shard_whose_inputs_rotted_at_the_same_size_is_not_withdrawn(
    dataset, rotten_inputs
) -> None:
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    before = planted.objects(dataset)
    (repair,) = repaired(dataset, FromSource(dataset, str(rotten_inputs))).repairs
    assert repair.obstacle is not None and "as 5, have other content" in repair.obstacle
    assert planted.objects(dataset) == before


def test_lost_rejects_are_made_again_and_cost_no_sample_whatever_became_of_the_inputs(
    dataset, two_shards, rotten_inputs
) -> None:
    planted.DAMAGE["missing rejects"][0](dataset.store, 1)
    report = repaired(dataset, FromSource(dataset, str(rotten_inputs)))
    assert [repair.remedy for repair in report.repairs] == ["rejects anew"]
    assert report.changed == () and made(dataset) == made(two_shards)


def test_lost_rejects_of_inputs_that_are_whole_now_are_reported(
    dataset, eight_inputs, tmp_path
) -> None:
    inputs = tmp_path / "mended"
    shutil.copytree(eight_inputs, inputs)
    lacking = dataset.rejects(1)["source_id"].to_pylist()
    for source_id in lacking:
        fakes.write_pair(inputs, source_id)
    planted.DAMAGE["missing rejects"][0](dataset.store, 1)
    before = planted.objects(dataset)
    (repair,) = repaired(dataset, FromSource(dataset, str(inputs))).repairs
    assert repair.obstacle is not None and "would do so now, as " in repair.obstacle
    assert planted.objects(dataset) == before


def test_a_shard_without_a_plan_is_not_withdrawn(dataset, eight_inputs) -> None:
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    planted.PLAN_DAMAGE["a missing plan"](dataset.store, 1)
    (repair,) = repaired(dataset, FromSource(dataset, str(eight_inputs))).repairs
    assert repair.obstacle is not None and "not known" in repair.obstacle
    assert dataset.committed() == [0, 1]


def test_a_refined_shard_waits_for_its_parent_to_be_mended(child, dataset, refiner) -> None:
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    planted.DAMAGE["a truncated tar"][0](child.store, 1)
    (repair,) = repaired(child, FromParent(child, dataset, str(refiner)), dataset).repairs
    assert repair.obstacle is not None and "parent has to be mended first" in repair.obstacle
    assert child.committed() == [0, 1]


def test_another_refiner_mends_nothing(child, dataset, tmp_path) -> None:
    other = fakes.save_tiny_refiner(tmp_path / "other", seed=9)
    with pytest.raises(ValueError, match=r"was made by [0-9a-f]{12}…"):
        FromParent(child, dataset, str(other))


@pytest.fixture
def changed_parent(dataset, child, eight_inputs, tmp_path) -> RepairReport:
    """Shard 1 of the parent lost, with all that says what it was made from, and made again from
    other pictures of the same size."""
    releases.release(child)
    releases.release(dataset)
    other = tmp_path / "other"
    shutil.copytree(eight_inputs, other)
    raw = bytearray((other / "5.json").read_bytes())
    position = raw.index(b"0.9441441")
    raw[position : position + 9] = b"0.9331441"
    (other / "5.json").write_bytes(raw)
    for damage in ("a missing tar", "a truncated index"):
        planted.DAMAGE[damage][0](dataset.store, 1)
    return repaired(dataset, FromSource(dataset, str(other)), children=[child])


def test_a_shard_that_changed_makes_children_stale_and_releases_broken(
    changed_parent, dataset, child, tmp_path
) -> None:
    assert changed_parent.remade == changed_parent.changed == (1,)
    (stale,) = changed_parent.stale
    assert (stale.location, stale.shards) == (child.location, (1,))
    (broken,) = changed_parent.broken_releases
    assert broken.name == "r1" and "shard 1 has lost its tar" in broken.broken[0]
    with pytest.raises(StaleShardsError, match=r"\[1\]"):
        missing_shards(dataset, child)
    card = ingested_card(
        EYE, "camera", make_source("", PicturesOptions()), shard_size=4, splits={"train": 1}
    )
    camera = Dataset.enter(tmp_path / "camera", card)
    with pytest.raises(NotComparableError, match=r"shards \[1\] were refined from other versions"):
        open_trio(child.location, camera.location)


def test_stale_shards_are_made_anew_only_when_that_is_asked_for(
    changed_parent, dataset, child, refiner, tmp_path
) -> None:
    means, before = FromParent(child, dataset, str(refiner)), made(child)
    (kept,) = repaired(child, means, dataset).repairs
    assert kept.remedy == "withdraw stale" and kept.obstacle is not None
    assert "--withdraw-stale" in kept.obstacle and made(child) == before
    report = repaired(child, means, dataset, withdraw_stale=True)
    assert report.remade == report.changed == (1,)
    assert report.broken_releases == (), "its tars stay"
    anew = fakes.refine_here(dataset, refiner, tmp_path / "anew")
    assert made(child) == made(anew) and stale_children(dataset, [child]) == ()


def test_a_release_is_whole_again_when_its_shard_is(dataset, eight_inputs) -> None:
    releases.release(dataset)
    planted.DAMAGE["a truncated tar"][0](dataset.store, 1)
    assert [p.kind for p in verified(dataset)] == ["tar", "release"]
    assert repaired(dataset, FromSource(dataset, str(eight_inputs))).broken_releases == ()
    assert verified(dataset) == []


def test_shards_that_cannot_be_made_are_named_and_the_others_are_made(
    dataset, two_shards, eight_inputs
) -> None:
    for shard in (0, 1):
        planted.DAMAGE["a truncated tar"][0](dataset.store, shard)

    class PoisonedSource(FromSource):
        def task(self, replaced):
            return lambda: _poisoned(super(PoisonedSource, self).task(replaced)())

    report = repaired(dataset, PoisonedSource(dataset, str(eight_inputs)))
    assert report.remade == (1,) and report.withdrawn == ()
    assert report.failed is not None and "shard 0: OSError: poison" in report.failed
    assert repaired(dataset, FromSource(dataset, str(eight_inputs))).remade == (0,)
    assert made(dataset) == made(two_shards)


def _poisoned(task):
    def make(shard: int) -> Outcome:
        return fakes.failed(shard, OSError("poison")) if shard == 0 else task(shard)

    return make


def test_repair_in_every_kind_of_store(two_shards, eight_inputs, any_location) -> None:
    dataset = planted.copied(two_shards, any_location)
    planted.DAMAGE["a truncated tar"][0](dataset.store, 0)
    planted.DAMAGE["an empty index"][0](dataset.store, 1)
    report = repaired(dataset, FromSource(dataset, str(eight_inputs)))
    assert report.remade == (0, 1) and verified(dataset) == []
    assert made(dataset) == made(two_shards)


def test_only_children_are_looked_at(dataset, two_shards) -> None:
    with pytest.raises(ValueError, match="was not refined from"):
        stale_children(dataset, [two_shards])
