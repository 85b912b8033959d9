"""Measurements: one row for every sample, taken up again, the same however shards are cut."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset.columns import values_of
from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import collect, run_here
from factory.domains.eye.measures import EyeMeasurer, EyeWitnesses
from factory.domains.eye.pupil.calibration import shifted
from factory.domains.eye.pupil.finder import PupilFinder
from factory.store.parquet import parquet_bytes
from factory.validation.shard_measures import (
    measure_task,
    measures_name,
    not_measured,
    read_measures,
)
from schemas.eye.measures import EYE_MEASURES, EYE_MEASURES_SCHEMA
from support.networks import saved_landmarks

WITNESSES = EyeWitnesses(finder=PupilFinder())


@pytest.fixture
def pair(child, dataset) -> tuple[Dataset, Dataset]:
    """A refined dataset of two shards of three samples, and its parent."""
    return child, dataset


def measure(refined: Dataset, parent: Dataset, shards: list[int], witnesses=WITNESSES) -> pa.Table:
    collect(run_here(measure_task(refined, parent, witnesses), shards))
    return read_measures(refined, shards, witnesses)


def test_every_sample_has_one_row_in_order_of_key(pair):
    refined, parent = pair
    table = measure(refined, parent, refined.committed())
    keys = [key for shard in refined.committed() for key in refined.index(shard)["key"].to_pylist()]
    assert table["key"].to_pylist() == keys and len(keys) == 6
    stored = table.drop_columns(["agreed_drift_px"])
    assert stored.schema.equals(EYE_MEASURES_SCHEMA)
    both = values_of(table, "registration_px") * values_of(table, "iris_registration_px")
    assert values_of(table, "agreed_drift_px") == pytest.approx(np.sqrt(both), rel=1e-4)


def test_measured_shards_are_not_measured_again(pair):
    refined, parent = pair
    assert not_measured(refined, parent, [0, 1], WITNESSES) == [0, 1]
    measure(refined, parent, [1])
    assert not_measured(refined, parent, [0, 1], WITNESSES) == [0]
    other = EyeWitnesses(finder=PupilFinder(min_score=0.4))
    assert not_measured(refined, parent, [0, 1], other) == [0, 1]
    moved = WITNESSES.model_copy(update={"landmarks": "/elsewhere"})
    assert not_measured(refined, parent, [0, 1], moved) == [0]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["damaged", "of other bytes", "missing"])
def test_measurements_that_are_not_of_these_bytes_are_made_again(pair, harm):
    refined, parent = pair
    measure(refined, parent, [0, 1])
    name = measures_name(WITNESSES.digest(), 1)
    if harm == "damaged":
        refined.store.put(name, refined.store.read(name)[:-40])
    elif harm == "of other bytes":
        refined.store.put(name, refined.store.read(measures_name(WITNESSES.digest(), 0)))
    else:
        refined.store.delete(name)
    assert not_measured(refined, parent, [0, 1], WITNESSES) == [1]


def test_a_table_without_the_newest_columns_is_read_as_not_measured(pair):
    refined, parent = pair
    complete = measure(refined, parent, [0, 1])
    name = measures_name(WITNESSES.digest(), 1)
    stored = pq.read_table(pa.BufferReader(refined.store.read(name)))
    newest = ["turn_deg", "iris_in_lids_px", "block_trace"]
    refined.store.put(name, parquet_bytes(stored.drop_columns(newest)))
    read = read_measures(refined, [0, 1], WITNESSES)
    assert read.schema.equals(complete.schema)
    for column in read.column_names:
        expected = complete[column].slice(0, 3) if column in newest else complete[column]
        assert read[column].slice(0, len(expected)).equals(expected), column
    assert all(read[column].null_count >= 3 for column in newest)


@pytest.mark.slow
def test_order_and_partition_of_the_work_change_nothing(pair):
    refined, parent = pair
    forwards = measure(refined, parent, [0, 1])
    for shard in (0, 1):
        refined.store.delete(measures_name(WITNESSES.digest(), shard))
    measure(refined, parent, [1])
    measure(refined, parent, [0])
    assert read_measures(refined, [0, 1], WITNESSES).equals(forwards)


def test_an_identical_pair_has_moved_nowhere_and_changed_nothing(synthetic):
    rows, images = synthetic.index(0), synthetic.images(0)
    table = EyeMeasurer(WITNESSES)(rows, images, images)
    for name in ("registration_px", "mean_abs_change"):
        assert values_of(table, name) == pytest.approx(0, abs=0.05)
    assert values_of(table, "likeness") == pytest.approx(1)
    assert values_of(table, "sharpness_ratio") == pytest.approx(1)
    drift = values_of(table, "pupil_drift_px")
    assert (drift[np.isfinite(drift)] == 0).all()


@pytest.mark.slow
def test_what_moved_is_measured_by_all_classical_witnesses(all_eyes):
    rows, images = all_eyes
    moved = shifted(images, np.full((len(images), 2), (1.2, -1.6)))
    table = EyeMeasurer(WITNESSES)(rows, images, moved)
    for name in ("pupil_drift_px", "registration_px", "iris_registration_px"):
        drift = values_of(table, name)
        assert np.nanmedian(drift) == pytest.approx(2.0, abs=0.2), name


def test_without_networks_their_columns_are_null_and_no_others(synthetic):
    table = EyeMeasurer(WITNESSES)(synthetic.index(0), synthetic.images(0), synthetic.images(0))
    networks = {"iris_drift_px", "lid_drift_px", "iris_error_px", "lid_error_px"}
    networks |= {"gaze_drift_deg", "gaze_error_deg", "opening_ratio"}
    networks |= {"mediapipe_drift_px", "mediapipe_error_px"}
    for field in EYE_MEASURES:
        if field.name in networks:
            assert table[field.name].null_count == len(table)
    assert table["mean_abs_change"].null_count == 0


def test_the_landmark_network_is_asked_about_both_images(synthetic, tmp_path):
    location = saved_landmarks(synthetic, tmp_path / "landmarks")
    witnesses = EyeWitnesses.of(PupilFinder(), location, None, synthetic.card.image)
    rows, images = synthetic.index(0), synthetic.images(0)
    same = EyeMeasurer(witnesses, with_pupil=False)(rows, images, images)
    other = EyeMeasurer(witnesses, with_pupil=False)(rows, images, 255 - images)
    assert values_of(same, "iris_drift_px") == pytest.approx(0)
    assert (values_of(other, "iris_drift_px") > 0).all()
    assert (values_of(same, "iris_error_px") > 0).all()
    assert same["pupil_drift_px"].null_count == len(same)


def test_a_network_that_changed_meanwhile_is_refused(synthetic, tmp_path):
    location = saved_landmarks(synthetic, tmp_path / "landmarks")
    witnesses = EyeWitnesses.of(PupilFinder(), location, None, synthetic.card.image)
    saved_landmarks(synthetic, tmp_path / "landmarks", seed=5)
    images = synthetic.images(0)
    with pytest.raises(ValueError, match="changed while the job ran"):
        EyeMeasurer(witnesses, with_pupil=False)(synthetic.index(0), images, images)


def test_networks_for_other_images_are_refused_before_any_work(synthetic, tmp_path):
    location = saved_landmarks(synthetic, tmp_path / "landmarks")
    with pytest.raises(ValueError, match="is for"):
        EyeWitnesses.of(
            PupilFinder(), location, None, synthetic.card.image.model_copy(update={"height": 36})
        )
    with pytest.raises(FileNotFoundError, match=r"jobs/estimator\.py landmarks"):
        EyeWitnesses.of(PupilFinder(), str(tmp_path / "none"), None, synthetic.card.image)


def test_rows_and_images_must_be_as_many(synthetic):
    images = synthetic.images(0)
    with pytest.raises(ValueError, match="5 rows, 4 parent"):
        EyeMeasurer(WITNESSES)(synthetic.index(0), images[:4], images)
    nothing = EyeMeasurer(WITNESSES)(synthetic.index(0).slice(0, 0), images[:0], images[:0])
    assert len(nothing) == 0 and nothing.schema.equals(EYE_MEASURES_SCHEMA)


@pytest.fixture(scope="module")
def all_eyes(synthetic) -> tuple[pa.Table, np.ndarray]:
    """The labels and images of all built-in eyes of the session."""
    shards = synthetic.committed()
    rows = pa.concat_tables(synthetic.index(s).replace_schema_metadata() for s in shards)
    return rows, np.concatenate([synthetic.images(s) for s in shards])
