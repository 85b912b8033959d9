"""Nights with their real jobs: planted shards, a rotten archive, a kill, and the nights after."""

import shutil
from pathlib import Path

import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name
from factory.reading.release import Release
from factory.release.state import broken_releases, release_names
from factory.validation.withheld import withheld_shards
from support import fakes, planted
from support.job_runs import CONFIG, appeared, kill_when, run_job
from support.spoiled import damage_named, spoil

pytestmark = [pytest.mark.long, pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]
GATE = """
format_version = 1

[[limit]]
measure = "mean_abs_change.median"
at_most = 2.0
why = "what keeps a shard from being bad is tested, not the refiner"

[[sample]]
measure = "mirror_gain"
at_most = 0.0
shard_share = 0.3
why = "the image is more like its parent when it is mirrored"
"""


class Folder:
    """A folder in which nights run, with renders that arrive by and by."""

    def __init__(self, folder: Path, chain: Path):
        self.folder, self.chain = folder, chain
        self.renders = folder / "renders"
        self.renders.mkdir()
        self.refined = folder / "refined"
        (folder / "gate.toml").write_text(GATE)
        validate = CONFIG.read_text().partition("[validate]")[2]
        self.settings = folder / "night.toml"
        self.settings.write_text(f"""
[ingest]
source = "unityeyes"
input = "{self.renders}"
output = "{folder}/synthetic"
shard_size = 32

[refine]
refiner = "{chain}/run"
output = "{self.refined}"
precision = "float32"

[validate]
real = "{chain}/real"
gate = "{folder}/gate.toml"
num_realism = 60
{validate}
[night]
keep_releases = 3
""")
        self.num_arrived = 0

    def arrive(self, num: int) -> None:
        """More renders."""
        for number in range(self.num_arrived + 1, self.num_arrived + num + 1):
            for suffix in ("jpg", "json"):
                shutil.copy2(self.chain / "renders" / f"{number}.{suffix}", self.renders)
        self.num_arrived += num

    def night(self, expect: int = 0, *, on_ray: bool = False) -> str:
        """Everything that a night prints, which ends with the expected exit code."""
        return run_job("night", "--settings", self.settings, expect=expect, on_ray=on_ray)

    def ingest_and_refine(self) -> None:
        """What the first half of a night does, so that something can be planted after it."""
        for job in ("ingest", "refine"):
            further = ("--input", self.folder / "synthetic") if job == "refine" else ()
            run_job(job, "--config", self.settings, *further, on_ray=False)

    def dataset(self) -> Dataset:
        return Dataset.open(self.refined)

    def latest(self) -> Release:
        return Release(f"{self.refined}/releases/latest")

    def releases(self) -> dict[str, bytes]:
        return fakes.files_below(self.refined, "releases")

    def plant(self, shard: int) -> None:
        """Mirror the images of a shard, as a fault in its making would: all of its files agree."""
        refined = self.dataset()
        parent = Dataset.open(self.folder / "synthetic")
        bad = spoil(refined, parent, str(self.folder / "bad"), damage_named("mirrored"), 1.0,
                    shards={shard})  # fmt: skip
        refined.store.put(fakes.tar_of(bad, shard), bad.store.read(fakes.tar_of(bad, shard)))
        refined.store.put(index_name(shard), bad.store.read(index_name(shard)))


@pytest.fixture
def nights(tmp_path: Path, job_chain: Path) -> Folder:
    """A first night has released 64 renders in two shards."""
    folder = Folder(tmp_path, job_chain)
    folder.arrive(64)
    printed = folder.night()
    assert "released 64 samples in 2 shards" in printed, printed
    return folder


def test_a_planted_shard_stops_one_release_and_the_next_night_makes_it(nights: Folder) -> None:
    assert "nothing new to release: 2 shards" in nights.night()
    first, before = nights.latest().name, nights.releases()
    nights.arrive(32)
    nights.ingest_and_refine()
    nights.plant(2)
    printed = nights.night(3)
    said = printed[printed.rindex("gate failed: ") :]
    assert "no release was made; the report is" in said and "mirror_gain" in said
    assert "bad shards: 1, the worst 000002" in said
    assert "bad shards: 000002; they are withheld" in said
    after = nights.releases()
    assert {name: raw for name, raw in after.items() if "latest" not in name} == {
        name: raw for name, raw in before.items() if "latest" not in name
    }
    assert nights.latest().name == first
    assert "released 96 samples in 3 shards" in nights.night(on_ray=True)
    assert nights.latest().name == f"{first}.2" and len(nights.latest()) == 96
    assert withheld_shards(nights.dataset()) == {} and broken_releases(nights.dataset()) == []
    assert planted.verified(nights.dataset(), Dataset.open(nights.folder / "synthetic")) == []


def test_a_rotten_archive_is_named_and_a_damaged_tar_is_mended(nights: Folder) -> None:
    first = nights.latest().name
    rotten = nights.renders / "rotten.zip"
    rotten.write_bytes(b"PK\x03\x04 and no more")
    nights.arrive(32)
    printed = nights.night(1)
    said = printed[printed.rindex("error: ") :]
    assert f"the release {first}.2 was made" in said and "rotten.zip" in said
    assert len(nights.latest()) == 96
    rotten.unlink()

    tar = fakes.tar_of(nights.dataset(), 0)
    store = nights.dataset().store
    store.put(tar, planted.flipped(store.read(tar), 900))
    nights.arrive(24)
    before = nights.releases()
    printed = nights.night(1)
    said = printed[printed.rindex("error: ") :]
    assert "no release was made" in said and f"{tar} is damaged" in said
    assert nights.releases() == before
    assert "released 120 samples in 4 shards" in nights.night()
    assert nights.latest().name == f"{first}.3"
    assert broken_releases(nights.dataset()) == [], "the bytes that releases name are there again"
    assert planted.verified(nights.dataset(), Dataset.open(nights.folder / "synthetic")) == []


def test_a_night_that_was_killed_is_ended_by_the_same_command(nights: Folder) -> None:
    first = nights.latest().name
    nights.arrive(32)
    is_validated = appeared(nights.refined, "reports/*/report.json", 2)
    kill_when(is_validated, "night", "--settings", nights.settings)
    nights.night()
    names = release_names(nights.dataset())
    assert names[0] == first and nights.latest().name == names[-1] != first
    assert len(nights.latest()) == 96 and broken_releases(nights.dataset()) == []
