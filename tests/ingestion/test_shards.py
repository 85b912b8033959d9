"""Ingest as a whole: every planned input is kept, filtered or rejected, and counted once."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from factory.dataset.dataset import CardMismatchError, Dataset
from factory.dataset.known_facts import known_facts
from factory.dataset.loading import load_images, load_index
from factory.dataset.shard_tasks import ShardsFailedError, collect, run_here
from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.gaze_filter import GazeFilter, GazeWeights
from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.images.png import decode_png
from factory.ingestion.rejects import TooManyRejectsError, check_reject_share
from factory.ingestion.shards import ingest_task, ingested_card
from schemas.eye.kind import EYE
from support import fakes

OPTIONS = UnityEyesOptions()
LEFT_ONLY = UnityEyesOptions(keep=GazeFilter(gaze_yaw_deg=(0, 90)))


def facts_of(dataset: Dataset) -> tuple[int, int, int, int]:
    facts = [dataset.facts(shard) for shard in dataset.committed()]
    return tuple(
        sum(getattr(fact, f"num_{what}") for fact in facts)
        for what in ("planned", "samples", "filtered", "rejected")
    )


@pytest.fixture
def mixed(tmp_path) -> Path:
    """Ten inputs: 1..4 look left, 5..7 look right, 8..10 are malformed (9 and 10 in the gaze)."""
    for number in range(1, 11):
        label = fakes.unityeyes_label()
        x = -0.1 if number <= 4 else 0.1
        label["eye_details"]["look_vec"] = f"({x}, 0.2, -0.9747, 0)"
        image = b"no picture" if number == 8 else None
        if number >= 9:
            label["eye_details"]["look_vec"] = "(0, 0, 0, 0)"
        fakes.write_pair(tmp_path / "in", str(number), label=label, image=image, seed=number)
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("options", "counts"), [(OPTIONS, (10, 7, 0, 3)), (LEFT_ONLY, (10, 4, 4, 2))]
)
def test_planned_is_kept_and_filtered_and_rejected(mixed, tmp_path, options, counts) -> None:
    dataset = fakes.ingest_here(mixed, tmp_path / "eyes", options, shard_size=4)
    assert facts_of(dataset) == counts
    keys = [row["key"] for s in dataset.committed() for row in dataset.index(s).to_pylist()]
    for shard in dataset.committed():
        for row in dataset.rejects(shard).to_pylist():
            keys.append(row["key"])
            malformed = row["source_id"] in ("9", "10") or (
                row["source_id"] == "8" and options is OPTIONS
            )
            assert row["kind"] == ("reject" if malformed else "filtered")
            assert row["reason"]
    assert len(keys) == len(set(keys)) == 10


def test_a_key_is_the_place_in_the_plan_and_rejects_leave_gaps(mixed, tmp_path) -> None:
    dataset = fakes.ingest_here(mixed, tmp_path / "eyes", OPTIONS, shard_size=4)
    table = load_index(dataset, ["key", "source_id"])
    assert dict(zip(*table.to_pydict().values(), strict=True)) == {
        f"{(n - 1) // 4:06d}-{(n - 1) % 4:06d}": str(n) for n in range(1, 8)
    }


def test_the_reject_share_fails_the_run_and_names_the_reasons(mixed, tmp_path) -> None:
    dataset = fakes.ingest_here(mixed, tmp_path / "eyes", OPTIONS, shard_size=4)
    assert check_reject_share(dataset, known_facts(dataset), 0.3) == (7, 0, 3)
    with pytest.raises(TooManyRejectsError) as caught:
        check_reject_share(dataset, known_facts(dataset), 0.29)
    message = str(caught.value)
    assert "3 of 10 inputs" in message and "30.0%" in message and "29.0% allowed" in message
    assert (
        "2 × look_vec has length" in message
        and "1 × image does not decode (# bytes that are no whole JPEG" in message
    )
    with pytest.raises(TooManyRejectsError, match="3 of 10 inputs"):
        check_reject_share(dataset, known_facts(dataset), float("nan"))


def test_filtered_inputs_do_not_count_against_the_reject_share(mixed, tmp_path) -> None:
    dataset = fakes.ingest_here(mixed, tmp_path / "eyes", LEFT_ONLY, shard_size=4)
    with pytest.raises(TooManyRejectsError, match="2 of 6 inputs"):
        check_reject_share(dataset, known_facts(dataset), 0.3)


def test_a_run_where_everything_is_rejected_fails(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1", image=b"x")
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "eyes", OPTIONS)
    with pytest.raises(TooManyRejectsError, match="1 of 1"):
        check_reject_share(dataset, known_facts(dataset), 0.99)


@pytest.mark.slow
def test_an_input_that_was_mended_no_longer_counts_as_rejected(tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1")
    fakes.write_pair(tmp_path / "in", "2", image=b"x")
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "eyes", OPTIONS)
    with pytest.raises(TooManyRejectsError, match="1 of 2"):
        check_reject_share(dataset, known_facts(dataset), 0.05)
    fakes.write_pair(tmp_path / "in", "2")
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "eyes", OPTIONS)
    assert check_reject_share(dataset, known_facts(dataset), 0.05) == (2, 0, 1)


@pytest.mark.slow
def test_the_order_in_which_shards_are_built_changes_no_byte(renders, tmp_path) -> None:
    shards = []
    for name, order in (("a", [0, 1, 2, 3, 4]), ("b", [3, 0, 4, 2, 1])):
        dataset = fakes.plan_here(renders, tmp_path / name, OPTIONS)
        collect(run_here(ingest_task(dataset, make_source(renders, OPTIONS)), order))
        shards.append(fakes.committed_shards(dataset))
    assert shards[0] == shards[1]


@pytest.mark.slow
def test_renders_that_arrive_between_a_kill_and_the_rerun_change_nothing_planned(
    renders, synthetic, tmp_path
) -> None:
    some = tmp_path / "in"
    some.mkdir()
    names = sorted(path.name for path in renders.iterdir())
    for name in names:
        if int(name.split(".")[0]) <= 12:
            (some / name).symlink_to(renders / name)
    dataset = fakes.plan_here(some, tmp_path / "eyes", OPTIONS)
    collect(run_here(ingest_task(dataset, make_source(some, OPTIONS)), [1]))  # and killed
    for name in names:
        if not (some / name).exists():
            (some / name).symlink_to(renders / name)
    fakes.ingest_here(some, tmp_path / "eyes", OPTIONS)
    assert [dataset.plan(shard).inputs[0].id for shard in dataset.planned()] == [
        "1", "6", "11", "13", "18", "23",
    ]  # fmt: skip
    assert dataset.tar(0) == synthetic.tar(0) and dataset.tar(1) == synthetic.tar(1)


@pytest.mark.slow
def test_a_poison_shard_is_named_and_the_others_are_made(renders, tmp_path) -> None:
    """What is no fault of an input stops its shard only, through `collect`."""
    dataset = fakes.plan_here(renders, tmp_path / "eyes", OPTIONS)
    dataset.store.put("plan/000001.json", b"{}")
    task = ingest_task(dataset, make_source(renders, OPTIONS))()

    def outcomes():
        for shard in dataset.planned():
            try:
                yield task(shard)
            except ValueError as error:
                yield fakes.failed(shard, error)

    wanted = r"1 of 5 shards were set aside.*\n  shard 1: .*000001"
    with pytest.raises(ShardsFailedError, match=wanted):
        collect(outcomes())
    assert dataset.committed() == [0, 2, 3, 4]


def test_another_configuration_is_refused_with_the_difference(mixed, tmp_path) -> None:
    fakes.ingest_here(mixed, tmp_path / "eyes", OPTIONS, shard_size=4)
    other = UnityEyesOptions(crop=EyeCrop(eye_width_px=38, equalise=True))
    with pytest.raises(CardMismatchError) as caught:
        fakes.ingest_here(mixed, tmp_path / "eyes", other, shard_size=8)
    message = str(caught.value)
    assert "crop.eye_width_px: 40.0 -> 38.0" in message
    assert "crop.equalise: False -> True" in message and "shard_size: 4 -> 8" in message


@pytest.mark.slow
def test_weights_in_the_card_stay_when_more_inputs_come(mixed, tmp_path) -> None:
    weights = GazeWeights(
        yaw_edges_rad=(-1, 0, 1),
        pitch_edges_rad=(-1, 1),
        keep_probability=((0.5,), (0.5,)),
        target_sha256="0" * 64,
    )
    options = UnityEyesOptions(keep=GazeFilter(weights=weights))
    dataset = fakes.ingest_here(mixed, tmp_path / "eyes", options, shard_size=4)
    kept = set(load_index(dataset, ["source_id"])["source_id"].to_pylist())
    for number in range(11, 31):
        fakes.write_pair(mixed, str(number), seed=number)
    card = Dataset.open(tmp_path / "eyes").card
    frozen = UnityEyesOptions.model_validate(card.config["options"])
    assert frozen == options
    fakes.ingest_here(mixed, tmp_path / "eyes", frozen, shard_size=4)
    later = set(load_index(dataset, ["source_id"])["source_id"].to_pylist())
    assert kept == {id for id in later if int(id) <= 10} and len(later) > len(kept)


def test_labels_survive_json_and_index_as_float32(synthetic, renders) -> None:
    """Read by a plain JSON parser, against the source loaded afresh."""
    source = ingest_task(synthetic, make_source(renders, OPTIONS))().source
    for sample in synthetic.samples(0):
        record = orjson.loads(sample.json)
        loaded = source.load(record["source"]["id"])
        assert np.array_equal(decode_png(sample.png), loaded.image)
        for name, value in loaded.labels.items():
            if isinstance(value, (float, np.ndarray)):
                assert np.array_equal(np.float32(record[name]), np.float32(value)), name
                for number in np.ravel(record[name]).tolist():
                    assert number == float(str(np.float32(number))), "the shortest form"
            else:
                assert record[name] == value
        assert record["extra"] == loaded.extra


def test_unlabelled_pictures_carry_the_envelope_alone(tmp_path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        raw = fakes.jpeg(fakes.grey_picture(seed=number)[:36, :60])
        (tmp_path / "in" / f"{number}.jpg").write_bytes(raw)
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "real", PicturesOptions())
    assert dataset.card.kind == "real" and not dataset.card.labelled
    record = orjson.loads(next(dataset.samples(0)).json)
    assert set(record) == {
        "schema", "key", "source", "identity", "split", "crop_affine", "extra", "made",
    }  # fmt: skip
    assert load_images(dataset).shape == (3, 35, 55)


def test_mpiigaze_eyes_carry_gaze_and_null_where_the_source_knows_nothing(tmp_path) -> None:
    rng = np.random.default_rng(0)
    day = rng.integers(0, 255, (2, 36, 60), dtype=np.uint8), np.tile([0, 0, -1.0], (2, 1))
    fakes.mpiigaze_day(
        tmp_path / "in/p00/day01.mat", (*day, np.zeros((2, 3))), (*day, np.zeros((2, 3)))
    )
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "real", MpiiGazeOptions())
    rows = dataset.index(0).to_pylist()
    assert len(rows) == 4 and {row["identity"] for row in rows} == {"p00"}
    assert all(row["pupil_px"] is None and row["iris_px"] is None for row in rows)
    assert all(row["gaze"] == [0, 0, -1] for row in rows)


def test_a_card_says_what_decides_content_and_nothing_else() -> None:
    card = ingested_card(EYE, "x", make_source("", OPTIONS), shard_size=4, splits={"train": 1})
    assert set(card.config) == {"source", "options"}
    assert "workers" not in str(card.config) and "/" not in str(card.config)


@pytest.mark.slow
def test_splits_by_identity_reach_shards_and_samples(renders, tmp_path) -> None:
    splits = {"train": 0.6, "test": 0.4}
    dataset = fakes.ingest_here(renders, tmp_path / "eyes", OPTIONS, splits=splits)
    table = load_index(dataset, ["identity", "split", "shard"]).to_pylist()
    assert len(table) == 24 and {row["split"] for row in table} == set(splits)
    for what in ("identity", "shard"):
        pairs = {(row[what], row["split"]) for row in table}
        assert len(pairs) == len({value for value, _ in pairs})
    for shard in dataset.committed():
        assert {orjson.loads(s.json)["split"] for s in dataset.samples(shard)} == {
            dataset.facts(shard).split
        }
