"""Ray casting, checked against spheres whose depth is known, and hulls made of many spheres."""

import numpy as np
import pytest

from factory.domains.hand.geometry import NYU_CAMERA, NYU_HEIGHT_PX, NYU_WIDTH_PX
from factory.domains.hand.renderer.depth import Array, Body, cast

NO_PAIRS = np.zeros((0, 2), np.intp)
NO_TRIPLES = np.zeros((0, 3), np.intp)


def spheres(centres: object, radii: object) -> Body:
    return Body(np.array(centres, float), np.array(radii, float), NO_PAIRS, NO_TRIPLES)


def blended(centres: Array, radii: Array, weights: Array) -> Body:
    """Spheres all over a hull: by its definition it is their union."""
    return Body(weights @ centres, weights @ radii, NO_PAIRS, NO_TRIPLES)


def test_a_ball_is_as_deep_and_as_wide_as_it_must_be() -> None:
    depth = cast(spheres([[0, 0, 700.0]], [50.0]))
    assert depth[240, 320] == pytest.approx(650, abs=1e-9)
    half_width_px = NYU_CAMERA.fx_px * 50 / np.sqrt(700**2 - 50**2)
    row = np.flatnonzero(np.isfinite(depth[240]))
    assert row[0] == np.ceil(NYU_CAMERA.cx_px - half_width_px)
    assert row[-1] == np.floor(NYU_CAMERA.cx_px + half_width_px)


def test_every_hit_lies_on_the_ball_whose_pixel_it_is() -> None:
    centre = np.array([90.0, -60, 620])
    depth = cast(spheres([centre], [40.0]))
    rows, cols = np.nonzero(np.isfinite(depth))
    points = NYU_CAMERA.unproject(np.stack([cols, rows, depth[rows, cols]], -1).astype(float))
    assert np.allclose(np.linalg.norm(points - centre, axis=-1), 40)
    assert (((points - centre) * points).sum(-1) < 0).all(), "on the side that faces the camera"


def test_the_nearer_body_hides_the_other() -> None:
    depth = cast(spheres([[0, 0, 700.0], [0, 0, 600]], [90.0, 20]))
    assert depth[240, 320] == pytest.approx(580)
    assert depth[240, 320 + 40] > 600


@pytest.mark.parametrize("seed", range(6))
def test_a_cone_is_the_union_of_the_spheres_between(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.uniform([-40, -40, 560], [40, 40, 660], (2, 3))
    radii = rng.uniform(6, 20, 2)
    ours = cast(Body(centres, radii, np.array([[0, 1]]), NO_TRIPLES))
    share = np.linspace(0, 1, 800)
    theirs = cast(blended(centres, radii, np.stack([1 - share, share], -1)))
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 400
    assert (np.isfinite(ours) != np.isfinite(theirs)).sum() <= 3
    # Near the outline the spheres of the check leave the deepest gaps between them.
    assert np.percentile(np.abs(ours[both] - theirs[both]), 99) < 0.05
    assert (ours <= theirs + 1e-6)[both].all()


@pytest.mark.parametrize("seed", range(4))
def test_a_wedge_is_the_union_of_the_spheres_between(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.uniform([-50, -50, 580], [50, 50, 640], (3, 3))
    radii = rng.uniform(8, 16, 3)
    edges = np.array([[0, 1], [0, 2], [1, 2]])
    ours = cast(Body(centres, radii, edges, np.array([[0, 1, 2]])))
    i, j = np.mgrid[:41, :41].reshape(2, -1) / 40
    weights = np.stack([i, j, 1 - i - j], -1)[i + j < 1.0001]
    theirs = cast(blended(centres, radii, weights))
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 1000
    assert np.percentile(np.abs(ours[both] - theirs[both]), 95) < 0.3
    assert (ours <= theirs + 1e-6)[both].all(), "nothing of the hull is missing"


def test_a_cone_whose_one_end_holds_the_other_is_a_ball() -> None:
    centres, radii = np.array([[0, 0, 600.0], [3, 0, 600]]), np.array([30.0, 10])
    ball = cast(spheres(centres[:1], radii[:1]))
    assert np.array_equal(cast(Body(centres, radii, np.array([[0, 1]]), NO_TRIPLES)), ball)


def test_what_lies_outside_the_picture_is_left_out() -> None:
    depth = cast(spheres([[-600, 0, 700.0], [0, 900, 700], [-380, 0, 700]], [40.0] * 3))
    cols = np.nonzero(np.isfinite(depth))[1]
    assert len(cols)
    assert cols.min() == 0
    assert cols.max() < 60
    assert depth.shape == (NYU_HEIGHT_PX, NYU_WIDTH_PX)


def test_a_body_around_the_camera_is_refused() -> None:
    with pytest.raises(ValueError, match="in front of the camera"):
        cast(spheres([[0, 0, 30.0]], [40.0]))


def test_projecting_and_back_is_nothing_done() -> None:
    points = np.random.default_rng(0).uniform([-200, -200, 500], [200, 200, 900], (50, 3))
    uvd = NYU_CAMERA.project(points)
    assert np.allclose(NYU_CAMERA.unproject(uvd), points)
    assert np.allclose(
        NYU_CAMERA.project(np.array([0.0, 0, 500])), [NYU_CAMERA.cx_px, NYU_CAMERA.cy_px, 500]
    )
