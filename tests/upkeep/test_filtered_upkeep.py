"""A filtered dataset is checked against its parent and verdicts, and mended from them."""

import pytest

from cluster.job.command import parse
from factory.dataset.commit import commit_shard
from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name
from factory.dataset.tar import DamagedShardError
from factory.release.filtered import FilteredContent
from factory.release.publish import NotReleasableError, publish
from factory.upkeep.describe import describe
from factory.upkeep.findings_text import repair_lines
from factory.upkeep.garbage import stray_objects
from factory.upkeep.means import FilteredFromParent
from factory.upkeep.repair import apply_repairs, repairs_for, stale_children
from factory.upkeep.run import means_of
from jobs.repair import RepairJob
from schemas.base import FormatError
from support import fakes, planted
from support.filtered import REPORT_ID, kept_here, parts_of
from support.planted import verified

pytestmark = pytest.mark.slow


def remade(refined: Dataset, kept: Dataset, shard: int, keys: list[str]) -> None:
    """Put another shard in the place of one: whole, with an index that fits, of other samples."""
    expected = FilteredContent(kept, refined).expected(shard)
    planted.remove_shard(kept, shard)
    other = type(expected)(**vars(expected) | {"keys": tuple(keys)})
    samples = [sample for sample in refined.samples(shard) if sample.key in keys]
    commit_shard(kept, other, samples)


def mended(dataset: Dataset, parent: Dataset, *, withdraw_stale: bool = False):
    means = FilteredFromParent(dataset, parent)
    problems = verified(dataset, parent)
    repairs = repairs_for(
        dataset, problems, means=means, parent=parent, withdraw_stale=withdraw_stale
    )
    return apply_repairs(
        dataset, repairs, means=means, parent=parent, children=(),
        make_shards=fakes.make_shards_here,
    )  # fmt: skip


def test_nothing_is_wrong_with_what_nobody_touched(refined, kept, synthetic) -> None:
    publish(kept, "r1", REPORT_ID)
    assert verified(kept, refined) == [] and verified(kept, None) == []
    assert verified(refined, synthetic) == []
    assert stray_objects(kept) == [] and stray_objects(refined) == []


def test_a_failed_sample_that_was_smuggled_in_is_found_refused_and_mended(refined, kept) -> None:
    good = parts_of(kept)
    remade(refined, kept, 0, refined.index(0)["key"].to_pylist())
    for parent in (refined, None):
        (problem,) = verified(kept, parent)
        assert (problem.kind, problem.shard) == ("tar", 0)
        assert "5 samples that are not the 4 planned keys" in problem.what
    with pytest.raises(DamagedShardError, match=r"1 samples that .* first is 000000-000001"):
        publish(kept, "r1", REPORT_ID)
    assert mended(kept, refined).remade == (0,)
    assert parts_of(kept) == good and verified(kept, refined) == []


def test_a_kept_sample_that_is_missing_is_found_and_mended(refined, kept) -> None:
    good = parts_of(kept)
    remade(refined, kept, 3, refined.index(3)["key"].to_pylist()[1:])
    (problem,) = verified(kept, refined)
    assert (problem.kind, problem.shard) == ("tar", 3)
    assert "4 samples that are not the 5 planned keys" in problem.what
    assert mended(kept, refined).remade == (3,)
    assert parts_of(kept) == good


@pytest.mark.parametrize("damage", ["a truncated tar", "a missing tar", "a truncated index"])
def test_damage_is_mended_from_the_parent(refined, kept, damage) -> None:
    good = parts_of(kept)
    planted.DAMAGE[damage][0](kept.store, 1)
    assert [problem.shard for problem in verified(kept, refined)] == [1]
    assert mended(kept, refined).remade == (1,)
    assert parts_of(kept) == good


def test_a_parent_that_changed_makes_it_stale_for_good(refined, kept, synthetic, tmp_path) -> None:
    other = fakes.save_tiny_refiner(tmp_path / "other-refiner", seed=5)
    theirs = fakes.refine_here(synthetic, other, tmp_path / "theirs")
    good = parts_of(kept)
    planted.put_shard(refined, theirs, 0)
    (problem,) = verified(kept, refined)
    assert problem.kind == "stale" and "Validate the parent again" in problem.fix
    assert "filtered from another parent shard" in problem.what
    report = mended(kept, refined, withdraw_stale=True)
    assert "changed since it was validated" in report.repairs[0].obstacle
    assert parts_of(kept) == good, "it is not withdrawn, as it cannot be made again"
    report = report.model_copy(update={"stale": stale_children(refined, [kept])})
    assert any("filtered from what is no longer there" in line for line in repair_lines(report))
    kept.store.delete(index_name(0))
    with pytest.raises(DamagedShardError, match="changed since it was validated"):
        kept_here(refined, kept.location)


@pytest.mark.parametrize("name", ["report.json", "verdicts.parquet"])
def test_a_report_that_the_child_lost_is_found_and_put_back(refined, kept, name) -> None:
    path = f"reports/{REPORT_ID}/{name}"
    good = kept.store.read(path)
    kept.store.delete(path)
    (problem,) = verified(kept, refined)
    assert (problem.kind, problem.name, problem.shard) == ("report", path, None)
    assert describe(kept).num_samples == 17
    kept_here(refined, kept.location)
    assert kept.store.read(path) == good and verified(kept, refined) == []


def test_damaged_verdicts_in_the_child_are_found_and_release_nothing(refined, kept) -> None:
    path = f"reports/{REPORT_ID}/verdicts.parquet"
    kept.store.put(path, planted.flipped(kept.store.read(path), 60))
    (problem,) = verified(kept, refined)
    assert problem.name == path and "is damaged" in problem.what
    with pytest.raises(FormatError, match="is damaged"):
        publish(kept, "r1", REPORT_ID)
    with pytest.raises(NotReleasableError, match="remove it, and run the same command"):
        kept_here(refined, kept.location)


def test_the_describing_job_mends_it_without_a_refiner(refined, kept) -> None:
    job = parse(RepairJob, ["--input", kept.location])
    assert isinstance(means_of(job, kept, refined), FilteredFromParent)
    assert means_of(job, kept, None) is None
    job = parse(RepairJob, ["--input", kept.location, "--refiner", "x"])
    with pytest.raises(ValueError, match="without --refiner"):
        means_of(job, kept, refined)
