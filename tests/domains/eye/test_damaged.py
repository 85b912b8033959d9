"""A damaged dataset is measured as validation measures, once; another run goes on from there."""

from dataclasses import replace

import numpy as np
import pytest

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.domains.eye.damage.measuring import EYE_DAMAGES
from factory.domains.eye.measures import EyeWitnesses
from factory.domains.eye.pupil.finder import PupilFinder
from factory.store.open import open_store
from factory.validation.power.damaged import DamageMeasurer
from factory.validation.shard_measures import ShardMeasurer, read_measures
from support import fakes
from support.spoiled import damage_named

WITNESSES = EyeWitnesses(finder=PupilFinder())


@pytest.fixture(scope="module")
def refined(synthetic, tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("mild")
    return fakes.refine_here(synthetic, fakes.save_mild_refiner(folder / "run"), folder / "refined")


@pytest.fixture
def measurer(refined, synthetic, tmp_path) -> DamageMeasurer:
    return DamageMeasurer(
        refined, synthetic, (0, 1), WITNESSES, EYE_DAMAGES, str(tmp_path / "out"), 3
    )


def clean(refined: Dataset, parent: Dataset):
    for shard in (0, 1):
        ShardMeasurer(refined, parent, WITNESSES.measurer())(shard)
    return read_measures(refined, (0, 1), WITNESSES)


@pytest.mark.slow
def test_rows_are_those_of_the_clean_table_with_the_damage_in_all(measurer, refined, synthetic):
    damaged = measurer(damage_named("shift 3 px"))
    usual = clean(refined, synthetic)
    for column in ("key", "identity", "pupil_parent_x_px", "gaze_yaw_rad"):
        assert damaged.measures[column].equals(usual[column])
    assert damaged.is_harmed.all() and len(damaged.measures) == 10
    moved = values_of(damaged.measures, "registration_px") - values_of(usual, "registration_px")
    assert np.median(moved) == pytest.approx(3, abs=0.2)


@pytest.mark.slow
def test_what_was_measured_is_not_measured_again(measurer):
    first = measurer(damage_named("inverted"))
    store = open_store(measurer.output)
    names = [entry.name for entry in store.walk("damaged")]
    assert len(names) == 1
    written = store.read(names[0])
    assert replace(measurer)(damage_named("inverted")).measures.equals(first.measures)
    assert store.read(names[0]) == written
    replace(measurer, seed=measurer.seed + 1)(damage_named("inverted"))
    assert len([entry.name for entry in store.walk("damaged")]) == 2


@pytest.mark.slow
def test_swapped_labels_count_where_the_gazes_are_far_apart(measurer, refined):
    damaged = measurer(damage_named("labels_swapped"))
    assert 0 < damaged.is_harmed.sum() < len(damaged.is_harmed)
    labels = values_of(damaged.measures, "gaze_yaw_rad")
    usual = np.concatenate([values_of(refined.index(s), "gaze_yaw_rad") for s in (0, 1)])
    assert sorted(labels) == pytest.approx(sorted(usual))
    assert not np.allclose(labels, usual)
