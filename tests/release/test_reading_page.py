"""Every snippet of docs/reading.md, run as its reader would run it, on a dataset whose place has an
unusual name and whose first samples lack a label that later ones have."""

import io
import itertools
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from support import fakes, releases
from support.places import ROOT
from support.s3_servers import use

PAGE = (ROOT / "docs" / "reading.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NUM, RELEASE = 12, "2026-11-21"


def snippet(words: str) -> str:
    """The one block of the page with these words in it."""
    (found,) = [text for text in SNIPPETS if words in text]
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a released dataset REFINED: three shards, and no identity in the first."""
    folder = tmp_path_factory.mktemp("place") / "a {b,c} d?e #f [g]"
    inputs = folder / "renders"
    inputs.mkdir(parents=True)
    write_renders(inputs, EyeRenderer(height=120, width=160, seed=5).render(range(NUM)))
    for path in sorted(inputs.glob("*.json"), key=lambda path: int(path.stem))[: NUM // 2]:
        label = json.loads(path.read_text())
        label["eye_region_details"].pop("primary_skin_texture", None)
        path.write_text(json.dumps(label))
    dataset = fakes.ingest_here(inputs, folder / "SYNTH", UnityEyesOptions(), shard_size=4)
    refiner = fakes.save_tiny_refiner(folder / "refiner", seed=1)
    releases.release(fakes.refine_here(dataset, refiner, folder / "REFINED"), RELEASE)
    return folder


@pytest.fixture
def run(place, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Runs blocks of the page one after the other, after its first one, in the folder."""
    monkeypatch.chdir(place)
    known: dict[str, Any] = {}
    exec(snippet("manifest = json.loads"), known)  # noqa: S102 - it is our own page

    def run_more(*words: str, **given: Any) -> dict[str, Any]:
        known.update(given)
        for text in words:
            exec(snippet(text), known)  # noqa: S102
        return known

    return run_more


def test_no_snippet_is_without_a_test() -> None:
    tests = Path(__file__).read_text()
    called = re.findall(r'(?:snippet|run)\(\s*"([^"]+)"(?:, "([^"]+)")?', tests)
    covered = {snippet(words) for pair in called for words in pair if words}
    assert covered == set(SNIPPETS)


def test_identities_are_null_in_the_first_samples_alone(run) -> None:
    labels = labels_in(run()["urls"])
    assert {label["identity"] is None for label in labels[: NUM // 3]} == {True}
    assert labels[-1]["identity"] is not None


def labels_in(urls: list[str]) -> list[dict[str, Any]]:
    labels = []
    for url in urls:
        with tarfile.open(url) as tar:
            members = [tar.extractfile(m) for m in tar if m.name.endswith(".json")]
            labels += [json.loads(member.read()) for member in members if member is not None]
    return labels


def test_webdataset(run) -> None:
    opened = run("import shlex")["urls_for_webdataset"]
    known = run("nodesplitter=wds", urls=opened)
    assert known["label"] == labels_in(run("manifest = json.loads")["urls"])[-1]
    assert known["image"].shape == (35, 55) and known["image"].dtype == np.uint8
    assert sum(1 for _ in known["samples"]) == NUM
    assert sum(1 for _ in known["samples"].repeat().with_epoch(30)) == 30


LOADED = """
import json, sys, warnings
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
exec(sys.stdin.read())
loader = DataLoader(samples, batch_size=None, num_workers=int(sys.argv[1]))
print(json.dumps([sample["__key__"] for sample in loader]))
"""


@pytest.mark.parametrize(("nodes", "workers"), [(1, 4), (2, 2), (2, 1)])
def test_webdataset_gives_every_sample_once_to_more_workers_than_shards(
    run, monkeypatch, nodes, workers
) -> None:
    keys = []
    for name, value in (("WORLD_SIZE", nodes), ("NUM_WORKERS", workers)):
        monkeypatch.setenv(name, str(value))
    for node, worker in itertools.product(range(nodes), range(workers)):
        monkeypatch.setenv("RANK", str(node))
        monkeypatch.setenv("WORKER", str(worker))
        opened = run("import shlex")["urls_for_webdataset"]
        shards = run("nodesplitter=wds", urls=opened)["samples"]
        keys += [sample["__key__"] for sample in shards]
        run("manifest = json.loads")
    assert len(keys) == len(set(keys)) == NUM


@pytest.mark.long
def test_webdataset_in_a_loader_with_more_workers_than_shards(run) -> None:
    urls = run("import shlex")["urls_for_webdataset"]
    code = f"urls = {urls!r}\n" + snippet("nodesplitter=wds")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "4"], input=code, capture_output=True, text=True, check=True
    )
    keys = json.loads(done.stdout)
    assert len(keys) == len(set(keys)) == NUM


def test_webdataset_with_16_bits(run, tmp_path) -> None:
    stored = np.array([[0, 1, 65535]], np.uint16)
    png = io.BytesIO()
    Image.fromarray(stored).save(png, "PNG")
    with tarfile.open(tmp_path / "hands.tar", "w") as tar:
        for name, content in (("0.png", png.getvalue()), ("0.json", b'{"z_near_mm": 600}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    known = run("nodesplitter=wds", urls=[f"{tmp_path}/hands.tar"])
    depth = run("hands = wds.WebDataset")["depth_mm"]
    assert known["stored"].dtype == np.uint16 and depth.tolist() == [[0, 600, 66134]]


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_face_datasets(run, tmp_path, monkeypatch, streaming) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    load = datasets.load_dataset

    def load_here(*given: Any, **options: Any) -> Any:
        return load(*given, **options | {"streaming": streaming}, cache_dir=str(tmp_path))

    monkeypatch.setattr(datasets, "load_dataset", load_here)
    rows = list(run("import glob")["samples"])
    labels = labels_in(run()["urls"])
    assert [row["__key__"] for row in rows] == [label["key"] for label in labels]
    assert [row["json"]["identity"] for row in rows] == [label["identity"] for label in labels]
    for row, label in zip(rows, labels, strict=True):
        assert row["json"].keys() == label.keys()
        assert np.allclose(row["json"]["gaze"], label["gaze"], atol=1e-12)
    assert rows[0]["png"].size == (55, 35)


@pytest.mark.ray
@pytest.mark.long
def test_ray_data(shared_ray, run) -> None:
    rows = run("ray.data.read_webdataset")["samples"].take_all()
    assert sorted(json.loads(row["json"])["key"] for row in rows) == [
        label["key"] for label in labels_in(run()["urls"])
    ]


def test_labels_alone(run) -> None:
    table = run("pyarrow.dataset.dataset(release")["table"]
    assert table.column_names == ["key", "gaze", "pupil_px"] and table.num_rows == NUM


@pytest.mark.s3
def test_from_s3(moto_server, monkeypatch, place) -> None:
    use(moto_server, monkeypatch)
    moto_server.make_bucket("eyes")
    import boto3

    manifest = (place / "REFINED" / "releases" / RELEASE / "manifest.json").read_bytes()
    key = f"refined/releases/{RELEASE}/manifest.json"
    boto3.client("s3").put_object(Bucket="eyes", Key=key, Body=manifest)
    known: dict[str, Any] = {}
    exec(snippet("from urllib.parse import urljoin"), known)  # noqa: S102
    names = sorted(path.name for path in (place / "REFINED" / "shards").glob("*.tar"))
    assert sorted(known["uris"]) == [f"s3://eyes/refined/shards/{name}" for name in names]
    assert known["urls"][0].startswith("pipe:aws s3 cp s3://eyes/refined/shards/")
