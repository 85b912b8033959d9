"""Places to look around in, whose content is known, and the page that shows them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.dataset.dataset import Dataset
from factory.images.png import encode_png
from factory.release.latest import swap_latest
from factory.serving.own_machine import url_at
from schemas.eye.measures import EYE_MEASURES_SCHEMA
from schemas.score import SCORE_NAME, SCORED_FOLDER
from support import planted, releases
from support.filtered import PAGE
from support.pages import HOSTILE

if TYPE_CHECKING:
    from flask.testing import FlaskClient

PORT = 8000
HOW = "0123456789abcdef"
"""the folder of the measurements"""
NOT_MEASURED = "000001-000002"
"""a sample that has no row in them"""
STEPS = (0, 20, 40)
"""of the strips of the training"""
REFINED, SYNTHETIC, RUN = "places-refined", "places-synthetic", "places-run"
"""names in addresses"""


class Places(NamedTuple):
    """A folder of a dataset with rejects, a refined one with a report and a release, a run."""

    folder: Path
    synthetic: Dataset
    refined: Dataset

    def rows(self) -> list[dict[str, Any]]:
        """Every refined sample's row of the index, with what was measured of it, by a plain
        loop."""
        rows = [row for shard in self.refined.committed()
                for row in self.refined.index(shard).to_pylist()]  # fmt: skip
        return [row | measured_of(row["key"]) for row in rows]


def measured_of(key: str) -> dict[str, float | None]:
    """What `put_measures` writes of a sample."""
    if key == NOT_MEASURED:
        return {"registration_px": None, "likeness": None}
    shard, index = map(int, key.split("-"))
    value = float(np.float32((7 * index + 3 * shard) % 11 / 10))
    return {"registration_px": value, "likeness": float(np.float32(1 - value))}


def put_measures(dataset: Dataset) -> None:
    """Measurements of every sample but one. Those of shard 1 are not in the order of its index."""
    for shard in dataset.committed():
        keys = [key for key in dataset.index(shard)["key"].to_pylist() if key != NOT_MEASURED]
        keys = keys[::-1] if shard == 1 else keys
        rows = [{"key": key, **measured_of(key)} for key in keys]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, EYE_MEASURES_SCHEMA), sink)
        dataset.store.put(f"measures/{HOW}/{shard:06d}.parquet", sink.getvalue().to_pybytes())


def put_training(folder: Path, *, note: str = "adversarial") -> None:
    """A training run with metrics, strips and a score, as `jobs/train.py` leaves them."""
    (folder / "strips").mkdir(parents=True)
    config = {"steps": 100, "refiner_pretrain_steps": 10, "discriminator_pretrain_steps": 10}
    record = {"format_version": 1, "domain": "eye", "config": config | {"psi": note}}
    (folder / "train.json").write_text(json.dumps(record))
    lines = [
        {"clock": clock, "phase": note, "realism_loss": 1 / clock, "mean_abs_delta": 0.01 * clock}
        for clock in range(5, 60, 5)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"clock": 60, "real')  # it is being written
    for step in STEPS:
        put_strip(folder, step)
    score = {"score": {"drift_px": {"median": 0.25, "p95": 0.75}, "mean_abs_delta": 0.125}}
    (folder / SCORED_FOLDER / "00000020").mkdir(parents=True)
    (folder / SCORED_FOLDER / "00000020" / SCORE_NAME).write_text(json.dumps(score))


def put_strip(folder: Path, step: int) -> None:
    """One more strip of a run."""
    picture = np.full((20, 80), 3 * step, np.uint8)
    (folder / "strips" / f"step-{step:06d}.png").write_bytes(encode_png(picture))


@pytest.fixture(scope="session")
def places(judged_once, two_shards, tmp_path_factory) -> Places:
    """Read only."""
    folder = tmp_path_factory.mktemp("looking") / "places"
    synthetic = planted.copied(two_shards, folder / "synthetic")
    refined = planted.copied(judged_once, folder / "refined")
    put_measures(refined)
    releases.release(refined)
    swap_latest(refined, "r1", refined)
    put_training(folder / "run")
    return Places(folder, synthetic, refined)


@pytest.fixture(scope="session")
def hostile(judged_once, two_shards, tmp_path_factory) -> Path:
    """Places whose files hold HTML wherever a text is free. Read only."""
    folder = tmp_path_factory.mktemp("hostile") / "places"
    synthetic = planted.copied(two_shards, folder / "synthetic")
    refined = planted.copied(judged_once, folder / "refined")
    for dataset in (synthetic, refined):
        card = dataset.card.model_copy(update={"name": HOSTILE})
        (Path(dataset.location) / "dataset.json").write_bytes(card.to_json())
    for path in (Path(synthetic.location) / "rejected").iterdir():
        rows = pq.read_table(path)
        spoilt = {"reason": HOSTILE, "source_id": HOSTILE}
        for name, text in spoilt.items():
            index = rows.schema.get_field_index(name)
            rows = rows.set_column(index, rows.schema.field(index), pa.array([text] * len(rows)))
        pq.write_table(rows, path)
    check = releases.report_on(refined).checks[0]
    missed = check.model_copy(update={"passed": False, "measure": HOSTILE})
    releases.put_report(refined, created=HOSTILE, checks=(missed,), passed=False)
    releases.put_verdicts(refined, {"000000-000001": [HOSTILE]})
    put_training(folder / "run", note=HOSTILE)
    assert refined.store.read(f"reports/{releases.REPORT_ID}/report.html") == PAGE
    return folder


def client_of(*places: Path | str) -> "FlaskClient":
    """What asks for pages as a browser of this machine does, without a server."""
    from factory.browse.app import make_app

    app = make_app([str(location) for location in places], port=PORT)
    app.config["SERVER_NAME"] = f"127.0.0.1:{PORT}"  # what the client asks for by default
    return app.test_client()


@contextmanager
def browsed(*places: Path | str) -> Iterator[str]:
    """The address of the page while it is served."""
    from factory.browse.server import make_server

    server = make_server([str(location) for location in places], 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield url_at(server.effective_port).rstrip("/")
    finally:
        server.close()
        thread.join(10)
