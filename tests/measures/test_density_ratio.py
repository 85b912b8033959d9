"""Renders drawn so that their labels follow the real domain's."""

import numpy as np
import pytest

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.domains.eye.gaze_matching import GazeTarget
from factory.measures.density_ratio import match_labels
from support.trainers import make_gan, small_config


def normal(n: int, mean, sd, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, (n, len(mean)))


def test_the_weights_of_normal_distributions_are_their_ratio() -> None:
    given = np.random.default_rng(0).uniform(-1, 1, (20_000, 2))
    target = normal(20_000, (0.2, -0.1), (0.2, 0.1), 1)
    matching = match_labels(given, target)
    mean = np.average(given, axis=0, weights=matching.weights)
    sd = np.sqrt(np.average((given - mean) ** 2, axis=0, weights=matching.weights))
    assert mean == pytest.approx((0.2, -0.1), abs=0.02)
    assert sd == pytest.approx((0.2, 0.1), rel=0.1)
    assert matching.weights.mean() == pytest.approx(1)
    # A uniform density of 1/4 against a normal one: the overlap says how many count.
    overlap = 20_000 / (4 / (4 * np.pi * 0.2 * 0.1))
    assert matching.effective == pytest.approx(overlap, rel=0.2)
    assert matching.apart_after < 0.1 < 1 < matching.apart_before


def test_labels_that_are_alike_get_equal_weights() -> None:
    matching = match_labels(normal(5_000, (0, 0), (1, 1), 0), normal(5_000, (0, 0), (1, 1), 1))
    assert matching.effective > 4_800


def test_labels_with_nothing_in_common_are_refused() -> None:
    given = normal(200, (0, 0), (0.1, 0.1), 0)
    with pytest.raises(ValueError, match="of 200 renders have labels like the target's"):
        match_labels(given, normal(200, (0.5, 0.5), (0.01, 0.01), 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_labels_that_are_not_finite_are_refused(bad, which) -> None:
    labels = [normal(200, (0, 0), (1, 1), seed) for seed in (0, 1)]
    labels[which][7, 1] = bad
    with pytest.raises(ValueError, match=r"labels .* not finite"):
        match_labels(*labels)


def test_what_weighs_nothing_is_never_drawn(images) -> None:
    weights = np.zeros(len(images[0]))
    weights[[3, 7]] = 1.0, 3.0
    gan = make_gan(small_config(), images, weights=weights)
    drawn = gan.draws.images("synthetic", 400).numpy()
    given = images[0][[3, 7]][:, None] / 127.5 - 1
    counts = [sum(np.allclose(image, one, atol=1e-5) for image in drawn) for one in given]
    assert sum(counts) == 400 and 270 < counts[1] < 330


def test_a_target_names_what_it_matches(tmp_path, synthetic: Dataset) -> None:
    rng = np.random.default_rng(0)
    arrays = {"gaze_rad": rng.normal(0, 0.1, (50, 2)), "head_rad": rng.normal(0, 0.2, (50, 2))}
    np.savez(tmp_path / "both.npz", **arrays)
    index = load_index(synthetic)
    for head, count in ((False, 2), (True, 4)):
        target = GazeTarget.load(tmp_path / "both.npz", head=head)
        labels = target.of(index)
        assert labels.shape == (24, count) and len(target.columns) == count
        assert labels[:, 0] == pytest.approx(index["gaze_yaw_rad"].to_numpy())
    np.savez(tmp_path / "gaze.npz", gaze_rad=arrays["gaze_rad"])
    with pytest.raises(ValueError, match="expected head_rad"):
        GazeTarget.load(tmp_path / "gaze.npz", head=True)
