"""The pages, asked for without a browser: what they show, and what they refuse."""

import re

import pytest

from factory.browse import dataset_pages, trainings
from factory.images.png import decode_png
from schemas.release import LatestRelease
from support.browsing import (
    NOT_MEASURED,
    PORT,
    REFINED,
    RUN,
    STEPS,
    SYNTHETIC,
    client_of,
    put_strip,
    put_training,
)
from support.filtered import PAGE, kept_here
from support.pages import HOSTILE, Page
from support.planted import copied, objects
from support.releases import REPORT_ID

pytestmark = pytest.mark.slow

OWN = f"/datasets/{REFINED}"
VIEWS = (
    "/",
    f"{OWN}/",
    f"{OWN}/samples",
    f"{OWN}/samples?view=table&sort=registration_px&order=desc",
    f"{OWN}/samples?where=iris_px+%3E+1",
    f"{OWN}/samples/000000-000001?where=not+keep",
    f"{OWN}/reports/",
    f"{OWN}/reports/{REPORT_ID}/",
    f"{OWN}/releases/r1/",
    f"{OWN}/releases/r1/samples",
    f"{OWN}/releases/r1/samples/000003-000001",
    f"/datasets/{SYNTHETIC}/",
    f"/datasets/{SYNTHETIC}/samples",
    f"/datasets/{SYNTHETIC}/samples/000000-000000",
    f"/datasets/{SYNTHETIC}/rejects",
    f"/trainings/{RUN}/",
)


@pytest.fixture(scope="module")
def client(places):
    return client_of(places.folder)


@pytest.fixture(scope="module")
def hostile_client(hostile):
    return client_of(hostile)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_whole_and_its_links_lead_somewhere(client, view) -> None:
    reply = client.get(view)
    assert reply.status_code == 200
    page = Page(reply.text)
    assert page.open == []
    assert "style" not in {name for _, attrs in page.tags for name in attrs}, (
        "the policy forbids it"
    )
    links = {attrs.get("href") for tag, attrs in page.tags if tag in ("a", "link")}
    links |= {attrs.get("src") for tag, attrs in page.tags if tag in ("img", "script", "iframe")}
    assert all(link.startswith(("/", "#")) for link in links if link)
    for link in sorted(link for link in links if link and link.startswith("/"))[::3][:6]:
        assert client.get(link).status_code == 200, link


@pytest.mark.parametrize("view", VIEWS)
def test_names_from_files_are_text_whatever_they_hold(hostile_client, view) -> None:
    reply = hostile_client.get(view)
    assert reply.status_code in (200, 404)
    assert HOSTILE not in reply.text
    assert "<script>alert" not in reply.text and "<img src=x" not in reply.text
    tags = Page(reply.text).tags
    assert [attrs for tag, attrs in tags if tag == "script"] == [
        {"src": "/static/browse.js", "defer": None}
    ]
    assert not any(name.startswith("on") for _, attrs in tags for name in attrs)


def test_the_names_of_the_hostile_places_are_shown(hostile_client) -> None:
    """The test above would pass on a page without them."""
    for view in (f"{OWN}/", f"/datasets/{SYNTHETIC}/rejects", f"/trainings/{RUN}/",
                 f"{OWN}/samples/000000-000001", f"{OWN}/reports/"):  # fmt: skip
        assert "alert(1)" in Page(hostile_client.get(view).text).text, view


def test_a_query_from_the_address_is_text_too(client) -> None:
    for name in ("where", "sort", "show", "view", "page", "wait"):
        reply = client.get(f"{OWN}/samples", query_string={name: HOSTILE})
        assert reply.status_code == 200 and HOSTILE not in reply.text
    assert HOSTILE not in client.get(f"/datasets/{HOSTILE}/").text


def test_a_field_of_an_address_is_not_repeated_without_limit(client) -> None:
    """Every link of a page holds the query of its address, and there are hundreds."""
    for name in ("where", "sort", "show"):
        reply = client.get(f"{OWN}/samples", query_string={name: "a" * 4001})
        assert reply.status_code == 414 and len(reply.data) < 100
        assert client.get(f"{OWN}/samples", query_string={name: "a" * 4000}).status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options", "trace"])
def test_nothing_but_reading_is_answered(client, method) -> None:
    for view in ("/", f"{OWN}/samples", "/static/browse.js"):
        reply = getattr(client, method)(view)
        assert reply.status_code == 405 and "read" in reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": f"evil.example:{PORT}"},
        {"Host": f"127.0.0.1:{PORT + 1}"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_sites_get_nothing(client, headers) -> None:
    for view in ("/", f"{OWN}/samples/000000-000000/own.png", "/static/browse.css"):
        reply = client.get(view, headers=headers)
        assert reply.status_code == 403 and len(reply.text) < 100


def test_every_answer_has_the_policy_and_a_report_may_run_nothing(client) -> None:
    for view in ("/", "/nothing", f"{OWN}/samples/000000-000000/own.png", "/static/browse.js"):
        policy = client.get(view).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "http" not in policy
    report = client.get(f"{OWN}/reports/{REPORT_ID}/report.html")
    assert report.data == PAGE
    policy = report.headers["Content-Security-Policy"]
    assert policy.endswith("sandbox") and "script-src" not in policy
    frame = client.get(f"{OWN}/reports/{REPORT_ID}/").text
    assert '<iframe class="report" sandbox src=' in frame


def test_looking_around_writes_nothing(places) -> None:
    before = [objects(dataset) for dataset in (places.refined, places.synthetic)]
    client = client_of(places.folder)
    for view in VIEWS:
        assert client.get(view).status_code == 200
    assert [objects(dataset) for dataset in (places.refined, places.synthetic)] == before


def test_pictures_are_those_that_are_stored(client, places) -> None:
    for release in ("", "/releases/r1"):
        at = f"{OWN}{release}/samples/000001-000002"
        own = decode_png(client.get(f"{at}/own.png").data)
        origin = decode_png(client.get(f"{at}/origin.png").data)
        assert (own == places.refined.image("000001-000002")).all()
        assert not (own == origin).all()
        change = decode_png(client.get(f"{at}/change.png").data).astype(int)
        assert (abs(2 * (change - 128) - (own.astype(int) - origin)) <= 1).all()
    for missing in ("000009-000000/own", "000000-000099/own", "no-key/own", "000000-000000/other"):
        assert client.get(f"{OWN}/samples/{missing}.png").status_code == 404
    assert client.get(f"/datasets/{SYNTHETIC}/samples/000000-000000/origin.png").status_code == 404


def test_a_picture_that_is_not_the_committed_one_is_not_shown(places, dataset) -> None:
    client, name = client_of(dataset.location), dataset.location.rpartition("/")[2]
    address = f"/datasets/{name}/samples/000000-000000"
    assert client.get(f"{address}/own.png").status_code == 200
    tar = next(entry.name for entry in dataset.store.entries("shards"))
    raw = bytearray(dataset.store.read(tar))
    raw[700] ^= 1
    dataset.store.put(tar, bytes(raw))
    reply = client.get(f"{address}/own.png")
    assert reply.status_code == 500 and "not the one that was committed" in Page(reply.text).text


def test_a_sample_is_shown_with_its_neighbours_in_the_order_of_the_query(client, places) -> None:
    rows = [row for row in places.rows() if row["registration_px"] is not None]
    rows.sort(key=lambda row: (-row["registration_px"], row["key"]))
    address = f"{OWN}/samples/{rows[1]['key']}?sort=registration_px&order=desc"
    page = Page(client.get(address).text)
    steps = {attrs["rel"]: attrs["href"] for tag, attrs in page.tags
             if tag == "a" and attrs.get("class") == "step"}  # fmt: skip
    assert steps["prev"].startswith(f"{OWN}/samples/{rows[0]['key']}?")
    assert steps["next"].startswith(f"{OWN}/samples/{rows[2]['key']}?")
    assert "2 of 24" in page.text and "sorted by registration_px, largest first" in page.text
    assert "displacement of the whole picture's edges" in page.text
    assert "unit vector of the gaze" in page.text
    first = Page(client.get(f"{OWN}/samples/{rows[0]['key']}?sort=registration_px&order=desc").text)
    assert "← previous" in first.text
    assert not [attrs for tag, attrs in first.tags if attrs.get("rel") == "prev"]


def test_a_sample_says_what_its_report_says_and_what_was_not_measured(client) -> None:
    dropped = Page(client.get(f"{OWN}/samples/000001-000000").text).text
    assert "dropped by report" in dropped and "drift_px, gaze_deg" in dropped
    bare = Page(client.get(f"{OWN}/samples/{NOT_MEASURED}").text).text
    assert re.search(r"Not measured: .*registration_px", bare)
    outside = Page(client.get(f"{OWN}/samples/000000-000000?where=not+keep").text).text
    assert "not among the samples of the query" in outside


def test_a_wrong_query_is_shown_with_its_place_and_with_what_may_be_meant(client) -> None:
    reply = client.get(f"{OWN}/samples?where=gaze_yaw_deg+%3E+20+and+iris_px+%3E+1")
    page = Page(reply.text)
    assert "The query cannot be understood at character 23, in 'iris_px > 1'" in page.text
    assert "<mark>iris_px &gt; 1</mark>" in reply.text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a" and attrs.get("href")]
    assert [h for h in links if "where=gaze_yaw_deg+%3E+20+and+iris_size+%3E+1" in h]
    other = Page(client.get(f"{OWN}/samples?where=keep+and+registration+%3E+1").text)
    links = [attrs["href"] for tag, attrs in other.tags if tag == "a" and attrs.get("href")]
    (better,) = [h for h in links if "where=keep+and+registration_px+%3E+1" in h]
    assert 'role="alert"' not in client.get(better).text


def test_pages_of_samples_follow_each_other(client, monkeypatch) -> None:
    from factory.browse import sample_pages

    monkeypatch.setattr(sample_pages, "OF_PAGE", 10)
    address, seen = f"{OWN}/samples?sort=gaze_yaw_deg", []
    for _ in range(3):
        page = Page(client.get(address).text)
        tiles = [attrs["href"] for _, attrs in page.tags if "tile" in (attrs.get("class") or "")
                 and "href" in attrs]  # fmt: skip
        seen += [re.search(r"\d{6}-\d{6}", tile)[0] for tile in tiles]
        after = [attrs["href"] for tag, attrs in page.tags if attrs.get("rel") == "next"]
        address = after[0] if after else None
    assert address is None and len(seen) == len(set(seen)) == 24


def test_rejects_are_counted_by_reason_with_their_pictures(client, monkeypatch) -> None:
    page = Page(client.get(f"/datasets/{SYNTHETIC}/rejects").text)
    assert "2 rejected image does not decode" in page.text
    assert "The file is no picture" in page.text
    picture = client.get(f"/datasets/{SYNTHETIC}/rejects/0/000000-000000.png")
    assert picture.status_code == 200 and decode_png(picture.data).ndim in (2, 3)
    for missing in ("0/000000-000099", "7/000007-000000", "0/nothing"):
        assert client.get(f"/datasets/{SYNTHETIC}/rejects/{missing}.png").status_code == 404
    monkeypatch.setattr(dataset_pages, "REJECTS_OF_PAGE", 1)
    assert "page 1 of 2" in Page(client.get(f"/datasets/{SYNTHETIC}/rejects").text).text


def test_the_overview_shows_lineage_releases_and_the_pointer(client) -> None:
    page = Page(client.get(f"{OWN}/").text)
    assert "The pointer releases/latest.json names r1" in page.text
    assert [h for _, a in page.tags if (h := a.get("href")) == f"{OWN}/releases/r1/"]
    assert re.search(r"Lineage .*synthetic", page.text)
    assert "24 samples" in page.text
    home = Page(client.get("/").text).text
    assert "parent of one that was given" in home, "the refined dataset's parent lies elsewhere"


def test_the_pointer_may_name_a_release_of_a_filtered_dataset(places, tmp_path) -> None:
    refined = copied(places.refined, tmp_path / "all" / "refined")
    kept_here(refined, tmp_path / "all" / "refined-kept")
    pointer = LatestRelease(
        release="night-1", manifest="0" * 64, dataset="../refined-kept", published="2026-11-30"
    )
    refined.store.put("releases/latest.json", pointer.to_json())
    client = client_of(tmp_path / "all")
    page = Page(client.get("/datasets/all-refined/").text)
    assert re.search(r"names night-1 of \S+/all/refined-kept\.", page.text)
    assert "/datasets/all-refined-kept/releases/night-1/" in {a.get("href") for _, a in page.tags}
    shown = Page(client.get("/datasets/all-refined-kept/samples/000001-000001").text)
    assert "displacement of the whole picture's edges" in shown.text, "measured in its parent"
    assert "parent" in shown.text
    refined.store.put("releases/latest.json", b"{")
    assert "not JSON" in Page(client.get("/datasets/all-refined/").text).text
    for name in ("..", "no-such", "%2e%2e"):
        assert client.get(f"/datasets/all-refined/releases/{name}/samples").status_code == 404


def test_a_training_is_shown_as_it_grows(tmp_path) -> None:
    put_training(tmp_path / "run")
    client = client_of(tmp_path / "run")
    page = Page(client.get("/trainings/run/").text)
    assert "running" in page.text and "55 of 120 updates" in page.text
    assert [alt for _, a in page.tags if (alt := a.get("alt"))] == [
        f"step {step}" for step in reversed(STEPS)
    ]
    assert "drift_median_px" in page.text and "0.25" in page.text
    curves = [attrs for tag, attrs in page.tags if tag == "polyline"]
    assert [len(curve["points"].split()) for curve in curves] == [11, 11]
    put_strip(tmp_path / "run", 60)
    assert "step 60" in client.get("/trainings/run/live").text
    (tmp_path / "run" / "refiner.safetensors").write_bytes(b"weights")
    assert "The run is finished" in client.get("/trainings/run/live").text
    for name in ("step-000060.png", "../metrics.jsonl", "train.json", "overview.png"):
        status = client.get(f"/trainings/run/pictures/{name}").status_code
        assert status == (200 if name == "step-000060.png" else 404)


def test_a_training_that_is_still_has_stopped(tmp_path, monkeypatch) -> None:
    put_training(tmp_path / "run")
    monkeypatch.setattr(trainings.time, "time", lambda: 4e9)
    reply = client_of(tmp_path).get(f"/trainings/{tmp_path.name}-run/")
    assert "The run stopped before it was finished" in reply.text
