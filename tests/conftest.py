"""Fixtures that many test files share, and how test processes share a machine."""
# ruff: noqa: E402

import gc
import os
import re
import sys

# `make test` runs a test process a core. These are read when numpy, torch and OpenCV are loaded.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(name, "1")
gc.disable()  # what is loaded and collected stays: looking for garbage in it costs seconds

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from support import fakes, planted
from support.browsing import hostile, places  # noqa: F401  (fixtures)
from support.clusters import shared_cluster, shared_ray  # noqa: F401  (fixtures)
from support.explored_scenes import committed_scene, scene, scenes  # noqa: F401  (fixtures)
from support.filtered import judged_once, kept, refined  # noqa: F401  (fixtures)
from support.job_runs import job_chain  # noqa: F401  (fixtures)
from support.pages import browser  # noqa: F401  (fixtures)
from support.places import SHARED
from support.reading import released, spoilt  # noqa: F401  (fixtures)
from support.repeatable import repeatable  # noqa: F401  (fixtures)
from support.s3_servers import (  # noqa: F401  (fixtures)
    any_location,
    any_store,
    moto_server,
    moto_store,
    proxy,
    rgw,
    s3_server,
)
from support.splits import split_pair  # noqa: F401  (fixtures)
from support.turing import turing_eyes  # noqa: F401  (fixtures)

if TYPE_CHECKING:
    from factory.training.simgan import SimGAN


SERVICES = {
    "ray": re.compile(r"mark\.ray\b"),
    "s3": re.compile(r"mark\.s3\b|\b(any_store|any_location|s3_server|moto_store|proxy|rgw)\b"),
}
"""what takes long to start, and how a test file that needs it tells"""


@cache
def service_of(path: Path) -> str | None:
    """The first service that a test file needs; None for most."""
    text = path.read_text("utf-8")
    return next((name for name, uses in SERVICES.items() if uses.search(text)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that need a service come first, so that parallel processes end at about the same time,
    and among them the tests on several nodes, while the shared cluster has not yet started."""
    ranks = {name: rank for rank, name in enumerate(SERVICES)}
    items.sort(key=lambda item: ranks.get(service_of(item.path) or "", len(ranks)))
    items.sort(key=lambda item: "nodes" not in getattr(item, "fixturenames", ()))


def pytest_collection_finish() -> None:
    """Tests make garbage; what was there before them is none."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, all files that need a service go to one process, so that it starts
    once and never two clusters run at once; the others are given out one by one."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ServicesInOneProcess(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return service_of(config.rootpath / file) or file

    return ServicesInOneProcess(config, log)


def is_on_ray() -> bool:
    """Whether this process is connected to Ray."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A start of Ray takes longer than most tests, so one that needs it is marked `ray`, and the
    others do the work of workers in their own process."""
    was_on_ray = is_on_ray()
    result = yield
    if is_on_ray() and not was_on_ray and item.get_closest_marker("ray") is None:
        sys.modules["ray"].shutdown()
        pytest.fail("it started Ray: mark it `ray`, or let it use `support.job_runs.work_here`")
    return result


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files are durable only against a loss of power, of which no test can tell; waiting for that
    would be a good part of all tests that write datasets. Other processes still wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Research data that lies beside the repository and never enters it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the research data in {SHARED}, which is not there")
    return SHARED


@pytest.fixture(scope="session")
def renders(tmp_path_factory) -> Path:
    """A folder of 24 renders, `1.jpg` with `1.json` and so on. Read only: copy before changing."""
    folder = tmp_path_factory.mktemp("renders")
    write_renders(folder, EyeRenderer(height=240, width=320, seed=5).render(range(24)))
    return folder


@pytest.fixture(scope="session")
def synthetic(renders, tmp_path_factory) -> Dataset:
    """The renders ingested: shards 0..4 of 5, 5, 5, 5 and 4 samples. Read only."""
    output = tmp_path_factory.mktemp("synthetic") / "eyes"
    return fakes.ingest_here(renders, output, UnityEyesOptions(), shard_size=5)


@pytest.fixture(scope="session")
def single_reals(renders, tmp_path_factory) -> Dataset:
    """The pictures of `renders` as camera images, in shards of five. Read only."""
    folder = tmp_path_factory.mktemp("single-reals")
    for number, path in enumerate(sorted(renders.glob("*.jpg"))):
        (folder / f"{number}.jpg").write_bytes(path.read_bytes())
    return fakes.ingest_here(folder, folder / "set", PicturesOptions(), shard_size=5)


@pytest.fixture(scope="session")
def six_inputs(tmp_path_factory) -> Path:
    """Six inputs, of which the second and the fifth are malformed. Read only."""
    folder = tmp_path_factory.mktemp("six-inputs")
    for number in range(1, 7):
        image = b"no picture" if number in (2, 5) else None
        fakes.write_pair(folder, str(number), image=image, seed=number)
    return folder


@pytest.fixture(scope="session")
def one_shard(six_inputs, tmp_path_factory) -> Dataset:
    """One shard of those inputs, built in a local folder without any trouble. Read only."""
    output = tmp_path_factory.mktemp("one-shard") / "eyes"
    return fakes.ingest_here(six_inputs, output, UnityEyesOptions(), shard_size=6)


@pytest.fixture(scope="session")
def eight_inputs(tmp_path_factory) -> Path:
    """What `planted.write_inputs` writes. Read only."""
    folder = tmp_path_factory.mktemp("eight-inputs")
    planted.write_inputs(folder)
    return folder


@pytest.fixture(scope="session")
def two_shards(eight_inputs, tmp_path_factory) -> Iterator[Dataset]:
    """Shards 0 and 1 of those inputs, three samples and a reject each. Read only."""
    output = tmp_path_factory.mktemp("two-shards") / "eyes"
    made = fakes.ingest_here(eight_inputs, output, planted.OPTIONS, shard_size=4)
    content = planted.content(made)
    yield made
    assert planted.content(made) == content, "a test wrote to the shards that all tests share"


@pytest.fixture
def dataset(two_shards, tmp_path) -> Dataset:
    """A copy of the two shards, which a test may damage."""
    return planted.copied(two_shards, tmp_path / "eyes")


@pytest.fixture
def child(dataset, refiner, tmp_path) -> Dataset:
    """`dataset` refined, a test file's own where it has one."""
    return fakes.refine_here(dataset, refiner, tmp_path / "child")


@pytest.fixture
def refiner(tmp_path) -> Path:
    """A small refiner that visibly changes every image, as a finished training run leaves it."""
    return fakes.save_tiny_refiner(tmp_path / "refiner", seed=1)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    """Synthetic and real images for small trainings."""
    from support.trainers import noise_images  # loads PyTorch, which many test processes need not

    return noise_images()


@pytest.fixture
def gan(images) -> "SimGAN":
    """A small training of them that has not begun."""
    from support.trainers import make_gan, small_config

    return make_gan(small_config(), images)
