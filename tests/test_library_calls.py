"""Calls of the library beside those of docs/library.md: mistakes, and what a call leaves as it was.

What the functions make is what the jobs make, which tests/jobs looks at.
"""

import logging
from pathlib import Path

import pytest

from factory import ingest, publish, refine, train, validate
from factory.dataset.dataset import Dataset
from factory.dataset.kinds import known_kinds
from factory.domains.eye.options import EyeIngestOptions
from factory.domains.hand.options import HandIngestOptions
from factory.domains.registry import known_domains
from factory.store import lease as leases
from factory.store.lease import lease
from factory.store.open import open_store
from factory.training.config import TrainConfig
from schemas.base import FormatError
from support import fakes
from support.coins import COIN_DOMAIN, strike


@pytest.fixture
def out(tmp_path) -> Path:
    """Where a call that is refused must not write."""
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"source": "unityeye"}, FormatError, "known: .*unityeyes"),
        ({"options": {"crops": {}}}, ValueError, "crops"),
        ({"options": {"keep_gaze_yaw_deg": (5, -5)}}, ValueError, "gaze_yaw_deg must be"),
        ({"options": HandIngestOptions()}, ValueError, "which are EyeIngestOptions"),
        ({"splits": {"train": 0.5}}, ValueError, "sum to 1"),
        ({"splits": {}}, ValueError, "sum to 1"),
        ({"shard_size": 0}, ValueError, "shard_size"),
    ],
)
def test_an_ingest_with_a_mistake_leaves_no_trace(six_inputs, out, given, error, words) -> None:
    with pytest.raises(error, match=words):
        ingest(six_inputs, **{"source": "unityeyes", "output": out, **given})
    assert not out.exists()


def test_an_input_that_is_not_there_leaves_no_trace(tmp_path, out) -> None:
    with pytest.raises(OSError, match="nowhere"):
        ingest(tmp_path / "nowhere", source="unityeyes", output=out)
    assert not out.exists()


@pytest.mark.slow
def test_options_mean_the_same_as_a_mapping_and_as_a_model(six_inputs, tmp_path) -> None:
    fields = {"crop": {"equalise": True}, "corner_error_px": 0.5}
    given = {"source": "unityeyes", "max_reject_share": 1.0}
    mapped = ingest(six_inputs, output=tmp_path / "a", options=fields, **given)
    model = EyeIngestOptions.model_validate(fields)
    modelled = ingest(six_inputs, output=tmp_path / "b", options=model, **given)
    assert mapped.card.config == modelled.card.config
    assert fakes.committed_shards(mapped) == fakes.committed_shards(modelled) != {}


def test_an_option_that_the_source_has_no_use_for_is_named(six_inputs, out, caplog) -> None:
    options = {"keep_opening": (0.1, 0.2)}
    with caplog.at_level(logging.WARNING):
        ingest(six_inputs, source="images", output=out, options=options, max_reject_share=1)
    assert "--keep-opening is ignored: the source images does not use this" in caplog.text


def test_a_domain_without_options_takes_those_of_its_source(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(known_domains(), "coin", COIN_DOMAIN)
    monkeypatch.setitem(known_kinds(), "coin", COIN_DOMAIN.sample_kind)
    folder = strike(tmp_path / "coins", 4, camera=True, seed=1)
    (source,) = COIN_DOMAIN.sources()
    photos = ingest(folder, source=source.name, output=tmp_path / "a", options={"kind": "real"})
    as_text = ingest(folder, source=source.name, output=tmp_path / "b", texts={"kind": "real"})
    assert photos.card.kind == as_text.card.kind == "real"
    with pytest.raises(ValueError, match="kind"):
        ingest(folder, source=source.name, output=tmp_path / "c", options={"kind": "drawn"})


def test_a_call_beside_another_run_says_that_nothing_was_done(
    six_inputs, tmp_path, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(leases, "LOOK_EVERY_S", 0.02)
    with lease(open_store(tmp_path / "eyes"), "ingest", ttl_s=2):
        given = {"source": "unityeyes", "output": tmp_path / "eyes", "max_reject_share": 1.0}
        assert ingest(six_inputs, **given).committed() == []
        assert "nothing was done" in caplog.text
        assert ingest(six_inputs, **given, overlap=True).committed() == [0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"engine": "tensorrt"}, "engine 'tensorrt': expected one of auto, torch"),
        ({"device": "gpu"}, "device 'gpu': expected one of cpu, cuda"),
        ({"batch_size": 0}, "batch_size must be positive, is 0"),
        ({"noise_seed": 1}, "has no noise"),
    ],
)
def test_a_refine_with_a_mistake_leaves_no_trace(two_shards, refiner, out, given, words) -> None:
    with pytest.raises(ValueError, match=words):
        refine(two_shards, refiner=refiner, output=out, **given)
    assert not out.exists()


@pytest.mark.slow
def test_a_refine_leaves_the_threads_of_its_process_as_they_were(dataset, refiner, out) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        child = refine(dataset.location, refiner=refiner, output=out, precision="float32")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert child.committed() == dataset.committed()
    expected = fakes.refine_here(dataset, refiner, out.parent / "expected")
    assert fakes.committed_shards(child) == fakes.committed_shards(expected)


@pytest.mark.slow
def test_a_training_that_cannot_be_leaves_no_trace(synthetic, single_reals, out) -> None:
    with pytest.raises(ValueError, match="eye-small"):  # it lists those that there are
        train(synthetic, single_reals, output=out, config="eye-tiny")
    with pytest.raises(ValueError, match="device 'gpu'"):
        train(synthetic, single_reals, output=out, config="eye-small", device="gpu")
    with pytest.raises(ValueError, match="has no split dev"):
        train(synthetic, single_reals, output=out, config="eye-small", split="dev")
    assert not out.exists()


def test_a_configuration_is_that_of_its_file_and_of_the_job() -> None:
    config = TrainConfig.from_file("eye-small", steps=4)
    assert config.steps == 4 and config.psi == "features" and config.refiner.maps == 16
    assert config.precision == "auto"
    with pytest.raises(ValueError, match=r"eye-small\.toml \[train\]: .*even"):
        TrainConfig.from_file("eye-small", batch_size=3)
    with pytest.raises(ValueError, match=r"evaluation\.toml has no table \[train\]"):
        TrainConfig.from_file("evaluation")


def test_a_validation_of_what_was_not_refined_is_refused(two_shards) -> None:
    with pytest.raises(ValueError, match="not a refined one"):
        validate(two_shards, real=two_shards)
    assert not Path(two_shards.location, "reports").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"release": "../first"}, "pattern"),
        ({"release": "first", "kept": "elsewhere"}, "goes with drop_failed"),
        ({"release": "first"}, "has no report"),
    ],
)
def test_a_publish_with_a_mistake_releases_nothing(two_shards, given, words) -> None:
    with pytest.raises(ValueError, match=words):
        publish(two_shards, **given)
    assert not Path(two_shards.location, "releases").exists()


def test_places_are_paths_texts_and_datasets_alike(dataset) -> None:
    for place in (dataset, dataset.location, Path(dataset.location)):
        with pytest.raises(ValueError, match="has no report"):
            publish(place, "first")
    assert Dataset.open(Path(dataset.location)).card == dataset.card
