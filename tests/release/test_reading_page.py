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
from factory.store.open import open_store
from support import fakes, releases
from support.places import ROOT
from support.s3_servers import use

PAGE = (ROOT / "docs" / "reading.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
NUM, RELEASE = 12, "2026-11-21"


def snippet(words: str) -> str:
    """The one block of the page with these words in it."""
    (block,) = [text for text in SNIPPETS if words in text]
    return block


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory) -> Path:
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
def run(page_folder, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Runs blocks of the page one after the other in the folder."""
    monkeypatch.chdir(page_folder)
    known: dict[str, Any] = {}

    def run_more(*words: str, **given: Any) -> dict[str, Any]:
        known.update(given)
        for text in words:
            exec(snippet(text), known)  # noqa: S102 - it is our own page
        return known

    return run_more


def test_no_snippet_is_without_a_test() -> None:
    tests = Path(__file__).read_text()
    called = re.findall(r'(?:snippet|run|run_ours|run_outside)\(((?:\s*"[^"]+",?)+)', tests)
    covered = {snippet(words) for call in called for words in re.findall(r'"([^"]+)"', call)}
    assert covered == set(SNIPPETS)


@pytest.fixture
def run_outside(run) -> Callable[..., dict[str, Any]]:
    """The same, after the block with which other tools begin."""
    run("manifest = json.loads")
    return run


@pytest.fixture
def run_ours(run) -> Callable[..., dict[str, Any]]:
    """The same, after the block with which our reader begins."""
    run("release[7]")
    return run


# --- our reader -----------------------------------------------------------------------------------


def test_samples(run_ours, page_folder) -> None:
    known = run_ours()
    expected = labels_in(urls_at(page_folder))
    assert known["everything"] == expected[7] and known["gaze"] == expected[7]["gaze"]
    assert known["image"].shape == (35, 55) and known["image"].dtype == np.uint8
    keys = run_ours("keys = [sample.key")["keys"]
    assert sorted(keys) == [label["key"] for label in expected] != keys


def test_the_share_of_a_process(run_ours) -> None:
    known = run_ours("keys = [sample.key", "def of_process")
    of_all = [known["of_process"](rank, worker) for rank in range(3) for worker in range(2)]
    assert sorted(key for keys in of_all for key in keys) == sorted(known["keys"])


@pytest.mark.slow
def test_training_and_going_on(run_ours) -> None:
    known = run_ours("for epoch in range(loader.epoch", "state = loader.state_dict()")
    assert known["epoch"] == 1 and known["images"].shape == (4, 35, 55)
    assert known["gazes"].shape == (4, 3) and known["again"].epoch == 2
    iterator = iter(known["loader"])
    first = next(iterator)
    rest = [batch.keys for batch in iterator]
    again = run_ours("state = loader.state_dict()")["again"]
    assert again.epoch == 3 and len(first.keys) == 8 and [len(keys) for keys in rest] == [4]
    again.load_state_dict(known["state"] | {"epoch": 2, "position": 8})
    assert [batch.keys for batch in again] == rest


@pytest.mark.slow
def test_data_sets_of_pytorch(run_ours) -> None:
    known = run_ours("keys = [sample.key", "ReleaseDataset, ReleaseIterable")
    for loader in ("by_number", "in_turn"):
        read = [key for batch in known[loader] for key in batch.keys]
        assert sorted(read) == sorted(known["keys"])


def test_some_samples_and_a_blend(run_ours) -> None:
    known = run_ours("right = Release(", "Blend([release, right]")
    assert 0 < len(known["right"]) < NUM
    assert all(sample.labels["gaze_yaw_rad"] > np.radians(5) for sample in known["right"])
    assert sum(len(batch.keys) for batch in known["blended"]) == NUM + len(known["right"])


def test_damage_is_counted(run_ours, page_folder) -> None:
    path = Path(urls_at(page_folder)[1])
    raw = path.read_bytes()
    path.write_bytes(raw[:600] + b"?" + raw[601:])
    try:
        known = run_ours("careful = Release(")
    finally:
        path.write_bytes(raw)
    assert known["read"] == NUM - 4 and known["skipped"].num_samples == 4


@pytest.mark.slow
def test_a_pipeline(run_ours) -> None:
    known = run_ours("pipeline(release, buffer")
    assert sorted(label["key"] for _, label in known["loaded"]) == [s.key for s in known["release"]]


@pytest.fixture
def bucket(moto_server, monkeypatch, page_folder) -> None:
    """The dataset at s3://eyes/refined."""
    use(moto_server, monkeypatch)
    moto_server.make_bucket("eyes")
    store = open_store("s3://eyes/refined")
    for path in (page_folder / "REFINED").rglob("*"):
        if path.is_file():
            store.put(path.relative_to(page_folder / "REFINED").as_posix(), path.read_bytes())


@pytest.mark.s3
def test_from_s3_with_our_reader(bucket, run_ours, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = run_ours("remote = Release(")
    assert [sample.key for sample in known["remote"]] == [s.key for s in known["release"]]
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 3


# --- other tools ----------------------------------------------------------------------------------


def test_identities_are_null_in_the_first_samples_alone(page_folder) -> None:
    labels = labels_in(urls_at(page_folder))
    assert {label["identity"] is None for label in labels[: NUM // 3]} == {True}
    assert labels[-1]["identity"] is not None


def urls_at(page_folder: Path) -> list[str]:
    """The tars of the release, from its manifest alone."""
    folder = page_folder / "REFINED" / "releases" / RELEASE
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    return [str((folder / shard["url"]).resolve()) for shard in shards]


def labels_in(urls: list[str]) -> list[dict[str, Any]]:
    labels = []
    for url in urls:
        with tarfile.open(url) as tar:
            members = [tar.extractfile(m) for m in tar if m.name.endswith(".json")]
            labels += [json.loads(member.read()) for member in members if member is not None]
    return labels


def test_webdataset(run_outside, page_folder) -> None:
    opened = run_outside("urls_for_webdataset =")["urls_for_webdataset"]
    known = run_outside("image, label = (", urls=opened)
    assert known["label"] == labels_in(urls_at(page_folder))[-1]
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
    run_outside, monkeypatch, nodes, workers
) -> None:
    keys = []
    for name, value in (("WORLD_SIZE", nodes), ("NUM_WORKERS", workers)):
        monkeypatch.setenv(name, str(value))
    for node, worker in itertools.product(range(nodes), range(workers)):
        monkeypatch.setenv("RANK", str(node))
        monkeypatch.setenv("WORKER", str(worker))
        opened = run_outside("urls_for_webdataset =")["urls_for_webdataset"]
        shards = run_outside("image, label = (", urls=opened)["samples"]
        keys += [sample["__key__"] for sample in shards]
        run_outside("manifest = json.loads")
    assert len(keys) == len(set(keys)) == NUM


@pytest.mark.long
def test_webdataset_in_a_loader_with_more_workers_than_shards(run_outside) -> None:
    urls = run_outside("urls_for_webdataset =")["urls_for_webdataset"]
    code = f"urls = {urls!r}\n" + snippet("image, label = (")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "4"], input=code, capture_output=True, text=True, check=True
    )
    keys = json.loads(done.stdout)
    assert len(keys) == len(set(keys)) == NUM


def test_webdataset_with_16_bits(run_outside, tmp_path) -> None:
    stored = np.array([[0, 1, 65535]], np.uint16)
    png = io.BytesIO()
    Image.fromarray(stored).save(png, "PNG")
    with tarfile.open(tmp_path / "hands.tar", "w") as tar:
        for name, content in (("0.png", png.getvalue()), ("0.json", b'{"z_near_mm": 600}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    known = run_outside("image, label = (", urls=[f"{tmp_path}/hands.tar"])
    depth = run_outside("hands = wds.WebDataset")["depth_mm"]
    assert known["stored"].dtype == np.uint16 and depth.tolist() == [[0, 600, 66134]]


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False])
def test_hugging_face_datasets(run_outside, page_folder, tmp_path, monkeypatch, streaming) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    load = datasets.load_dataset

    def load_here(*given: Any, **options: Any) -> Any:
        return load(*given, **options | {"streaming": streaming}, cache_dir=str(tmp_path))

    monkeypatch.setattr(datasets, "load_dataset", load_here)
    rows = list(run_outside("import glob")["samples"])
    labels = labels_in(urls_at(page_folder))
    assert [row["__key__"] for row in rows] == [label["key"] for label in labels]
    assert [row["json"]["identity"] for row in rows] == [label["identity"] for label in labels]
    for row, label in zip(rows, labels, strict=True):
        assert row["json"].keys() == label.keys()
        assert np.allclose(row["json"]["gaze"], label["gaze"], atol=1e-12)
    assert rows[0]["png"].size == (55, 35)


@pytest.mark.ray
@pytest.mark.long
def test_ray_data(shared_ray, run_outside, page_folder) -> None:
    rows = run_outside("ray.data.read_webdataset(urls")["samples"].take_all()
    assert sorted(json.loads(row["json"])["key"] for row in rows) == keys_at(page_folder)


def test_labels_alone(run_outside) -> None:
    table = run_outside("pyarrow.dataset.dataset(release")["table"]
    assert table.column_names == ["key", "gaze", "pupil_px"] and table.num_rows == NUM


def keys_at(page_folder: Path) -> list[str]:
    return [label["key"] for label in labels_in(urls_at(page_folder))]


@pytest.mark.s3
def test_from_s3_with_webdataset_and_for_labels_alone(bucket, run, page_folder) -> None:
    known = run("from urllib.parse import urljoin", "from_s3 = (", "S3FileSystem(")
    samples = list(known["from_s3"])
    assert sorted(sample["__key__"] for sample in samples) == keys_at(page_folder)
    assert {sample["png"].shape for sample in samples} == {(35, 55)}
    assert known["labels"]["key"].to_pylist() == keys_at(page_folder)


@pytest.mark.s3
@pytest.mark.slow
def test_from_s3_with_hugging_face_datasets(
    bucket, run, page_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    known = run("from urllib.parse import urljoin", "split_dataset_by_node(streamed")
    other = known["split_dataset_by_node"](
        known["streamed"].shuffle(seed=1, buffer_size=1000), 1, 2
    )
    read = [row["__key__"] for of_node in (known["of_node"], other) for row in of_node]
    assert sorted(read) == keys_at(page_folder)


@pytest.mark.s3
@pytest.mark.ray
@pytest.mark.long
def test_from_s3_with_ray_data(bucket, shared_ray, run, page_folder) -> None:
    known = run("from urllib.parse import urljoin", "S3FileSystem(", "random_shuffle(seed=1)")
    rows = known["rows"].take_all()
    assert sorted(json.loads(row["json"])["key"] for row in rows) == keys_at(page_folder)
