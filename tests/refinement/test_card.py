"""In which precision a dataset is refined: decided when it is begun, and kept."""

import pytest

from factory.dataset.dataset import CardMismatchError, Dataset
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.refinement.card import precision_for, precision_of, refined_card
from factory.refinement.engines.parity import Parity
from schemas.base import FormatError
from support import fakes
from support.job_runs import run_job


@pytest.fixture
def parent(six_inputs, tmp_path) -> Dataset:
    return fakes.ingest_here(six_inputs, tmp_path / "eyes", UnityEyesOptions(), shard_size=6)


@pytest.fixture
def has_bfloat16(monkeypatch):
    """Lets this machine have, or lack, hardware for bfloat16."""

    def pretend(has: bool) -> None:
        kind = "avx512_bf16_narrow" if has else "avx2"
        for module in ("factory.networks.precision", "factory.refinement.engines.choose"):
            monkeypatch.setattr(f"{module}.processor_kind", lambda: kind)

    return pretend


@pytest.mark.slow
def test_a_dataset_stays_in_the_precision_that_it_was_begun_in(
    parent, refiner, tmp_path, has_bfloat16
) -> None:
    new, old = str(tmp_path / "new"), str(tmp_path / "old")

    def refine(output: str, *options: str, expect: int = 0) -> str:
        command = ("refine", "--input", parent.location, "--refiner", refiner, "--output", output)
        return run_job(*command, *options, expect=expect, on_ray=False)

    has_bfloat16(True)
    assert "refining with ncnn bfloat16" in refine(new)
    child = Dataset.open(new)
    assert precision_of(child.card) == "bfloat16"
    assert child.facts(0).writer.endswith("(ncnn bfloat16)")
    refine(old, "--precision", "float32")
    assert Dataset.open(old).facts(0).writer.endswith("(ncnn)")
    assert "precision" not in Dataset.open(old).card.config, "as in cards of earlier versions"
    assert "precision: 'bfloat16' -> None" in refine(new, "--precision", "float32", expect=1)
    assert "nothing to do" in refine(old), "auto is what the output holds"

    has_bfloat16(False)
    child.store.delete("index/000000.parquet")
    said = refine(new, expect=1)
    assert "computes in bfloat16, for which this machine's cpu (avx2) has no hardware" in said
    refine(str(tmp_path / "third"))
    assert precision_of(Dataset.open(tmp_path / "third").card) == "float32"


def test_auto_is_float32_where_bfloat16_is_too_far_off(
    refiner, tmp_path, has_bfloat16, monkeypatch, caplog
) -> None:
    has_bfloat16(True)
    output = str(tmp_path / "none yet")
    assert precision_for(refiner, output) == "bfloat16"
    assert precision_for(refiner, output, engine="ncnn") == "float32", "the one near PyTorch"
    strict = Parity(max_value=1e-9, max_levels=0, mean_levels=0.0, share_changed=0.0)
    monkeypatch.setattr("factory.refinement.engines.choose.BFLOAT16", strict)
    assert precision_for(refiner, output) == "float32"
    assert "refining in float32: torch bfloat16 does not agree" in caplog.text


def test_a_precision_of_a_later_version_is_refused(parent, refiner) -> None:
    card = refined_card(parent, refiner, "later", precision="bfloat16")
    later = card.model_copy(update={"config": {**card.config, "precision": "float8"}})
    with pytest.raises(FormatError, match="knows no precision 'float8'"):
        precision_of(later)
    float32 = refined_card(parent, refiner, "later")
    assert float32.config_digest != card.config_digest
    with pytest.raises(CardMismatchError, match="precision"):
        Dataset.enter(parent.location + "-child", float32).require_card(card)
