"""Of an input that was rewritten, validation counts the newest sample alone."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.dataset.shard_tasks import collect, run_here
from factory.dataset.tar import sha256
from factory.domains.eye.damage.measuring import EYE_DAMAGES
from factory.domains.eye.measures import EyeWitnesses
from factory.domains.eye.pupil.finder import PupilFinder
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.store.parquet import parquet_bytes
from factory.validation.gate import Gate, judged
from factory.validation.power.damaged import DamageMeasurer
from factory.validation.protocols import Trio
from factory.validation.report.assemble import make_report
from factory.validation.sampling import sample_labelled
from factory.validation.shard_measures import measure_task, measures_name, read_measures
from factory.validation.verdicts import read_verdicts, verdicts_name
from schemas.gate import Limit, SampleLimit
from schemas.report import Realism, Report
from support import fakes, releases
from support.report_example import example_report
from support.spoiled import damage_named

WITNESSES = EyeWitnesses(finder=PupilFinder())
GATE = Gate(
    limits=(Limit(measure="num_samples", at_least=6, at_most=6, why="for this test"),),
    samples=(
        SampleLimit(
            measure="registration_px", at_most=5, why="for this test", max_share=0, shard_share=0
        ),
    ),
    sha256=fakes.SHA,
    name="exact.toml",
)
OLD = "000000-000001"
"""the first version of input 2"""


@dataclass(frozen=True)
class Rewritten:
    refined: Dataset
    parent: Dataset

    @property
    def newest(self) -> list[str]:
        return load_index(self.refined, ["key"])["key"].to_pylist()


@pytest.fixture
def rewritten(tmp_path, refiner) -> Rewritten:
    """Inputs 1..6 in shards of 2; then 2 and 5 were rewritten, and 2 once more."""
    inputs, options = tmp_path / "in", UnityEyesOptions()
    for number in range(1, 7):
        fakes.write_pair(inputs, str(number), seed=number)
    for changes in ({}, {2: 50, 5: 51}, {2: 52}):
        for number, seed in changes.items():
            fakes.write_pair(inputs, str(number), seed=seed)
        parent = fakes.ingest_here(inputs, tmp_path / "p", options, shard_size=2)
    return Rewritten(fakes.refine_here(parent, refiner, tmp_path / "refined"), parent)


def measured(pair: Rewritten) -> pa.Table:
    """With a registration that no gate lets pass in the superseded sample alone."""
    shards = pair.refined.committed()
    collect(run_here(measure_task(pair.refined, pair.parent, WITNESSES), shards))
    name = measures_name(WITNESSES.digest(), 0)
    rows = pq.read_table(pa.BufferReader(pair.refined.store.read(name)))
    values = [9.0 if key == OLD else 0.1 for key in rows["key"].to_pylist()]
    assert 9.0 in values
    position = rows.schema.get_field_index("registration_px")
    rows = rows.set_column(
        position, rows.schema.field(position), pa.array(values, pa.float32())
    ).replace_schema_metadata(rows.schema.metadata)
    pair.refined.store.put(name, parquet_bytes(rows))
    return read_measures(pair.refined, shards, WITNESSES)


@dataclass(frozen=True)
class Examined:
    measures: pa.Table
    realism: Realism

    def findings(self) -> dict[str, Any]:
        return {}


class AnyValidator:
    report: ClassVar[type[Report]] = Report


@pytest.mark.slow
def test_measurements_are_of_the_newest_samples(rewritten):
    measures = measured(rewritten)
    assert measures["key"].to_pylist() == rewritten.newest
    assert len(rewritten.newest) == 6 and OLD not in rewritten.newest


@pytest.mark.slow
def test_a_bad_render_that_was_rewritten_does_not_fail_the_gate(rewritten):
    trio = Trio(rewritten.refined, rewritten.parent, rewritten.parent)
    examined = Examined(measured(rewritten), example_report().realism)
    shards = rewritten.refined.committed()
    report, content = make_report(trio, "r1", shards, AnyValidator(), examined, None)
    assert report.num_samples == 6 and report.verdicts.num_kept == 6
    assert sum(shard.num_samples for shard in report.shards) == 9
    report, content = make_report(trio, "r1", shards, AnyValidator(), examined, GATE)
    assert report.passed and report.samples[0].num_missed == 0
    assert judged(report, GATE).passed
    rewritten.refined.store.put(verdicts_name("r1"), content)
    verdicts, _ = read_verdicts(rewritten.refined, report)
    assert verdicts.table["key"].to_pylist() == rewritten.newest
    assert all(verdicts.table["keep"].to_pylist())


@pytest.mark.slow
def test_verdicts_of_a_report_that_counted_old_samples_are_read_without_these(rewritten):
    releases.put_verdicts(rewritten.refined, {OLD: ["registration_px > 5"]}, "r1")
    raw = rewritten.refined.store.read(verdicts_name("r1"))
    report = releases.report_on(rewritten.refined, id="r1")
    report = report.model_copy(
        update={"verdicts": report.verdicts.model_copy(update={"sha256": sha256(raw)})}
    )
    verdicts, _ = read_verdicts(rewritten.refined, report)
    assert verdicts.table["key"].to_pylist() == rewritten.newest
    assert all(verdicts.table["keep"].to_pylist())


@pytest.mark.slow
def test_an_old_sample_is_never_chosen_though_its_successor_is_in_a_shard_that_is_not_read(
    rewritten,
):
    shards = rewritten.refined.committed()
    for seed in range(20):
        index, images = sample_labelled(rewritten.refined, shards, 2, seed)
        assert set(index["key"].to_pylist()) <= set(rewritten.newest), seed
        assert len(images) == len(index)


@pytest.mark.slow
def test_damage_is_measured_in_the_same_samples(rewritten, tmp_path):
    shards = tuple(rewritten.refined.committed())
    measurer = DamageMeasurer(
        rewritten.refined, rewritten.parent, shards, WITNESSES, EYE_DAMAGES, str(tmp_path), 0
    )
    damaged = measurer(damage_named("inverted"))
    assert damaged.measures["key"].to_pylist() == rewritten.newest
    assert len(damaged.is_harmed) == 6
