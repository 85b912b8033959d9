"""Places whose files are damaged, are written, or change while they are looked at."""

import json
import shutil
from pathlib import Path

import pytest

from factory.browse import opened
from factory.browse import places as catalogue
from factory.dataset.dataset import Dataset
from support.browsing import HOW, client_of, put_measures, put_training
from support.pages import Page
from support.planted import copied
from support.releases import REPORT_ID

pytestmark = pytest.mark.slow

OWN = "/datasets/all-refined"
SCORE = "scored/00000020/score.json"
DAMAGE_OF_A_RUN = (
    ("metrics.jsonl", b'{"clock": 60, "mean_abs_delta": null, "phase": [1]}\n'),
    ("train.json", None),
    (SCORE, b"[]"),
    (SCORE, b'{"score": {"closed_share": "x", "drift_px": {}, "two_sample": [1]}}'),
    (SCORE, b'{"score": {"drift_px": {"median": null, "p95": "x"}}}'),
    ("scored/020/score.json", b'{"score": {"mean_abs_delta": 1.5}}'),
)
"""what a file of it holds; None for a folder in its place"""


@pytest.fixture
def at_once(monkeypatch) -> None:
    """What changes is seen by the next request."""
    monkeypatch.setattr(opened, "FRESH_S", -1.0)
    monkeypatch.setattr(catalogue, "LOOKED_AGAIN_S", -1.0)


@pytest.fixture
def refined(places, tmp_path):
    return copied(places.refined, tmp_path / "all" / "refined")


def text_of(client, view: str) -> str:
    reply = client.get(view)
    assert reply.status_code == 200, reply.text
    return Page(reply.text).text


@pytest.mark.parametrize(("name", "content"), DAMAGE_OF_A_RUN)
def test_a_damaged_run_is_shown_as_far_as_it_can_be_read(tmp_path, name, content) -> None:
    put_training(tmp_path / "run")
    path = tmp_path / "run" / name
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)
    client = client_of(tmp_path / "run")
    assert "updates" in text_of(client, "/")
    assert "updates" in text_of(client, "/trainings/run/")


def test_a_loss_that_is_no_number_hides_no_later_line(tmp_path) -> None:
    put_training(tmp_path / "run")
    lines = [{"clock": 60, "realism_loss": float("nan")}, {"clock": 65, "realism_loss": 0.5}]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (tmp_path / "run" / "metrics.jsonl").write_text(text)
    assert "65 of 120 updates" in text_of(client_of(tmp_path / "run"), "/trainings/run/")


def test_what_cannot_be_read_of_one_place_leaves_the_first_page(refined, places, tmp_path) -> None:
    copied(places.synthetic, tmp_path / "all" / "whole")
    folder = Path(refined.location)
    pointer = json.loads((folder / "releases" / "latest.json").read_text())
    (folder / "releases" / "latest.json").write_text(json.dumps(pointer | {"dataset": "a\0b"}))
    (folder / "releases" / "r1" / "manifest.json").unlink()
    (folder / "releases" / "r1" / "manifest.json").mkdir()
    for view in ("/", f"{OWN}/"):
        assert "24 samples" in text_of(client_of(tmp_path / "all"), view)
    (folder / "releases" / "latest.json").unlink()
    (folder / "releases" / "latest.json").mkdir()
    assert "all/whole" in text_of(client_of(tmp_path / "all"), "/")
    assert "Is a directory" in text_of(client_of(tmp_path / "all"), f"{OWN}/")


def test_measures_and_verdicts_that_cannot_be_read_are_missing_and_it_is_said(
    refined, tmp_path, at_once
) -> None:
    folder, client = Path(refined.location), client_of(tmp_path / "all")
    asked = f"{OWN}/samples?where=registration_px+is+not+null"
    assert "23 of 24 samples" in text_of(client, asked)
    damaged = folder / "measures" / HOW / "000000.parquet"
    raw = damaged.read_bytes()
    damaged.write_bytes(raw[:100])
    (folder / "reports" / REPORT_ID / "verdicts.parquet").write_bytes(b"PAR1")
    for view in (f"{OWN}/samples?view=table", f"{OWN}/releases/r1/samples/000000-000001"):
        text = text_of(client, view)
        assert "The measures of shard 0 cannot be read, so they are missing here" in text
        assert f"The verdicts of report {REPORT_ID} cannot be read" in text
    assert "18 of 24 samples" in text_of(client, asked)
    damaged.write_bytes(raw)
    text = text_of(client, asked)
    assert "23 of 24 samples" in text and "The measures of" not in text
    for path in damaged.parent.iterdir():
        path.write_bytes(b"PAR1")
    assert "The measures cannot be read" in text_of(client, f"{OWN}/samples")


@pytest.mark.parametrize("num_bytes", [0, 4, 1000])
def test_a_damaged_index_is_named_with_what_mends_it_and_the_rest_is_shown(
    refined, places, tmp_path, at_once, num_bytes
) -> None:
    parent = refined.card.parent
    synthetic = copied(Dataset.open(parent.location), tmp_path / "all" / "synthetic")
    moved = parent.model_copy(update={"location": synthetic.location})
    card = refined.card.model_copy(update={"parent": moved})
    (Path(refined.location) / "dataset.json").write_bytes(card.to_json())
    client, named = client_of(tmp_path / "all"), {}
    for dataset in (refined, synthetic):
        index = Path(dataset.location) / "index" / "000000.parquet"
        raw = index.read_bytes()
        index.write_bytes(raw[:num_bytes])
        named[dataset.location] = (str(index), f"repair --input {dataset.location} --apply")
    num_left = 24 - len(places.refined.index(0))
    first = text_of(client, "/")
    for location, said in named.items():
        assert all(words in first for words in said), location
    for view in ("/", "/samples", "/samples/000001-000001", "/reports/", f"/reports/{REPORT_ID}/"):
        text = text_of(client, f"{OWN}{view}")
        missing = [words for said in named.values() for words in said if words not in text]
        assert not missing, view
    assert f"{num_left} samples" in text_of(client, f"{OWN}/samples")
    assert f"{num_left} of {num_left}" in text_of(client, f"{OWN}/samples?where=shard+>+-1")
    for view in ("/", "/samples", "/rejects"):
        text = text_of(client, f"/datasets/all-synthetic{view}")
        assert all(words in text for words in named[synthetic.location]), view
        assert refined.location not in text or view == "/"
    picture = f"{OWN}/samples/000001-000001/own.png"
    assert client.get(picture).status_code == 200
    assert client.get(picture.replace("own", "change")).status_code == 200
    assert client.get(picture.replace("000001-", "000000-")).status_code == 404


def test_measures_are_seen_while_they_grow(refined, tmp_path, at_once) -> None:
    folder, client = Path(refined.location), client_of(tmp_path / "all")
    asked = f"{OWN}/samples?where=registration_px+is+not+null"
    for path in sorted((folder / "measures" / HOW).iterdir())[1:]:
        path.unlink()
    assert "5 of 24 samples" in text_of(client, asked)
    shutil.rmtree(folder / "measures")
    put_measures(refined)
    assert "23 of 24 samples" in text_of(client, asked)


def test_a_dataset_that_was_made_anew_is_shown_with_its_new_card(
    refined, tmp_path, at_once
) -> None:
    client = client_of(tmp_path / "all")
    assert "made anew" not in text_of(client, f"{OWN}/")
    card = refined.card.model_copy(update={"name": "made anew"})
    (Path(refined.location) / "dataset.json").write_bytes(card.to_json())
    assert "made anew" in text_of(client, f"{OWN}/")


def test_a_report_that_is_not_complete_is_not_found(refined, tmp_path) -> None:
    folder = Path(refined.location) / "reports" / "20270101-000000-aaaa"
    folder.mkdir()
    (folder / "report.html").write_text("x")
    reply = client_of(tmp_path / "all").get(f"{OWN}/reports/{folder.name}/")
    assert reply.status_code == 404 and "is not complete yet" in reply.text
