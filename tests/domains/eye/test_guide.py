"""The points of an eye as outside readers get them."""

import numpy as np
import pytest

from factory.domains.eye.guide import eye_guide, eye_outline, is_inside

SQUARE = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]])


def labels(**given: object) -> dict[str, object]:
    return dict.fromkeys(("pupil_px", "iris_px", "lid_px", "caruncle_px")) | given


def circle(x: float, y: float, radius: float, count: int) -> list[list[float]]:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], -1).tolist()


def test_a_point_is_inside_by_its_place_alone() -> None:
    points = np.array([[5, 5], [-1, 5], [11, 5], [5, -1], [5, 11], [9.9, 0.1], [np.nan, 5]])
    assert is_inside(points, SQUARE).tolist() == [True, False, False, False, False, True, False]
    corner = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    assert is_inside(np.array([[7.0, 3.0], [3.0, 7.0]]), corner).tolist() == [True, False]


def test_what_a_lid_covers_is_hidden_and_the_box_is_around_the_iris() -> None:
    lids = circle(20, 20, 10, 16)
    iris = circle(20, 12, 6, 32)
    outline = eye_outline(
        labels(pupil_px=[20.0, 12.0], iris_px=iris, lid_px=lids, caruncle_px=circle(5, 20, 2, 7))
    )
    assert outline is not None
    names = eye_guide().keypoints.names
    assert len(names) == len(outline.points_xy) == len(outline.hidden) == 56
    hidden = {name for name, is_hidden in zip(names, outline.hidden, strict=True) if is_hidden}
    # The iris counts clockwise from the right; its upper half lies above the lids.
    assert "iris_24" in hidden and "iris_08" not in hidden and "pupil" not in hidden
    assert not any(name.startswith(("lid", "caruncle")) for name in hidden)
    assert outline.box_xyxy == pytest.approx((14, 6, 26, 18))


def test_labels_that_are_not_known_are_no_points() -> None:
    assert eye_outline(labels()) is None
    outline = eye_outline(labels(pupil_px=(3.0, 4.0)))
    assert outline is not None and outline.box_xyxy is None and not outline.hidden.any()
    assert np.isfinite(outline.points_xy).all(axis=1).nonzero()[0].tolist() == [0]


def test_the_skeleton_joins_points_of_one_ring() -> None:
    layout = eye_guide().keypoints
    for first, second in layout.skeleton:
        assert layout.names[first].rpartition("_")[0] == layout.names[second].rpartition("_")[0]
