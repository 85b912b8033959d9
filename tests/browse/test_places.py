"""What is found at a place, and under which names it stays reachable."""

import pytest

from factory.browse.places import Places
from schemas.options import OptionError
from support.browsing import client_of, put_training
from support.planted import copied

pytestmark = pytest.mark.slow


def found_at(*places) -> dict[str, tuple[str, str]]:
    return {f.name: (f.kind, f.shown) for f in Places([str(p) for p in places]).all().values()}


def test_datasets_and_runs_are_found_in_folders_of_folders(places, tmp_path) -> None:
    put_training(tmp_path / "out" / "night" / "run")
    copied(places.synthetic, tmp_path / "out" / "a b")
    (tmp_path / "out" / ".hidden" / "run").mkdir(parents=True)
    (tmp_path / "out" / "notes.txt").write_text("x")
    assert found_at(tmp_path / "out") == {
        "out-a-b": ("dataset", "out/a b"),
        "out-night-run": ("training", "out/night/run"),
    }
    deep = tmp_path / "deep" / "1" / "2" / "3" / "4"
    put_training(deep / "run")
    with pytest.raises(OptionError, match="holds no dataset, release or training run"):
        Places([str(tmp_path / "deep")]).check()


def test_without_a_place_it_is_said_what_to_name() -> None:
    with pytest.raises(OptionError, match="name the folder of a dataset"):
        Places([]).check()


def test_a_release_leads_to_its_dataset_and_the_same_place_is_there_once(places) -> None:
    refined = places.folder / "refined"
    items = found_at(refined / "releases" / "r1", refined, f"{refined}/")
    assert items["refined"] == ("dataset", "refined")
    (parent,) = items.keys() - {"refined"}
    assert Places([str(refined)]).get(parent, "dataset").given is False


def test_places_of_one_name_have_names_of_their_own_that_stay(places, tmp_path) -> None:
    for folder in ("a", "b"):
        copied(places.synthetic, tmp_path / folder / "eyes")
    both = [tmp_path / folder / "eyes" for folder in ("a", "b")]
    names = list(found_at(*both))
    assert names[0] == "eyes" and names[1].startswith("eyes-") and len(set(names)) == 2
    assert list(found_at(*both)) == names


def test_a_place_that_is_damaged_is_shown_with_the_reason(places, tmp_path) -> None:
    broken = copied(places.synthetic, tmp_path / "all" / "broken")
    copied(places.synthetic, tmp_path / "all" / "whole")
    (tmp_path / "all" / "broken" / "dataset.json").write_text("{")
    client = client_of(tmp_path / "all")
    home = client.get("/")
    assert home.status_code == 200 and "not JSON" in home.text and "all/whole" in home.text
    page = client.get("/datasets/all-broken/")
    assert page.status_code == 500 and "This cannot be shown" in page.text
    assert broken.location in page.text
    assert client.get("/datasets/no-such/").status_code == 404
    assert client.get("/trainings/all-whole/").status_code == 404


def test_a_place_that_cannot_be_looked_at_leaves_the_others(places, tmp_path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    client = client_of(tmp_path / "circle", places.folder)
    home = client.get("/")
    assert home.status_code == 200 and "places/refined" in home.text
    assert f"{tmp_path}/circle cannot be looked at" in home.text
    assert client.get("/datasets/places-refined/").status_code == 200


@pytest.mark.s3
def test_a_dataset_in_an_object_store_is_shown(places, moto_store) -> None:
    dataset = copied(places.synthetic, moto_store.location)
    client = client_of(dataset.location)
    assert "6 samples" in client.get("/").text
    page = client.get("/datasets/eyes/samples?where=shard+%3D+1&sort=gaze_yaw_deg")
    assert page.status_code == 200 and page.text.count('class="tile"') == 3
    picture = client.get("/datasets/eyes/samples/000001-000001/own.png")
    assert picture.status_code == 200 and picture.data.startswith(b"\x89PNG")
