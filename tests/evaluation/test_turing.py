"""The visual Turing test: what is shown, how answers are kept, what they come to, and what two
observers score whose skill is known."""

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from factory.evaluation.turing.analysis import (
    PAPER_CORRECT,
    PAPER_TABLE,
    against_chance,
    in_words,
    num_needed,
    report_of,
)
from factory.evaluation.turing.answers import AnswerFile, read_answers
from factory.evaluation.turing.choice import OtherTestError, chosen, picture_png
from factory.evaluation.turing.run import local_store, write_analysis
from factory.store.local import LocalStore
from schemas.base import FormatError
from schemas.turing import AnswerLine, AnswersResult, Confusion, TuringReport
from support.pages import Page
from support.tables import without_unit
from support.turing import Eyes, guessing, network, serving

pytestmark = pytest.mark.slow

FEW = {"num_examples": 4, "num_refined": 3, "num_unrefined": 2}


@pytest.fixture
def datasets(turing_eyes):
    return turing_eyes.datasets


# --- what is shown ----------------------------------------------------------------------------


def test_the_papers_counts_in_a_random_order_and_nothing_twice(turing_eyes, datasets, tmp_path):
    settings = turing_eyes.settings()
    pictures = chosen(LocalStore(tmp_path), settings, datasets, "one")
    for part, num in zip(pictures.parts, (50, 10), strict=True):
        assert Counter(one.truth for one in part.examples) == {"real": 10, "synthetic": 10}
        assert Counter(one.origin for one in part.pictures) == {"real": num, part.other: num}
    order = [one.truth for one in pictures.parts[0].pictures]
    assert 30 < sum(a != b for a, b in pairwise(order)) < 70
    shown = [one for part in pictures.parts for one in (*part.examples, *part.pictures)]
    assert len({one.png_sha256 for one in shown}) == len(shown) == 160


def test_renders_are_others_than_those_whose_refined_images_are_shown(turing_eyes, tmp_path):
    """While there are others."""
    eyes = turing_eyes._replace(refined=turing_eyes.unrefined, unrefined=turing_eyes.refined)
    for num_unrefined, num_both in ((48, 0), (50, 2)):  # of 64 images, 14 have keys of refined ones
        settings = eyes.settings(num_examples=4, num_refined=12, num_unrefined=num_unrefined)
        store = LocalStore(tmp_path / str(num_unrefined))
        parts = chosen(store, settings, eyes.datasets, "one").parts
        keys = [
            {one.key for one in (*part.examples, *part.pictures) if one.origin == part.other}
            for part in parts
        ]
        assert len(keys[0] & keys[1]) == num_both


def test_seed_and_observer_decide_what_is_shown_and_it_is_written_once(
    turing_eyes, datasets, tmp_path
):  # fmt: skip
    settings = turing_eyes.settings(**FEW)
    drawn = {
        (folder, seed, name): chosen(
            LocalStore(tmp_path / folder / str(seed)),
            settings.model_copy(update={"seed": seed}),
            datasets,
            name,
        ).parts
        for folder, seed, name in (("a", 0, "x"), ("b", 0, "x"), ("a", 0, "y"), ("a", 1, "x"))
    }
    again = drawn["a", 0, "x"]
    assert drawn["b", 0, "x"] == again
    assert drawn["a", 0, "y"] != again and drawn["a", 1, "x"] != again
    assert chosen(LocalStore(tmp_path / "a/0"), settings, {}, "x").parts == again  # not drawn anew


def test_an_image_that_lies_under_two_keys_is_shown_once(turing_eyes, tmp_path):
    """As an example, it would answer for itself."""
    eyes = turing_eyes._replace(refined=turing_eyes.real)
    datasets = {"real": eyes.real, "refined": eyes.refined}
    settings = eyes.settings(num_examples=20, num_refined=32)
    settings = settings.model_copy(update={"datasets": {o: settings.datasets[o] for o in datasets}})
    pictures = chosen(LocalStore(tmp_path), settings, datasets, "one")
    (part,) = pictures.parts
    shown = [one.png_sha256 for one in (*part.examples, *part.pictures)]
    assert len(set(shown)) == len(shown) == 84
    more = settings.model_copy(update={"num_refined": 33})
    with pytest.raises(ValueError, match=r"real-set has 41 images.* needs 43; lower --num-ex"):
        chosen(LocalStore(tmp_path / "more"), more, datasets, "one")
    assert not (tmp_path / "more").exists(), "so that fewer can be asked for in the same place"


def test_other_settings_are_refused_and_a_dataset_may_move(turing_eyes, datasets, tmp_path):
    store, settings = LocalStore(tmp_path), turing_eyes.settings(**FEW)
    chosen(store, settings, datasets, "one")
    with pytest.raises(OtherTestError, match="seed: 0 -> 7"):
        chosen(store, settings.model_copy(update={"seed": 7}), datasets, "two")
    moved = {o: d.model_copy(update={"location": "/else"}) for o, d in settings.datasets.items()}
    chosen(store, settings.model_copy(update={"datasets": moved}), datasets, "one")
    assert b'"/else"' in store.read("test.json")


def test_datasets_of_another_layout_are_refused(turing_eyes, single_reals):
    card = single_reals.card
    card = card.model_copy(update={"image": card.image.model_copy(update={"width": 60})})
    eyes = turing_eyes._replace(refined=type(single_reals)(single_reals.store, card))
    with pytest.raises(ValueError, match=r"width=60.*in one layout"):
        eyes.settings()


def test_an_image_that_has_changed_since_is_refused(turing_eyes, datasets, tmp_path):
    pictures = chosen(LocalStore(tmp_path), turing_eyes.settings(**FEW), datasets, "one")
    first = pictures.in_order[0]
    other = first.model_copy(update={"png_sha256": "0" * 64})
    with pytest.raises(ValueError, match="is not the one that the test began with"):
        picture_png(datasets[first.origin], other)
    with pytest.raises(ValueError, match="has no image 000000-999999"):
        picture_png(datasets[first.origin], first.model_copy(update={"key": "000000-999999"}))


# --- the answers ------------------------------------------------------------------------------


def test_an_answer_says_what_was_shown_and_a_test_goes_on_where_it_stopped(turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real", most=3)
        lines = [AnswerLine.from_json(t, where="") for t in served.answers_path().open("rb")]
        for line, picture in zip(lines, served.pictures.in_order, strict=False):
            assert (line.key, line.origin, line.truth) == (
                picture.key, picture.origin, picture.truth
            )  # fmt: skip
            assert line.dataset == getattr(turing_eyes, line.origin).location
            assert (line.answer, line.seconds, line.observer) == ("real", 1.5, "one")
    with serving(turing_eyes, tmp_path, **FEW) as served:
        assert served.state()["position"] == 3
        served.let_answer(lambda _: "real")
        assert len(served.answers_path().read_bytes().splitlines()) == 10
        assert served.state()["is_done"]


def test_the_last_answer_can_be_taken_back_until_all_are_given(turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real", most=2)
        assert served.ask("/undo", {"position": 1})[0] == 409  # from a window that lags behind
        assert json.loads(served.ask("/undo", {"position": 2})[1])["position"] == 1
        served.let_answer(lambda _: "synthetic", most=1)
        standing = read_answers(served.answers_path(), served.pictures)
        assert [line.answer for line in standing] == ["real", "synthetic"]
        assert len(served.answers_path().read_bytes().splitlines()) == 4  # nothing is rewritten
        served.let_answer(lambda _: "real")
        assert served.ask("/undo", {"position": 10})[0] == 409


def test_a_line_that_was_cut_off_is_removed_and_its_picture_shown_again(
    turing_eyes, tmp_path, caplog
):  # fmt: skip
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real", most=3)
        path, pictures = served.answers_path(), served.pictures
    raw = path.read_bytes()
    for cut in range(len(raw.splitlines()[-1]) + 1):  # from the end mark to the first byte
        path.write_bytes(raw[: len(raw) - 1 - cut])
        assert len(read_answers(path, pictures)) == 2
    path.write_bytes(raw[:-20])
    with serving(turing_eyes, tmp_path, **FEW) as served:
        assert served.state()["position"] == 2
        assert "was cut off and is removed" in caplog.text
        served.let_answer(lambda _: "real", most=1)
        assert len(read_answers(path, pictures)) == 3


def test_damaged_answers_are_named_with_their_line(turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real", most=3)
        path, pictures = served.answers_path(), served.pictures
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged, message in (
        ([lines[0], b"{}\n", lines[2]], "line 2: not a valid AnswerLine"),
        ([lines[0], lines[2]], "line 2: an answer to picture 2, expected 1"),
        ([lines[0].replace(b'"one"', b'"two"')], "line 1: .*of another observer"),
        ([*lines, lines[0].replace(b'"answer":"real"', b'"answer":null')], "line 4: takes back"),
    ):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(FormatError, match=message):
            read_answers(path, pictures)


def test_two_processes_do_not_show_one_observer_the_test(turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served:
        with pytest.raises(RuntimeError, match="another process shows this test to one"):
            AnswerFile(served.answers_path(), served.pictures)
        with serving(turing_eyes, tmp_path, observer="two", **FEW) as other:
            assert other.state()["observer"] == "two"


def test_an_answer_that_cannot_be_written_leaves_nothing_behind(
    turing_eyes, tmp_path, monkeypatch
):  # fmt: skip
    import os

    real_write = os.write
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real", most=1)
        before = served.answers_path().read_bytes()
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda fd, raw: real_write(fd, raw[: len(raw) // 2]))
            given = {"position": 1, "answer": "real", "seconds": 1}
            status, content, _ = served.ask("/answer", given)
        assert status == 500 and b"not saved" in content and b"disk is full" in content
        assert served.answers_path().read_bytes() == before
        served.let_answer(lambda _: "real", most=1)
        assert served.state()["position"] == 2


# --- the analysis -----------------------------------------------------------------------------


def binomial(num: int, first: int, last: int) -> float:
    """The probability of so many heads of a fair coin, by counting."""
    return sum(math.comb(num, k) for k in range(first, last + 1)) / 2**num


@pytest.mark.parametrize(("correct", "num"), [(57, 100), (50, 100), (43, 100), (20, 20), (0, 3)])
def test_the_probabilities_are_those_of_a_coin(correct: int, num: int) -> None:
    chance = against_chance(correct, num)
    assert chance.p_one_sided == pytest.approx(binomial(num, correct, num))
    far = max(correct, num - correct)
    both = 1.0 if 2 * correct == num else 2 * binomial(num, far, num)
    assert chance.p_two_sided == pytest.approx(both)
    assert (chance.low <= 0.5 <= chance.high) == (chance.p_two_sided >= 0.05)


def test_the_papers_figures() -> None:
    table = PAPER_TABLE
    assert table.real_as_real + table.synthetic_as_synthetic == PAPER_CORRECT["refined"][0]
    assert sum(table.model_dump().values()) == PAPER_CORRECT["refined"][1]
    refined, unrefined = (against_chance(*PAPER_CORRECT[k]) for k in ("refined", "unrefined"))
    assert refined.p_one_sided == pytest.approx(0.148, abs=5e-4)
    assert refined.p_two_sided > 0.29
    assert unrefined.p_two_sided < 1e-8


def test_the_words_say_what_is_shown_and_what_is_not() -> None:
    def words(correct: int, num: int, num_observers: int = 1) -> str:
        confusion = Confusion(real_as_real=0, real_as_synthetic=0, synthetic_as_real=0,
                              synthetic_as_synthetic=0)  # fmt: skip
        result = AnswersResult(
            confusion=confusion, against_chance=against_chance(correct, num), median_s=1
        )
        return in_words("refined", result, num_observers)

    assert num_needed(100) == 61 and num_needed(5) is None and num_needed(6) == 6
    assert "told refined images from real ones: 70 of 100" in words(70, 100)
    assert "under the wrong names" in words(30, 100)
    assert "did not reliably tell" in words(60, 100) and "61 right ones would" in words(60, 100)
    assert "could not show a difference" in words(5, 5)
    assert words(50, 100, 3).startswith("The 3 observers")
    assert "No question" in in_words("unrefined", None, 0)


def test_the_table_counts_each_kind_and_the_pictures_most_often_mistaken(turing_eyes, tmp_path):
    """Two observers, whose answers are known: one says always real, one is always right."""
    for observer in ("always", "right"):
        with serving(turing_eyes, tmp_path, observer=observer, **FEW) as served:
            truths = iter([one.truth for one in served.pictures.in_order])
            served.let_answer(
                (lambda _: "real") if observer == "always" else (lambda _, t=truths: next(t)),
                most=8,
            )
    report = TuringReport.from_json(_analysed(tmp_path), where="")
    refined, unrefined = report.parts
    assert refined.pooled is not None and unrefined.pooled is not None
    assert refined.pooled.confusion == Confusion(
        real_as_real=6, real_as_synthetic=0, synthetic_as_real=3, synthetic_as_synthetic=3
    )
    by_name = {one.observer: one for one in refined.observers}
    assert by_name["right"].result is not None and by_name["always"].result is not None
    assert by_name["right"].result.against_chance.accuracy == 1
    assert by_name["always"].result.against_chance.accuracy == 0.5
    assert unrefined.observers[0].num_pictures == 4
    assert unrefined.pooled.against_chance.num_answers == 4  # both stopped half-way
    assert [one.num_mistaken for one in refined.mistaken] == [1, 1, 1]
    assert {one.picture.origin for one in refined.mistaken} == {"refined"}
    html = (tmp_path / "turing.html").read_text()
    page = Page(html)
    assert page.open == [] and "<script" not in html
    assert "http:" not in html and "https:" not in html and without_unit(html) == []
    assert "not all answered" in page.text and "517 of 1000" in page.text
    assert "0.148" in page.text and "162 of 200" in page.text
    assert len(page.images()) == sum(len(part.mistaken) for part in report.parts)
    assert all(address.startswith("data:image/png;base64,") for address in page.images())


def _analysed(output: Path) -> bytes:
    write_analysis(str(output))
    return (output / "turing.json").read_bytes()


def test_an_analysis_goes_without_pictures_of_a_dataset_that_is_gone(turing_eyes, tmp_path):
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real", most=6)
    store = local_store(str(tmp_path))
    raw = store.read("test.json").replace(b"refined-set", b"refined-gone")
    store.put("test.json", raw)
    page = write_analysis(str(tmp_path))
    assert "Some pictures cannot be shown" in page and "refined-gone" in page
    with pytest.raises(FileNotFoundError, match="holds no visual Turing test"):
        write_analysis(str(tmp_path / "nothing"))


def test_an_analysis_before_any_answer(turing_eyes, datasets, tmp_path):
    settings = turing_eyes.settings(**FEW)
    pictures = chosen(LocalStore(tmp_path), settings, datasets, "one")
    report = report_of(settings, {"one": (pictures, [])})
    assert [part.pooled for part in report.parts] == [None, None]
    assert report.parts[0].observers[0].result is None


# --- observers whose skill is known -----------------------------------------------------------


def scores(eyes: Eyes, output: Path, observers: dict[str, object]) -> TuringReport:
    for name, observer in observers.items():
        with serving(eyes, output, observer=name) as served:
            served.let_answer(observer)  # type: ignore[arg-type]
    return TuringReport.from_json((output / "turing.json").read_bytes(), where="")


def test_a_guessing_observer_is_told_to_guess(turing_eyes, tmp_path):
    report = scores(turing_eyes, tmp_path, {"guess": guessing(3)})
    refined, unrefined = (part.pooled for part in report.parts)
    assert refined is not None and unrefined is not None
    assert refined.against_chance.num_answers == 100 and unrefined.against_chance.num_answers == 20
    for result in (refined, unrefined):
        assert result.against_chance.p_two_sided > 0.1
        assert result.against_chance.low < 0.5 < result.against_chance.high
    assert all("did not reliably tell" in part.in_words for part in report.parts)


def test_a_network_tells_renders_from_the_camera_and_camera_images_not_from_each_other(
    turing_eyes, tmp_path
):  # fmt: skip
    """The second dataset of "refined" images is drawn as the real one is, so nobody can."""
    report = scores(turing_eyes, tmp_path, {"network": network(turing_eyes)})
    refined, unrefined = (part.pooled for part in report.parts)
    assert refined is not None and unrefined is not None
    assert refined.against_chance.p_two_sided > 0.05
    assert unrefined.against_chance.p_two_sided < 1e-3
    assert "told renders from real ones" in report.parts[1].in_words
