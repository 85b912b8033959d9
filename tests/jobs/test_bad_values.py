"""Values that no job can use are refused with exit code 2 before anything is made."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from schemas.options import OptionError, value_of
from support import fakes, planted
from support.job_runs import run_job


@pytest.fixture
def places(
    tmp_path: Path, synthetic: Dataset, single_reals: Dataset, renders: Path, refiner: Path
) -> dict[str, object]:
    """What commands name: datasets of which anything may be changed, and files."""
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "degrees.npz", gaze_rad=np.full((50, 2), 40.0))
    (tmp_path / "gate.toml").write_text('[[limit]]\nmeasure = "beauty"\nat_most = 1\nwhy = "x"\n')
    parent = planted.copied(synthetic, tmp_path / "synthetic")
    return {
        "renders": renders,
        "refiner": refiner,
        "synthetic": parent.location,
        "real": single_reals.location,
        "refined": fakes.refine_here(parent, refiner, tmp_path / "refined").location,
        "here": tmp_path,
    }


BAD = {
    "ingest a target that is not there": (
        "ingest --source unityeyes --input {renders} --output {here}/out --target-gaze {here}/no",
        "--target-gaze .*no cannot be used: ",
    ),
    "ingest a target that is no npz": (
        "ingest --source unityeyes --input {renders} --output {here}/out "
        "--target-gaze {here}/empty.npz",
        "--target-gaze .*empty.npz cannot be used: ",
    ),
    "ingest a target in degrees": (
        "ingest --source unityeyes --input {renders} --output {here}/out "
        "--target-gaze {here}/degrees.npz",
        "finite radians",
    ),
    "ingest colours of grey images": (
        "ingest --source mpiigaze --input {renders} --output {here}/out --crop.colour",
        "--crop.colour: MPIIGaze's",
    ),
    "ingest into the input": (
        "ingest --source images --input {here} --output {here}/out",
        "--output .* lies in --input",
    ),
    "simulate poses that are not there": (
        "simulate --domain hand --count 1 --output {here}/out --hand.poses {here}/no.npz",
        "--hand.poses .*no.npz cannot be used: ",
    ),
    "train to labels that are not there": (
        "train --synthetic {synthetic} --real {synthetic} --output {here}/out --steps 1 "
        "--target-labels {here}/no.npz",
        "--target-labels .*no.npz cannot be used: ",
    ),
    "train with a network that is not there": (
        "train --synthetic {synthetic} --real {synthetic} --output {here}/out --steps 1 "
        "--label-network {here}/no --label-weight 1",
        "--label-network .*no cannot be used: ",
    ),
    "train on a split that there is not": (
        "train --synthetic {synthetic} --real {real} --output {here}/out --steps 1 --split night",
        "has no split night",
    ),
    "validate a split that there is not": (
        "validate --input {refined} --real {real} --split night",
        "has no split night",
    ),
    "measure the power on a split that there is not": (
        "power --input {refined} --output {here}/out --split night",
        "has no split night",
    ),
    "refine with noise that the refiner has not": (
        "refine --input {synthetic} --refiner {refiner} --output {here}/out --noise-seed 3",
        "leave out --noise-seed",
    ),
    "refine by an engine of the other device": (
        "refine --input {synthetic} --refiner {refiner} --output {here}/out --engine ncnn "
        "--device cuda",
        "--engine ncnn refines on CPUs",
    ),
    "validate with a witness that there is not": (
        "validate --input {refined} --real {real} --witnesses nobody {here}",
        "--witnesses: no witness 'nobody'",
    ),
    "validate by a gate of other measures": (
        "validate --input {refined} --real {real} --gate {here}/gate.toml",
        "--gate .*gate.toml cannot be used: ",
    ),
    "validate against a report that there is not": (
        "validate --input {refined} --real {real} --against 20260101-000000-aaaa",
        "--against 20260101-000000-aaaa cannot be used: ",
    ),
    "publish by a report that there is not": (
        "publish --input {refined} --release r1 --report 20260101-000000-aaaa",
        "--report 20260101-000000-aaaa cannot be used: ",
    ),
    "repair renders with a refiner": (
        "repair --input {synthetic} --refiner {refiner}",
        "give --source-input, not --refiner",
    ),
    "expire a release that there is not": (
        "expire --input {refined} --releases r7",
        "--releases r7 cannot be used: ",
    ),
    "compare variants that are none": (
        "ablate --synthetic {synthetic} --real {synthetic} --output {here}/out "
        "--variants {here}/gate.toml",
        "--variants .*gate.toml cannot be used: ",
    ),
    "compare arms of a setup that is none": (
        "evaluate --output {here}/out --setup {here}/gate.toml",
        "--setup .*gate.toml cannot be used: ",
    ),
    "try a domain that has no demo": ("demo --domain foot --output {here}/out", "--domain foot "),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_and_leaves_no_trace(name, places, tmp_path: Path) -> None:
    command, said = BAD[name]
    before = sorted(tmp_path.rglob("*"))
    printed = run_job(*command.format(**places).split(), expect=2, on_ray=False)
    assert re.search(said, printed), printed
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "is_blamed"),
    [
        (lambda: int("x"), True),
        (lambda: Path("/nowhere/at/all").read_bytes(), True),
        (lambda: Path("/").read_bytes(), False),
        (lambda: (_ for _ in ()).throw(ConnectionError("the store is away")), False),
    ],
)
def test_an_option_is_blamed_for_its_value_and_for_nothing_else(
    error: Callable[[], object], is_blamed: bool
) -> None:
    with pytest.raises(OptionError if is_blamed else OSError) as raised, value_of("--x 1"):
        next(outcome) if hasattr(outcome := error(), "__next__") else outcome
    assert ("--x 1 cannot be used: " in str(raised.value)) == is_blamed
