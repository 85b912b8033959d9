"""A description says what is there, as counted here another way."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from factory import publish
from factory.dataset.commit import put_record, withdraw
from factory.dataset.dataset import Dataset
from factory.dataset.lineage import OtherParentError, lineage_of, open_parent
from factory.dataset.loading import load_index
from factory.dataset.names import index_name
from factory.domains.eye.sources.gaze_filter import GazeFilter
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion.shards import ingested_card
from factory.release.state import (
    held_by,
    read_manifest,
    release_at,
    release_state,
)
from factory.store.local import LocalStore
from factory.store.parquet import DamagedParquetError, parquet_bytes, read_columns
from factory.upkeep.describe import Description, describe
from factory.upkeep.description_text import (
    age_text,
    numbers,
    release_text,
    size_text,
    text_of,
)
from factory.upkeep.label_spread import (
    MAX_KEPT,
    QUANTILES,
    ColumnSpread,
    LabelSpread,
)
from factory.validation.withheld import withhold
from schemas.eye.kind import EYE
from support import fakes, planted, releases

pytestmark = pytest.mark.slow

OPTIONS = UnityEyesOptions()


@pytest.fixture
def dataset(synthetic, tmp_path) -> Dataset:
    """A copy that a test may change: 24 samples in shards 0..4."""
    return planted.copied(synthetic, tmp_path / "eyes")


def column(described: Description, name: str) -> ColumnSpread:
    (of_column,) = [spread for spread in described.labels if spread.column == name]
    return of_column


# --- counts -------------------------------------------------------------------------------------


def test_counts_and_sizes_are_those_on_disk(synthetic) -> None:
    described = describe(synthetic)
    root = Path(synthetic.location)
    assert (described.num_shards, described.num_planned, described.num_samples) == (5, 5, 24)
    assert described.tars_bytes == sum(p.stat().st_size for p in root.glob("shards/*.tar"))
    assert described.index_bytes == sum(p.stat().st_size for p in root.glob("index/*"))
    identities = Counter(load_index(synthetic, ["identity"])["identity"].to_pylist())
    assert described.identities == dict(identities)
    assert described.splits["train"].num_shards == 5
    assert (described.suspect, described.unreadable, described.gaps.not_committed) == ({}, {}, ())
    assert sum(described.writers.values()) == 5


def test_every_shard_is_told_once(synthetic) -> None:
    shards: list[int] = []
    describe(synthetic, on_shard=shards.append)
    assert shards == [0, 1, 2, 3, 4]


def test_ranges_are_those_that_numpy_finds(synthetic) -> None:
    described, rows = describe(synthetic), load_index(synthetic)
    for name in ("gaze_yaw_rad", "head_pitch_rad", "pupil_size", "eye_width_px", "png_length"):
        spread, values = column(described, name), rows[name].to_numpy().astype(float)
        assert spread.numbers is not None and spread.num == 24 and not spread.numbers.sampled
        assert spread.numbers.quantiles == pytest.approx(np.quantile(values, QUANTILES))
        expected = (values.min(), values.max(), values.mean())
        assert (spread.numbers.min, spread.numbers.max, spread.numbers.mean) == pytest.approx(
            expected
        )
    for index, axis in enumerate("xy"):
        points = np.array(rows["iris_px"].to_pylist())[..., index]
        spread = column(described, f"iris_px.{axis}")
        assert spread.num == points.size and spread.numbers is not None
        assert spread.numbers.mean == pytest.approx(points.mean(), rel=1e-5)
    assert column(described, "eye_side").values == dict(Counter(rows["eye_side"].to_pylist()))


def test_labels_that_no_sample_has_are_null(tmp_path) -> None:
    table = pa.table(
        {
            "pupil_px": pa.array([None, [1.0, 2.0], None], pa.list_(pa.float32(), 2)),
            "head_yaw_rad": pa.array([None] * 3, pa.float32()),
            "pupil_from": pa.array([None, "source", "source"]),
        }
    )
    spread = LabelSpread()
    spread.add(table)
    x, y, yaw, origin = spread.spreads()
    assert (x.num, x.num_null, y.numbers and y.numbers.max) == (1, 2, 2.0)
    assert (yaw.num, yaw.num_null, yaw.numbers) == (0, 3, None)
    assert (origin.values, origin.num_null) == ({"source": 2}, 1)


def test_quantiles_of_many_values_are_those_of_a_bounded_sample() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=5 * MAX_KEPT)
    spread = LabelSpread()
    for part in np.array_split(np.sort(values), 40):  # each part is of other values
        spread.add(pa.table({"a": part}))
        held = sum(map(len, spread._columns["a"]._sample._values))  # type: ignore[union-attr]
        assert held <= 2 * MAX_KEPT
    (of_column,) = spread.spreads()
    assert len(spread._columns["a"]._sample.values()) == MAX_KEPT  # type: ignore[union-attr]
    assert of_column.numbers is not None and of_column.numbers.sampled
    assert (of_column.numbers.min, of_column.numbers.max) == (values.min(), values.max())
    assert of_column.numbers.mean == pytest.approx(values.mean(), abs=1e-9)
    assert (
        np.abs(np.array(of_column.numbers.quantiles) - np.quantile(values, QUANTILES)).max() < 0.03
    )


def test_a_dataset_that_holds_nothing_is_described(tmp_path) -> None:
    card = ingested_card(
        EYE, "empty", make_source("", PicturesOptions()), shard_size=4, splits={"train": 1}
    )
    described = describe(Dataset.enter(tmp_path / "empty", card))
    assert (described.num_shards, described.num_samples, described.num_runs) == (0, 0, 0)
    assert "0 committed" in text_of(described)


# --- what is missing, rejected, damaged ---------------------------------------------------------


def test_gaps_are_named(dataset) -> None:
    dataset.store.delete(index_name(1))
    dataset.store.delete("plan/000003.json")
    dataset.store.delete(index_name(3))
    gaps = describe(dataset).gaps
    assert (gaps.not_committed, gaps.skipped) == ((1,), (3,))


def test_rejects_are_counted_by_reason(tmp_path) -> None:
    for number in range(1, 7):
        image = b"no picture" if number < 3 else None
        fakes.write_pair(tmp_path / "in", str(number), image=image, seed=number)
    fakes.write_pair(tmp_path / "in", "7", label=b"{")
    plain = describe(fakes.ingest_here(tmp_path / "in", tmp_path / "a", OPTIONS))
    assert (plain.rejects.num_rejected, plain.rejects.num_filtered) == (3, 0)
    assert sorted(plain.rejects.rejected.values()) == [1, 2] and not plain.rejects.filtered
    assert plain.gaps.num_missing_samples == 3 and plain.gaps.num_shards_with_missing == 2
    options = UnityEyesOptions(keep=GazeFilter(gaze_yaw_deg=(-50, -40)))
    narrow = describe(fakes.ingest_here(tmp_path / "in", tmp_path / "b", options))
    assert (narrow.rejects.num_filtered, narrow.rejects.num_rejected) == (6, 1)
    assert list(narrow.rejects.filtered) == ["gaze yaw outside -50..-40 deg"]
    assert "filtered" in text_of(narrow) and "gaze yaw outside" in text_of(narrow)


def test_samples_that_replace_older_ones_are_counted(tmp_path) -> None:
    for seed in (1, 2):
        fakes.write_pair(tmp_path / "in", "1", seed=seed)
        dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "eyes", OPTIONS)
    assert describe(dataset).num_superseding == 1


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("a truncated index", "cannot be read"),
        ("an empty index", "cannot be read"),
        ("a missing tar", "is missing"),
        ("a truncated tar", "has 3000 bytes"),
    ],
)
def test_damage_that_shows_does_not_stop_the_description(dataset, damage, why) -> None:
    planted.DAMAGE[damage][0](dataset.store, 2)
    described = describe(dataset)
    assert list(described.suspect) == [2] and why in described.suspect[2]
    assert described.num_shards == 5 and column(described, "gaze_yaw_rad").num in (19, 24)
    assert "DAMAGED" in text_of(described)


def test_what_cannot_be_read_is_named(child) -> None:
    child.store.put(f"reports/{releases.put_report(child)}/report.json", b"{")
    child.store.put("releases/r1/manifest.json", b"{")
    child.store.put("runs/x/config.json", b"{")
    assert list(describe(child).unreadable) == [
        "reports/20261121-000000-aaaa/report.json",
        "releases/r1/manifest.json",
        "runs/x/config.json",
    ]


# --- lineage, reports, releases -----------------------------------------------------------------


def test_the_chain_of_parents_is_followed(child, dataset, refiner) -> None:
    own, parent = describe(child).lineage
    assert (own.reach, parent.reach, parent.location) == ("this", "there", dataset.location)
    assert own.made_by == f"refiner {child.card.refiner.sha256}"
    assert (parent.made_by, parent.card) == ("source unityeyes", dataset.card.digest())
    shutil.move(dataset.location, f"{dataset.location}-moved")
    assert [a.reach for a in lineage_of(child)] == ["this", "not there"]
    assert open_parent(child, f"{dataset.location}-moved").card == dataset.card
    other = ingested_card(EYE, "other", make_source("", OPTIONS), shard_size=7, splits={"train": 1})
    Dataset.enter(dataset.location, other)
    assert [a.reach for a in lineage_of(child)] == ["this", "another dataset"]
    with pytest.raises(OtherParentError, match="--parent"):
        open_parent(child)


def test_a_child_lacks_what_its_parent_has_more(child, dataset, tmp_path) -> None:
    child.store.delete(index_name(4))
    assert describe(child).gaps.not_committed == (4,) and describe(child).num_planned is None
    shutil.move(dataset.location, tmp_path / "moved")
    assert describe(child).gaps.not_committed == ()
    assert describe(child, parent=str(tmp_path / "moved")).gaps.not_committed == (4,)


def test_reports_and_releases_say_whether_they_hold(child) -> None:
    manifest = releases.release(child)
    described = describe(child)
    (report,), (release,) = described.reports, described.releases
    assert (report.id, report.passed, report.of_present_shards) == (
        manifest.report_id,
        True,
        True,
    )
    assert release.broken == () and release.num_samples == 24 and release.num_shards == 5
    withdraw(child, 2, 1, "a test")
    described = describe(child)
    assert described.releases[0].broken == () and described.releases[0].held_back_bytes
    assert not described.reports[0].of_present_shards
    assert "holds back" in text_of(described)
    child.store.delete(fakes.tar_of(child, 2))
    described = describe(child)
    assert described.releases[0].broken == ("shard 2 has lost its tar",)
    assert "BROKEN" in text_of(described)


def test_a_release_is_found_by_its_location(child) -> None:
    releases.release(child, "2026-11-21")
    for suffix in ("", "/", "/manifest.json"):
        location = f"{child.location}/releases/2026-11-21{suffix}"
        assert release_at(location) == (child.location, "2026-11-21")
    assert release_at("s3://b/p/releases/r1") == ("s3://b/p", "r1")
    assert release_at(child.location) is None
    manifest = read_manifest(child, "2026-11-21")
    state = release_state(child, manifest, held_by(child))
    text = release_text(state, child.location)
    assert "24 (train 24)" in text and "5: 0–4" in text and "whole" in text
    with pytest.raises(FileNotFoundError, match="has no release 'x'"):
        read_manifest(child, "x")


def test_the_text_names_all_that_was_counted(child) -> None:
    text = text_of(describe(child))
    parts = ("24", "refined eye images", "35×55", "by refiner", "source unityeyes", "in degrees")
    assert [part for part in parts if part not in text] == []
    table = text[text.index("labels ") :].split("\n\n")[0].splitlines()
    rows = [line for line in table if line.startswith(("labels", "gaze", "iris_size"))]
    assert len(rows) == 7 and len({len(row) for row in rows}) == 1, "aligned"


def test_a_description_is_one_json_object_that_reads_back(child) -> None:
    described = describe(child)
    again = Description.model_validate_json(json.dumps(described.model_dump(mode="json")))
    assert again == described


@pytest.mark.parametrize(
    ("given", "shown"),
    [([], ""), ([3], "3"), ([2, 1, 0, 7, 9, 10], "0–2, 7, 9–10"),
     (range(0, 60, 2), "0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22 and 18 more")],
)  # fmt: skip
def test_numbers_are_shown_as_runs(given, shown) -> None:
    assert numbers(given) == shown


def test_sizes_and_ages_are_short() -> None:
    assert [size_text(n) for n in (0, 999, 1500, 2_340_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.34 MB",
    ]
    assert [age_text(s) for s in (-1, 90, 300, 8000, 200_000)] == [
        "0 s", "90 s", "5 min", "2 h", "2 d"
    ]  # fmt: skip


# --- reading in parts ---------------------------------------------------------------------------


class CountingStore(LocalStore):
    """Counts the bytes that are read."""

    num_read = 0

    def read(self, name: str) -> bytes:
        self.num_read += self.size(name) or 0
        return super().read(name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.num_read += length
        return super().read_range(name, offset, length)


def test_only_the_columns_asked_for_are_read(tmp_path) -> None:
    store, rng = CountingStore(tmp_path), np.random.default_rng(0)
    table = pa.table(
        {
            "extra": [rng.bytes(60).hex() for _ in range(20_000)],
            "yaw": rng.normal(size=20_000),
            "more": [rng.bytes(60).hex() for _ in range(20_000)],
        }
    )
    raw = parquet_bytes(table)
    store.put("index/000000.parquet", raw)
    rows, _ = read_columns(store, "index/000000.parquet", len(raw), ["yaw"])
    assert rows["yaw"].equals(table["yaw"])
    assert store.num_read < len(raw) / 5
    with pytest.raises(DamagedParquetError, match="has no column nose"):
        read_columns(store, "index/000000.parquet", len(raw), ["nose"])


def test_described_the_same_in_every_kind_of_store(synthetic, any_location) -> None:
    in_store = describe(planted.copied(synthetic, any_location))
    here = describe(synthetic)
    places = {"location": "", "lineage": (), "runs": (), "num_runs": 0}
    assert in_store.model_copy(update=places) == here.model_copy(update=places)


def test_the_latest_release_and_withheld_shards_are_shown(refined) -> None:
    publish(refined, "r1")
    report = releases.report_on(refined)
    assert withhold(refined, {3: "turn_deg > 5: 5 of 5 samples"}, report) == [3]
    rows, facts = refined.index_and_facts_in(3, 1)
    assert put_record(refined, rows, facts.model_copy(update={"generation": 3}))
    lines = text_of(describe(refined)).splitlines()
    (latest,) = [line for line in lines if line.startswith("latest")]
    assert latest.split()[1] == "r1," and "published 20" in latest
    (withheld,) = [line for line in lines if line.startswith("withheld")]
    assert "shard 3, since 20" in withheld and withheld.endswith("turn_deg > 5: 5 of 5 samples")
    refined.store.put("releases/latest.json", b"{}")
    assert "releases/latest.json" in describe(refined).unreadable
