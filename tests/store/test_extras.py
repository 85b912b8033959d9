"""What an installation without the optional extras can do, and what it says about the rest."""

import logging
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.job.command import run_command
from factory.store.extras import EXTRA_OF, MissingExtraError
from factory.store.open import open_store
from jobs.describe import DescribeJob, main
from support.places import ROOT

OPTIONAL = ("alembic", "boto3", "botocore", "h5py", "jinja2", "matplotlib", "mlflow", "ncnn",
            "openvino", "sqlalchemy", "tensorboard", "torch_fidelity", "torchvision")  # fmt: skip
OF_NO_FEATURE = {"all", "dev", "docs"}
"""extras that gather others, or are for those who work on the project"""
NEED_THEM = (
    "factory.refinement.engines.ncnn",
    "factory.refinement.engines.openvino",
    *(
        f"factory.browse.{n}"
        for n in ("app", "dataset_pages", "sample_pages", "server", "training_pages")
    ),
    *(f"factory.store.s3{name}" for name in ("", "_answers", "_client", "_errors", "_requests")),
)
"""modules that exist for one optional package each, and that are imported when it is used"""


def test_a_module_is_named_with_the_extra_that_brings_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: {re.split(r"[\[<>=]", needed)[0] for needed in all_needed}
        for name, all_needed in project["optional-dependencies"].items()
    }
    named_otherwise = {
        "mlflow": "mlflow-skinny", "sklearn": "scikit-learn", "torch_fidelity": "torch-fidelity",
    }  # fmt: skip
    packages_of = {module: named_otherwise.get(module, module) for module in EXTRA_OF}
    assert set(packages_of.values()) | {"ncnn"} == set.union(
        *(packages for name, packages in extras.items() if name not in OF_NO_FEATURE)
    )
    assert all(packages_of[module] in extras[extra] for module, extra in EXTRA_OF.items())
    assert "ncnn" in extras["ncnn"]
    (everything,) = project["optional-dependencies"]["all"]
    named = re.fullmatch(r"simgan-factory\[(.*)\]", everything)
    assert named is not None and set(named[1].split(",")) == set(extras) - OF_NO_FEATURE
    assert "simgan-factory[all]" in project["optional-dependencies"]["dev"]


def test_the_page_on_installing_has_a_row_for_every_extra() -> None:
    page = (ROOT / "docs" / "installing.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {name.strip("` ") for row in rows for name in row.split(",")}
    assert named == set(project["optional-dependencies"]) - OF_NO_FEATURE | {"all"}


def test_the_page_names_every_job_that_ends_with_a_picture_or_a_page() -> None:
    """Those whose function in the library refuses to begin without the extra `report`."""
    page = (ROOT / "docs" / "installing.md").read_text()
    (row,) = re.findall(r"^\| `report` \|([^|]*)\|", page, re.MULTILINE)
    needed = {
        path.relative_to(ROOT / "factory" / "evaluation").parts[0].partition("_")[0]
        for path in (ROOT / "factory" / "evaluation").rglob("*run.py")
        if 'jinja2"' in (text := path.read_text()) or 'matplotlib"' in text
    }
    job = {"ablation": "ablate", "comparison": "evaluate"}
    assert len(needed) == 4
    assert [name for name in sorted(needed) if f"jobs/{job.get(name, name)}.py" not in row] == []
    assert "`publish --export`" in row


CHAIN = f"""
import importlib, pkgutil, sys
from pathlib import Path

sys.modules.update(dict.fromkeys({OPTIONAL!r}))  # their import fails
import cluster, factory, jobs, schemas

for package in (schemas, factory, cluster, jobs):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if found.name not in {NEED_THEM!r}:
            importlib.import_module(found.name)

from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.upkeep.options import DescribeOptions, VerifyOptions
from factory.upkeep.run import describe_place, verify_place
from support import fakes

place = Path(sys.argv[1])
write_renders(place / "renders", EyeRenderer(height=120, width=160, seed=5).render(range(4)))
eyes = fakes.ingest_here(place / "renders", place / "eyes", UnityEyesOptions())
refiner = fakes.save_tiny_refiner(place / "refiner", seed=1)
refined = fakes.refine_here(eyes, refiner, place / "refined")
answer = describe_place(DescribeOptions(input=refined.location))
assert answer.dataset.num_samples == 4
answer = verify_place(
    VerifyOptions(input=refined.location), make_shards=fakes.make_shards_here
)
assert answer.problems == ()
"""
"""imports everything, then makes a dataset, refines it, describes it and verifies it"""


@pytest.mark.slow
def test_local_datasets_need_no_optional_package(tmp_path) -> None:
    command = [sys.executable, "-c", CHAIN, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    for engine in ("ncnn", "openvino"):  # tried where the processor is one for it
        if f"than {engine}" in run.stderr:
            assert f"pip install 'simgan-factory[{engine}]'" in run.stderr


@pytest.fixture
def without(monkeypatch) -> Callable[..., None]:
    """Makes packages missing; works as all code imports them only when it needs them."""

    def without(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return without


def of_losses() -> None:
    from factory.training.strips import losses_png

    losses_png(b"")


def of_estimated_angles() -> None:
    from factory.domains.eye.estimator_pictures import gaze_scatter_png

    gaze_scatter_png(np.zeros((1, 3)), np.zeros((1, 3)))


def of_a_contact_sheet() -> None:
    from factory.upkeep.options import DescribeOptions
    from factory.upkeep.run import describe_place

    describe_place(DescribeOptions(input="no such dataset", contact_sheet=Path("sheet.png")))


def of_an_export() -> None:
    from factory.export.run import require_packages

    require_packages()


def of_power() -> None:
    from factory.validation.power.run import measure_power

    nothing: Any = None  # is not looked at
    measure_power(*[nothing] * 7, make_shards=nothing, side_by_side=nothing)


def of_a_report() -> None:
    from factory.validation.run import Validation

    nothing: Any = None
    Validation.prepare(*[nothing] * 4, gate=nothing, against=nothing)


def of_fidelity() -> None:
    from factory.validation.run import Validation

    nothing: Any = None
    Validation.prepare(*[nothing] * 4, gate=nothing, against=nothing, inception=Path("weights"))


def of_an_ablation() -> None:
    from factory.evaluation.ablation_run import Ablation

    nothing: Any = None
    Ablation.of(nothing)


def of_a_server_of_mlflow() -> None:
    from factory.tracking.options import MlflowOptions

    MlflowOptions(mlflow="http://127.0.0.1:5000").require()


def of_a_folder_of_mlflow() -> None:
    from factory.tracking.options import MlflowOptions

    MlflowOptions(mlflow="mlflow").require()


def of_s3() -> None:
    open_store("s3://bucket/prefix")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "use", "extra"),
    [
        ("boto3", of_s3, "s3"),
        ("mlflow", of_a_server_of_mlflow, "mlflow"),
        ("mlflow", of_a_folder_of_mlflow, "mlflow"),
        ("sqlalchemy", of_a_folder_of_mlflow, "mlflow"),
        ("alembic", of_a_folder_of_mlflow, "mlflow"),
        ("jinja2", of_a_report, "report"),
        ("torch_fidelity", of_fidelity, "fidelity"),
        ("jinja2", of_an_ablation, "report"),
        ("matplotlib", of_an_ablation, "report"),
        ("matplotlib", of_a_contact_sheet, "report"),
        ("matplotlib", of_estimated_angles, "report"),
        ("matplotlib", of_losses, "report"),
        ("matplotlib", of_power, "report"),
        ("jinja2", of_an_export, "report"),
        ("matplotlib", of_an_export, "report"),
    ],
)
def test_what_needs_an_extra_names_it_before_any_work(module, use, extra, without) -> None:
    without(module)
    said = rf"needs {module}, which is not installed: pip install 'simgan-factory\[{extra}\]'"
    with pytest.raises(MissingExtraError, match=said):
        use()


def test_a_job_ends_with_that_message_alone(without, capsys) -> None:
    without("boto3")
    with pytest.raises(SystemExit) as ended:
        run_command(DescribeJob, main, ["--input", "s3://bucket/eyes"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: a location at s3:// needs boto3, which is not installed: "
        "pip install 'simgan-factory[s3]'\n"
        "docs/troubleshooting.md explains the most common errors\n"
    )


@pytest.mark.slow
def test_a_training_saves_its_refiner_without_its_extras(images, tmp_path, without, caplog) -> None:
    from support.trainers import small_config, trained

    without("matplotlib", "tensorboard")
    run = trained(small_config(), images, tmp_path)
    names = {path.name for path in run.iterdir()}
    assert {"refiner.safetensors", "refiner.json", "strips", "overview.png"} <= names
    assert not {"losses.png", "tensorboard"} & names
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    left_out = [line for line in warnings if "is left out" in line]
    assert [line.rpartition("pip install ")[2] for line in left_out] == [
        "'simgan-factory[tensorboard]'",
        "'simgan-factory[report]'",
    ]
