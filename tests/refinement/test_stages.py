"""Refining: same keys, same labels, new pixels, made once."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from factory.dataset.dataset import CardMismatchError, Dataset
from factory.dataset.inspection import Expected, inspect_tar
from factory.dataset.lineage import StaleShardsError
from factory.dataset.loading import load_images, load_index
from factory.dataset.shard_tasks import run_here
from factory.dataset.tar import DamagedShardError
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.domains.registry import make_source
from factory.ingestion.shards import ingested_card
from factory.networks.refiner_files import load_refiner
from factory.refinement.card import refined_card
from factory.refinement.engines.eager import TorchEngine
from factory.refinement.shards import missing_shards
from factory.refinement.stages import refine_stages
from support import fakes

pytestmark = pytest.mark.slow

OPTIONS = UnityEyesOptions()


@pytest.fixture
def refined(synthetic, refiner, tmp_path) -> Dataset:
    return fakes.refine_here(synthetic, refiner, tmp_path / "refined")


@pytest.fixture
def own_parent(renders, tmp_path) -> Dataset:
    """A parent that a test may change."""
    return fakes.ingest_here(renders, tmp_path / "parent", OPTIONS)


def published(dataset: Dataset) -> dict[int, fakes.SeenShard]:
    return fakes.committed_shards(dataset)


def test_labels_are_the_parents_bytes_with_refined_added(synthetic, refined, refiner) -> None:
    sha = load_refiner(refiner)[1].sha256
    assert refined.committed() == synthetic.committed()
    for shard in synthetic.committed():
        pairs = zip(synthetic.samples(shard), refined.samples(shard), strict=True)
        for before, after in pairs:
            assert after.key == before.key
            added = {"refiner": sha, "parent": synthetic.facts(shard).tar_sha256}
            assert after.json == before.json[:-1] + b',"refined":' + orjson.dumps(added) + b"}"


def test_index_columns_are_the_parents_but_for_places_and_pixels(synthetic, refined) -> None:
    own = ("png_sha256", "png_offset", "png_length", "json_offset", "json_length")
    assert load_index(synthetic).drop(own).equals(load_index(refined).drop(own))


def test_a_tar_of_checked_labels_has_the_rows_that_checking_them_gives(synthetic, refined) -> None:
    expected = Expected.of_rows(
        synthetic.index(0, ["key", "supersedes"]),
        shard=0,
        split=refined.facts(0).split,
        parent_sha256=refined.facts(0).parent_sha256,
        refined_from=refined.facts(0).parent_sha256,
    )
    tar, samples = refined.store.read(fakes.tar_of(refined, 0)), list(refined.samples(0))
    checked = inspect_tar(refined, expected, tar, where="checked")
    known = inspect_tar(refined, expected, tar, where="known", packed=samples)
    assert known.equals(checked)
    last = samples[-1]
    for others in (
        samples[:-1],
        [*samples[1:], samples[0]],
        [*samples[:-1], replace(last, json=last.json + b" ")],
        [*samples[:-1], replace(last, png=samples[0].png)],
    ):
        with pytest.raises(DamagedShardError, match="is not what was packed"):
            inspect_tar(refined, expected, tar, where="other", packed=others)


def test_pixels_are_those_that_the_network_makes(synthetic, refined, refiner) -> None:
    before = load_images(synthetic)
    network = load_refiner(refiner)[0]
    with torch.inference_mode():
        x = torch.from_numpy(before[:, None].astype(np.float32) / 127.5 - 1)
        expected = ((network(x)[:, 0].numpy() + 1) * 127.5).round().clip(0, 255)
    after = load_images(refined)
    assert np.abs(after - expected).max() <= 1
    assert np.abs(after.astype(int) - before).mean() > 5, "this refiner does change images"


def test_batch_size_changes_only_rounding(synthetic, refiner) -> None:
    images = load_images(synthetic)
    network = load_refiner(refiner)[0]
    by_batch = [
        TorchEngine(network, batch_size=size)(images).astype(int) for size in (1, 5, 24, 64)
    ]
    assert all(np.abs(other - by_batch[0]).max() <= 1 for other in by_batch[1:])


def test_a_rerun_makes_nothing(synthetic, refined, refiner) -> None:
    before = published(refined)
    assert missing_shards(synthetic, refined) == []
    fakes.refine_here(synthetic, refiner, Path(refined.location))
    assert published(refined) == before


def test_whatever_the_order_of_the_shards_they_are_the_same(synthetic, refiner, tmp_path) -> None:
    first = fakes.refine_here(synthetic, refiner, tmp_path / "a")
    second = fakes.refine_here(synthetic, refiner, tmp_path / "b", seed=3)
    assert published(first) == published(second)


def test_a_refining_that_stopped_goes_on_where_it_was(synthetic, refiner, tmp_path) -> None:
    undisturbed = fakes.refine_here(synthetic, refiner, tmp_path / "whole")
    card = refined_card(synthetic, refiner, "refined")
    child = Dataset.enter(tmp_path / "child", card)
    task = refine_stages(synthetic, child, refiner, batch_size=4)
    assert [outcome.shard for outcome in run_here(task, [3, 1])] == [3, 1]
    assert missing_shards(synthetic, child) == [0, 2, 4]
    fakes.refine_here(synthetic, refiner, tmp_path / "child")
    assert published(child) == published(undisturbed)


def test_new_parent_shards_are_refined_and_old_ones_stay(renders, refiner, tmp_path) -> None:
    some = tmp_path / "in"
    some.mkdir()
    names = sorted(renders.iterdir(), key=lambda path: int(path.stem))
    for path in names[:20]:
        shutil.copy2(path, some)
    parent = fakes.ingest_here(some, tmp_path / "parent", OPTIONS)
    child = fakes.refine_here(parent, refiner, tmp_path / "child")
    before = published(child)
    for path in names[20:]:
        shutil.copy2(path, some)
    fakes.ingest_here(some, tmp_path / "parent", OPTIONS)
    fakes.refine_here(parent, refiner, tmp_path / "child")
    assert child.committed() == parent.committed() == [0, 1, 2, 3, 4]
    assert before.items() < published(child).items()


def test_an_empty_parent_shard_becomes_an_empty_shard(refiner, tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1", image=b"x")
    parent = fakes.ingest_here(tmp_path / "in", tmp_path / "parent", OPTIONS)
    child = fakes.refine_here(parent, refiner, tmp_path / "child")
    assert child.committed() == [0] and child.facts(0).num_samples == 0
    assert list(child.samples(0)) == []


def test_what_a_sample_supersedes_is_carried_over(refiner, tmp_path) -> None:
    fakes.write_pair(tmp_path / "in", "1", seed=1)
    parent = fakes.ingest_here(tmp_path / "in", tmp_path / "parent", OPTIONS)
    fakes.write_pair(tmp_path / "in", "1", seed=2)
    fakes.ingest_here(tmp_path / "in", tmp_path / "parent", OPTIONS)
    child = fakes.refine_here(parent, refiner, tmp_path / "child")
    assert child.index(1)["supersedes"].to_pylist() == ["000000-000000"]


def remake(parent: Dataset, renders: Path, shard: int) -> None:
    """Withdraw a shard and make it again from a changed render."""
    for folder, suffix in (("index", "parquet"), ("shards", "tar"), ("rejected", "parquet")):
        parent.store.delete(f"{folder}/{shard:06d}.{suffix}")
    fakes.build_here(parent, renders, OPTIONS)


def test_shards_of_a_parent_that_changed_are_refused_by_number(
    own_parent, renders, refiner, tmp_path
) -> None:
    child = fakes.refine_here(own_parent, refiner, tmp_path / "child")
    changed = tmp_path / "changed"
    shutil.copytree(renders, changed)
    (changed / "7.jpg").write_bytes((renders / "8.jpg").read_bytes())
    remake(own_parent, changed, 1)
    with pytest.raises(StaleShardsError, match=r"shards \[1\] were refined from versions"):
        missing_shards(own_parent, child)


def test_a_parent_shard_that_is_gone_is_noticed(own_parent, refiner, tmp_path) -> None:
    child = fakes.refine_here(own_parent, refiner, tmp_path / "child")
    own_parent.store.delete("index/000002.parquet")
    with pytest.raises(StaleShardsError, match=r"\[2\]"):
        missing_shards(own_parent, child)


def test_a_damaged_parent_shard_is_not_refined(own_parent, refiner, tmp_path) -> None:
    path = Path(own_parent.location) / fakes.tar_of(own_parent, 0)
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DamagedShardError, match=r"000000-1-\S+\.tar is damaged"):
        fakes.refine_here(own_parent, refiner, tmp_path / "child")


def test_another_refiner_is_refused_with_the_difference(synthetic, refined, tmp_path) -> None:
    other = fakes.save_tiny_refiner(tmp_path / "other", seed=2)
    with pytest.raises(CardMismatchError) as caught:
        fakes.refine_here(synthetic, other, Path(refined.location))
    recorded, asked = refined.card.refiner.sha256, load_refiner(other)[1].sha256
    assert f"refiner.sha256: '{recorded[:50]}" in str(caught.value)
    assert f"-> '{asked[:50]}" in str(caught.value)


def test_another_parent_is_refused(synthetic, refined, refiner, renders, tmp_path) -> None:
    other = fakes.ingest_here(renders, tmp_path / "other", OPTIONS, shard_size=6)
    with pytest.raises(CardMismatchError, match=r"parent\.card"):
        fakes.refine_here(other, refiner, Path(refined.location))


def test_a_parent_that_moved_is_the_same_parent(synthetic, refined, refiner, tmp_path) -> None:
    shutil.copytree(synthetic.location, tmp_path / "moved")
    moved = Dataset.open(tmp_path / "moved")
    fakes.refine_here(moved, refiner, Path(refined.location))


def test_a_refiner_that_changes_during_the_job_stops_the_worker(
    synthetic, refiner, tmp_path
) -> None:
    child = Dataset.enter(tmp_path / "child", refined_card(synthetic, refiner, "x"))
    task = refine_stages(synthetic, child, refiner, batch_size=4)
    fakes.save_tiny_refiner(refiner, seed=9)
    with pytest.raises(ValueError, match="changed while the job ran"):
        list(run_here(task, [0]))
    assert child.committed() == []


def test_only_synthetic_datasets_are_refined(refined, refiner, tmp_path) -> None:
    with pytest.raises(ValueError, match="refined dataset; refine reads synthetic ones"):
        refined_card(refined, refiner, "x")
    card = ingested_card(
        refined.sample_kind,
        "x",
        make_source("", PicturesOptions()),
        shard_size=4,
        splits={"train": 1},
    )
    real = Dataset.enter(tmp_path / "real", card)
    with pytest.raises(ValueError, match="real dataset; refine reads synthetic ones"):
        refined_card(real, refiner, "x")


@pytest.mark.ray
def test_three_ray_workers_write_the_shards_that_one_process_writes(
    shared_ray, synthetic, refiner, tmp_path
) -> None:
    from cluster.on_ray.pipeline import Workers, run_on_ray

    expected = published(fakes.refine_here(synthetic, refiner, tmp_path / "here"))
    child = Dataset.enter(tmp_path / "child", refined_card(synthetic, refiner, "refined"))
    task = refine_stages(synthetic, child, refiner, batch_size=4)
    outcomes = list(run_on_ray(task, missing_shards(synthetic, child), Workers(3)))
    assert sorted(outcome.shard for outcome in outcomes) == [0, 1, 2, 3, 4]
    assert all(outcome.error is None for outcome in outcomes)
    assert published(child) == expected


def test_a_refiner_with_noise_makes_several_datasets_of_one(synthetic, tmp_path) -> None:
    refiner = fakes.save_tiny_refiner(tmp_path / "noisy", 3, noise_channels=2)
    made = {
        seed: fakes.refine_here(synthetic, refiner, tmp_path / f"seed-{seed}", noise_seed=seed)
        for seed in (None, 0, 1)
    }
    assert made[None].card.config_digest == made[0].card.config_digest
    assert made[None].card.config["noise_seed"] == 0
    pixels = {seed: load_images(dataset).astype(int) for seed, dataset in made.items()}
    assert np.array_equal(pixels[None], pixels[0])
    assert (np.abs(pixels[1] - pixels[0]).mean(axis=(1, 2)) > 1).all()
    with pytest.raises(CardMismatchError, match="noise_seed"):
        fakes.refine_here(synthetic, refiner, tmp_path / "seed-0", noise_seed=5)


def test_a_seed_without_noise_is_refused(synthetic, refiner, tmp_path) -> None:
    with pytest.raises(ValueError, match="has no noise"):
        fakes.refine_here(synthetic, refiner, tmp_path / "x", noise_seed=1)
