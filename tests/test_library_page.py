"""Every snippet of docs/library.md, run as its reader would run it, in a folder with his inputs."""

import re
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from factory import validate
from factory.dataset.dataset import Dataset
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.measures.two_sample import TwoSampleTest
from factory.validation.settings import ValidationSettings
from support.places import DATA, ROOT

PAGE = (ROOT / "docs" / "library.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NUM, RELEASE = 40, "2026-11-21"
pytestmark = pytest.mark.slow


def snippet(words: str) -> str:
    """The one block of the page with these words in it."""
    (block,) = [text for text in SNIPPETS if words in text]
    return block


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Iterator[dict[str, Any]]:
    """What is defined after the first snippet, in a folder with renders and camera pictures. It has
    a small configuration and an open gate under names of those that come along, before which a file
    of the user's own comes."""
    folder = tmp_path_factory.mktemp("library")
    for name, seed in (("renders", 5), ("camera", 6)):
        (folder / "data" / name).mkdir(parents=True)
        eyes = EyeRenderer(height=120, width=160, seed=seed).render(range(NUM))
        write_renders(folder / "data" / name, eyes)
    for label in (folder / "data" / "camera").glob("*.json"):
        label.unlink()
    (folder / "eye").write_bytes((DATA / "open-gate.toml").read_bytes())
    (folder / "eye-small").write_bytes((DATA / "tiny.toml").read_bytes())
    known: dict[str, Any] = {}
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        # Its own settings take minutes.
        quick = ValidationSettings(test=TwoSampleTest(seeds=(0,), num_steps=10), num_calibration=16)
        looks = {"looks": {"num_rounds": 10, "features": {"num_steps": 3}}}
        patch.setitem(validate.__kwdefaults__, "settings", quick)
        patch.setitem(validate.__kwdefaults__, "options", looks)
        exec(snippet("publish(refined"), known)  # noqa: S102 - it is our own page
    with chdir(folder):
        yield known


@pytest.fixture
def run(known) -> Callable[[str], dict[str, Any]]:
    """Runs another block of the page after the first one."""

    def run_one(words: str) -> dict[str, Any]:
        exec(snippet(words), known)  # noqa: S102
        return known

    return run_one


def test_no_snippet_is_without_a_test() -> None:
    called = re.findall(r'(?:snippet|run)\("([^"]+)"', Path(__file__).read_text())
    assert {snippet(words) for words in called} == set(SNIPPETS)


def test_the_chain_gives_back_what_it_made(known) -> None:
    assert known["eyes"].card.kind == "synthetic" and known["real"].card.kind == "real"
    assert known["refiner"].train["steps"] == 12 and known["refiner"].domain == "eye"
    assert known["report"].passed is True and known["report"].num_samples == NUM
    assert known["manifest"].release == RELEASE and known["manifest"].num_samples == NUM
    assert Path(known["refined"].location, "releases", RELEASE, "manifest.json").is_file()
    assert not Path(known["refined"].location, "runs").exists()


def test_a_dataset_is_read(run) -> None:
    known = run("Dataset.open")
    assert known["images"].shape == (NUM, 35, 55) and known["labels"].num_rows == NUM
    assert (known["one"] == known["images"][0]).all()


def test_the_log_is_shown_where_it_is_asked_for(run, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("logging.basicConfig", lambda **how: asked.append(how["level"]))
    assert run("basicConfig")["logging"].INFO in asked


def test_options_are_taken_as_models_too(run) -> None:
    frontal = run("EyeIngestOptions")["eyes"]
    kept = sum(frontal.facts(shard).num_samples for shard in frontal.committed())
    assert 0 < kept < NUM
    assert frontal.card.config["options"]["keep"]["gaze_yaw_deg"] == [-10, 10]


def test_a_configuration_may_differ_from_its_file(run) -> None:
    trained = run("from_file")["refiner"]
    assert trained.train["seed"] == 1 and trained.train["steps"] == 12


def test_a_first_look_takes_smaller_settings(run) -> None:
    report = run("num_calibration=16")["report"]
    assert report.passed is None and report.num_samples == NUM


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_workers_of_ray_make_the_same_shards(run) -> None:
    made, here = run("on_ray(workers=2)")["refined"], Dataset.open("data/refined")
    assert made.location != here.location
    assert [made.tar(n) for n in made.committed()] == [here.tar(n) for n in here.committed()]


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.usefixtures("shared_ray")
def test_workers_of_ray_train_together(run) -> None:
    assert run("train_on_ray, workers=2")["refiner"].train["steps"] == 12
