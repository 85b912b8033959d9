"""Ranges of labels by which renders are kept, from estimates whose truth is known."""

import numpy as np
import pytest

from factory.evaluation.content.ranges import content_of, rounded_outwards
from factory.evaluation.content.reading import Estimates
from factory.evaluation.content.report import advice
from factory.networks.evaluation_kinds import ContentLabel
from schemas.content import ContentOfLabel


def label(name: str, pays: bool = False) -> ContentLabel:
    return ContentLabel(
        name, "widths", (name,), lambda index: index[name].to_numpy(), f"keep_{name}", 0.05, pays
    )


OPENING, YAW = label("opening", pays=True), label("yaw")
RNG = np.random.default_rng(8)
TRUE = RNG.uniform(0, 1, 3000)
"""labels of renders"""


def noisy(values: np.ndarray, sd: float = 0.05) -> np.ndarray:
    return values + np.random.default_rng(len(values)).normal(0, sd, len(values))


def found(real: np.ndarray, estimates: np.ndarray | None = None) -> ContentOfLabel:
    """What follows for renders of uniform labels.

    Args:
        real: true content of the real images; it is estimated as that of renders is.
        estimates: for the renders, in place of their labels with some noise.
    """
    renders = noisy(TRUE) if estimates is None else estimates
    estimated = Estimates(renders[:, None], noisy(real)[:, None])
    (content,) = content_of([OPENING], TRUE[:, None], estimated)
    return content


def test_the_range_holds_what_the_camera_shows_and_little_else() -> None:
    content = found(RNG.uniform(0.3, 0.5, 800))
    assert content.outcome == "filter" and content.recommended is not None
    low, high = content.recommended
    assert 0.1 <= low <= 0.3 and 0.5 <= high <= 0.7
    assert content.share_kept == pytest.approx(high - low, abs=0.03), "of uniform labels"
    assert content.share_alike == pytest.approx(0.2 + 2 * 0.05, abs=0.08)
    assert content.share_covered > 0.99
    assert content.real[0] == pytest.approx(0.29, abs=0.03)
    assert f"keep labels of {low:g} to {high:g}" in content.in_words


def test_a_label_that_cannot_be_read_gets_no_range() -> None:
    content = found(RNG.uniform(0.3, 0.5, 800), RNG.permutation(TRUE))
    assert content.outcome == "not readable"
    assert content.recommended is None and content.alike is None and content.share_kept is None
    assert "opening cannot be read off such images" in content.in_words
    constant = found(RNG.uniform(0.3, 0.5, 800), np.full(len(TRUE), 0.4))
    assert constant.outcome == "not readable" and constant.correlation is None


def test_renders_that_show_what_the_camera_shows_need_no_filter() -> None:
    content = found(RNG.uniform(0, 1, 2000))
    assert content.outcome == "nothing to filter" and content.recommended is None
    assert content.share_alike > 0.95 and content.alike == (0.05, 0.95)
    assert "nothing needs to be filtered" in content.in_words


def test_a_camera_that_shows_what_no_render_does_is_told() -> None:
    apart = found(RNG.uniform(2, 3, 800))
    assert apart.outcome == "none alike" and apart.recommended is None
    assert apart.share_alike == apart.share_covered == 0
    assert "100% of the real images show what hardly any render does" in apart.in_words
    partly = found(RNG.uniform(0.5, 1.5, 800))
    assert partly.outcome == "filter" and partly.recommended is not None
    assert partly.recommended[1] == 1.0
    assert "draw renders that do" in partly.in_words


@pytest.mark.parametrize(
    ("given", "step", "expected"),
    [
        ((0.2001, 0.399), 0.02, (0.2, 0.4)),
        ((0.2, 0.4), 0.02, (0.2, 0.4)),
        ((-27.3, 22.1), 5.0, (-30.0, 25.0)),
        ((0.3, 0.3), 0.1, (0.3, 0.4)),
        ((0.0, 0.0), 5.0, (0.0, 5.0)),
    ],
)
def test_a_range_is_rounded_outwards_and_never_empty(given, step, expected) -> None:
    assert rounded_outwards(*given, step) == expected


def test_what_has_been_shown_to_pay_comes_first_and_alone() -> None:
    values = np.stack([TRUE, RNG.permutation(TRUE)], axis=1)
    real = np.stack([RNG.uniform(0.3, 0.5, 800), RNG.uniform(0.6, 0.8, 800)], axis=1)
    estimates = Estimates(
        np.stack(list(map(noisy, values.T)), axis=1), np.stack(list(map(noisy, real.T)), axis=1)
    )
    contents = content_of([OPENING, YAW], values, estimates)
    advised = advice([OPENING, YAW], contents, values)
    (low, high), (left, right) = (c.recommended or (0, 0) for c in contents)
    assert advised["first_options"] == f"--keep-opening {low:g} {high:g}"
    assert (
        advised["all_options"] == f"--keep-opening {low:g} {high:g} --keep-yaw {left:g} {right:g}"
    )
    kept = [low <= one <= high and left <= other <= right for one, other in values]
    assert advised["share_kept_by_all"] == sum(kept) / len(kept)
    first, second = advised["in_words"]
    assert "Matching opening to the camera has been shown to pay (docs/evidence.md)" in first
    assert "Matching yaw too has not been shown to pay" in second
    assert f"together keep {np.mean(kept):.0%}" in second


def test_without_a_range_of_what_pays_this_is_said() -> None:
    values = np.stack([TRUE, TRUE], axis=1)
    estimates = Estimates(
        np.stack([RNG.permutation(TRUE), noisy(TRUE)], axis=1),
        np.full((50, 2), 0.5) + 0.01 * TRUE[:50, None],
    )
    contents = content_of([OPENING, YAW], values, estimates)
    advised = advice([OPENING, YAW], contents, values)
    assert advised["first_options"] is None and str(advised["all_options"]).startswith("--keep-yaw")
    assert advised["in_words"][0].startswith("No range of opening is recommended")
    advised = advice([OPENING], contents[:1], values[:, :1])
    assert advised["all_options"] is None and advised["share_kept_by_all"] is None
    assert advised["in_words"] == ("No filter is recommended.",)
