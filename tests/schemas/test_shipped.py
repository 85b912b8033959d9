"""Configurations and gates that come with the package are found by name from any folder."""

import os
import tomllib
from pathlib import Path

import pytest

from cluster.job.command import parse
from jobs.ablate import AblateJob
from jobs.evaluate import EvaluateJob
from jobs.train import TrainJob
from jobs.validate import ValidateJob
from schemas.shipped import config_file, gate_file, shipped
from support.places import ROOT

VALIDATE = ["--input", "x", "--real", "y"]
PLACES = ["--synthetic", "a", "--real", "b", "--output", "c"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder that is not the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["configs", "gates"])
def test_all_files_of_the_checkout_are_shipped(kind) -> None:
    assert set(shipped(kind).values()) == set((ROOT / kind).glob("*.toml"))


@pytest.mark.parametrize("name", ["eye-small", "eye-small.toml", "configs/eye-small.toml"])
def test_a_configuration_is_found_by_its_name(name) -> None:
    assert config_file(Path(name)) == ROOT / "configs" / "eye-small.toml"
    job = parse(TrainJob, ["--config", name, *PLACES])
    assert job.lambda_reg == 8.0


@pytest.mark.parametrize("name", ["eye", "eye.toml", "gates/eye.toml"])
def test_so_is_a_gate(name) -> None:
    assert gate_file(Path(name)) == ROOT / "gates" / "eye.toml"
    assert parse(ValidateJob, [*VALIDATE, "--gate", name]).gate == ROOT / "gates" / "eye.toml"


def test_so_are_variants_and_the_setup_of_an_evaluation() -> None:
    variants = parse(AblateJob, ["--variants", "ablation", *PLACES]).variants
    assert variants == ROOT / "configs" / "ablation.toml"
    setup = parse(EvaluateJob, ["--setup", "evaluation-hand", "--output", "c"]).setup
    assert setup == ROOT / "configs" / "evaluation-hand.toml"


def test_a_file_of_the_users_own_comes_first(elsewhere) -> None:
    (elsewhere / "gates").mkdir()
    for name in ("eye", "eye.toml", "gates/eye.toml"):
        (elsewhere / name).touch()
        assert gate_file(Path(name)) == Path(name)
    (elsewhere / "hand").mkdir()  # a folder is no gate
    assert gate_file(Path("hand")) == ROOT / "gates" / "hand.toml"
    os.mkfifo(elsewhere / "pipe")  # as a shell makes for <(…)
    assert gate_file(Path("pipe")) == Path("pipe")


@pytest.mark.parametrize("name", ["eyes", "other/eye.toml", "/gates/eye.toml", "eye.json"])
def test_an_unknown_name_is_refused_with_those_there_are(capsys, name) -> None:
    names = "demo, demo-hand, eye, eye-landmarks, hand"
    with pytest.raises(SystemExit) as caught:
        parse(ValidateJob, [*VALIDATE, "--gate", name])
    assert caught.value.code == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert (
        f"there is no file {name}; by name there are the gates of simgan-factory: {names}" in said
    )


def test_so_is_an_unknown_configuration(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(TrainJob, ["--config", "eye-tiny", "--output", "c"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --config: there is no file eye-tiny; by name there are the conf")
    assert ": ablation, demo, demo-hand, evaluation, " in said and "eye-small" in said


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda p: p.stem)
def test_a_gate_that_a_configuration_names_is_found_from_there(path) -> None:
    named = tomllib.loads(path.read_text()).get("validate", {}).get("gate")
    if named is not None:
        job = parse(ValidateJob, ["--config", path.stem, *VALIDATE])
        assert job.gate == ROOT / named and job.gate.is_file()
