"""What other tests do in one process, done by workers of Ray."""

import json
import shutil

import numpy as np
import pytest

from cluster.job.command import parse
from cluster.on_ray.pipeline import Workers, run_on_ray
from factory.dataset.dataset import Dataset
from factory.dataset.names import index_name
from factory.networks.refiner_files import load_refiner
from factory.refinement.card import refined_card
from factory.refinement.stages import refine_stages
from factory.release.filtered import enter_filtered, filter_task
from jobs.train import TrainJob
from jobs.train import main as train
from support import fakes, planted
from support.filtered import REPORT_ID, parts_of
from support.job_runs import run_job

pytestmark = [pytest.mark.long, pytest.mark.ray, pytest.mark.usefixtures("shared_ray")]


def test_a_filtered_release_has_the_same_shards(refined, kept, tmp_path) -> None:
    child = enter_filtered(refined, REPORT_ID, str(tmp_path / "ray"), "kept")
    outcomes = list(run_on_ray(filter_task(child, refined), refined.committed(), Workers(2)))
    assert sum(outcome.num_filtered for outcome in outcomes) == 7
    assert parts_of(child) == parts_of(kept)


def test_a_poison_shard_is_reported_and_the_others_are_made(synthetic, refiner, tmp_path) -> None:
    child = Dataset.enter(tmp_path / "child", refined_card(synthetic, refiner, "refined"))
    child.store.put_new(index_name(2), b"no index" * 1000)
    task = refine_stages(synthetic, child, refiner, batch_size=4)
    outcomes = {o.shard: o.error for o in run_on_ray(task, [0, 1, 2, 3, 4], Workers(2))}
    assert "DamagedParquetError" in outcomes.pop(2)
    assert outcomes == dict.fromkeys([0, 1, 3, 4])


def test_damage_is_found_mended_and_its_children_named(
    synthetic, renders, refiner, tmp_path
) -> None:
    dataset = planted.copied(synthetic, tmp_path / "eyes")
    child = fakes.refine_here(dataset, refiner, tmp_path / "child")
    expected = planted.content(dataset)
    planted.DAMAGE["a bit flipped in an image"][0](dataset.store, 1)
    dataset.store.put(index_name(3), b"")
    common = ("--input", dataset.location, "--workers", 1)
    printed = run_job("verify", *common, expect=1)
    assert "2 problems" in printed
    assert f"{fakes.tar_of(dataset, 1)}: is damaged" in printed
    assert "index/000003.parquet" in printed
    mend = ("repair", *common, "--source-input", renders, "--children", child.location)
    assert "add --apply" in run_job(*mend, expect=1)
    printed = run_job(*mend, "--apply", "--json")
    answer = json.JSONDecoder().raw_decode(printed, printed.index("{\n"))[0]
    assert answer["repair"]["remade"] == [1, 3] and answer["problems"] == []
    assert answer["repair"]["stale"] == [], "the same bytes, so that nothing is stale"
    assert planted.content(dataset) == expected
    shutil.rmtree(tmp_path / "child" / "shards")
    common = ("--input", child.location, "--workers", 1)
    assert "5 problems" in run_job("verify", *common, expect=1)
    mend = ("repair", *common, "--apply", "--refiner", refiner)
    assert "5 shards made again: 0–4" in run_job(*mend)


def test_a_training_has_its_refiners_scored_beside_it(split_pair, tmp_path) -> None:
    """And keeps the best; labels of the real domain decide which renders are drawn."""
    np.savez(tmp_path / "labels.npz", gaze_rad=np.random.default_rng(0).normal(0, 0.3, (200, 2)))
    options = {
        "synthetic": split_pair[0].location,
        "real": split_pair[1].location,
        "output": tmp_path / "run",
        "steps": 8,
        "batch-size": 4,
        "buffer-size": 8,
        "refiner-pretrain-steps": 2,
        "discriminator-pretrain-steps": 0,
        "refiner.maps": 4,
        "refiner.blocks": 1,
        "strip-every": 4,
        "validate-every": 8,
        "keep": "best",
        "num-held-out": 60,
        "target-labels": tmp_path / "labels.npz",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    job = parse(TrainJob, flags)
    train(job)
    scored = {path.parent.name: path for path in (tmp_path / "run").glob("scored/*/score.json")}
    assert set(scored) == {"00000008", "00000010"}
    _, described = load_refiner(tmp_path / "run")
    kept = [name for name, path in scored.items() if described.sha256 in path.read_text()]
    assert kept and described.step in [int(name) - 2 for name in kept]
    synthetic = described.lineage["synthetic"]
    assert isinstance(synthetic, dict) and synthetic["target_labels"]
    with pytest.raises(ValueError, match="no split dev"):
        train(job.model_copy(update={"held_out": "dev", "output": str(tmp_path / "other")}))
