"""Shards that are withheld: by their bytes, made again once, and taken back by a person."""

from pathlib import Path

import pytest

from factory.dataset.commit import next_generation, put_record
from factory.dataset.dataset import Dataset
from factory.upkeep.garbage import stray_objects
from factory.validation.sampling import shards_of
from factory.validation.withheld import (
    blamed_shards,
    misses_in_words,
    take_back,
    withdraw_withheld,
    withheld_name,
    withheld_shards,
    withhold,
)
from schemas.options import OptionError
from schemas.report import GateCheck, Report, ShardCount
from support import fakes, releases
from support.nights import check_of

WHY = "turn_deg > 5: 5 of 5 samples (a test)"


def missed_report(dataset: Dataset, *shards: int) -> Report:
    """A report on every committed shard, which names some as bad."""
    bad = (ShardCount(shard=shard, num_missed=5, num_samples=5) for shard in shards)
    return releases.report_on(dataset, samples=(check_of(*bad),), checks=(), passed=False)


def test_a_missed_gate_names_its_shards_and_their_limits(refined) -> None:
    limit = GateCheck(measure="mean_abs_change.median", at_least=3, why="x", value=1, passed=False)
    report = missed_report(refined, 3).model_copy(update={"checks": (limit,)})
    assert blamed_shards(report) == {3: WHY}
    of_report, of_samples = misses_in_words(report)
    assert of_report == "mean_abs_change.median is 1"
    assert "turn_deg > 5: 5 samples (20 %)" in of_samples
    assert "bad shards: 1, the worst 000003 with 5 of 5" in of_samples
    assert blamed_shards(releases.report_on(refined)) == {}


def test_a_withheld_shard_is_withdrawn_and_withheld_again_where_it_comes_out_the_same(
    refined, synthetic
) -> None:
    before = refined.facts(3)
    assert withhold(refined, {3: WHY}, missed_report(refined, 3)) == [3]
    assert refined.committed() == [0, 1, 2, 4] and withheld_shards(refined) == {}
    assert not {s.name for s in stray_objects(refined) if s.name.startswith("withheld/")}
    rows, _ = refined.index_and_facts_in(3, 1)
    twice = next_generation(before).model_copy(update={"generation": 3})
    assert put_record(refined, rows, twice)
    (record,) = withheld_shards(refined).values()
    assert (record.shard, record.tar_sha256, record.why) == (3, before.tar_sha256, WHY)
    assert shards_of(refined, None, withheld_shards(refined)) == [0, 1, 2, 4]


def test_other_bytes_of_the_shard_are_not_withheld(refined) -> None:
    withhold(refined, {3: WHY}, missed_report(refined, 3))
    rows, facts = refined.index_and_facts_in(3, 1)
    other = facts.model_copy(update={"generation": 3, "tar_sha256": "0" * 64})
    assert put_record(refined, rows, other)
    assert withheld_shards(refined) == {}


def test_a_record_that_cannot_be_read_withholds_still(refined) -> None:
    name = withheld_name(refined.facts(3).tar_sha256)
    refined.store.put(name, b"{")
    (record,) = withheld_shards(refined).values()
    assert (record.shard, record.why) == (3, "its record cannot be read")
    assert withdraw_withheld(refined) == [] and refined.committed() == [0, 1, 2, 3, 4]
    assert take_back(refined, [3]) == [3] and withheld_shards(refined) == {}


def test_a_shard_that_changed_since_the_report_is_not_withheld(refined) -> None:
    report = missed_report(refined, 3)
    changed = report.shards[3].model_copy(update={"tar_sha256": "0" * 64})
    report = report.model_copy(update={"shards": (*report.shards[:3], changed)})
    assert withhold(refined, {3: WHY, 4: WHY}, report) == []
    assert refined.committed() == [0, 1, 2, 3, 4]


def test_a_person_takes_a_shard_back(refined) -> None:
    withhold(refined, {1: WHY, 3: WHY}, missed_report(refined, 1, 3))
    with pytest.raises(ValueError, match="shard 2 is not withheld; withheld are 1, 3"):
        take_back(refined, [2])
    assert take_back(refined, [3]) == [3]
    assert take_back(refined, []) == [1]
    assert fakes.files_below(Path(refined.location), "withheld") == {}


def test_a_shard_that_is_not_there_cannot_be_left_out(refined) -> None:
    with pytest.raises(OptionError, match=r"--leave-out 9: .* has no such shard"):
        shards_of(refined, None, [9])
    with pytest.raises(ValueError, match="holds no images yet"):
        shards_of(refined, None, refined.committed())
