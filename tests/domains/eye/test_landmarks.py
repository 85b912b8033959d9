"""The landmark network: what it learns, how it is kept, and its job."""

import cv2
import numpy as np
import pytest
import torch

from cluster.job.command import parse
from cluster.job.estimators import estimator_job, main
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.eye.networks.landmark_training import (
    Labelled,
    augmented,
    median_error_px,
    train_landmarks,
)
from factory.domains.eye.networks.landmarks import (
    LandmarkNetwork,
    found_landmarks_px,
    landmarks_px,
    load_landmarks,
)
from factory.images.png import decode_png
from schemas.eye.estimators import LandmarkConfig, LandmarkTraining


def discs(n: int, seed: int) -> Labelled:
    """Dark discs on light ground, every landmark in the middle of one."""
    rng = np.random.default_rng(seed)
    images = np.full((n, 24, 32), 200, np.uint8)
    centres = rng.uniform((8, 7), (24, 17), (n, 2))
    for image, (x, y) in zip(images, centres, strict=True):
        cv2.circle(image, (round(x * 16), round(y * 16)), 4 * 16, 30, -1, cv2.LINE_AA, 4)
    return Labelled(images, np.repeat(centres[:, None], 25, axis=1).astype(np.float32))


@pytest.mark.slow
def test_landmarks_are_found_on_images_it_has_not_seen() -> None:
    training = LandmarkTraining(steps=120, batch_size=16, maps=8, lr=1e-2)
    losses: list[float] = []
    network = train_landmarks(training, discs(200, 0), losses.append)
    held_out = discs(60, 1)
    errors = median_error_px(found_landmarks_px(network, held_out.images), held_out)
    assert len(losses) == 120 and set(errors) == {"pupil", "iris", "lids"}
    assert max(errors.values()) < 1.0
    untrained = found_landmarks_px(LandmarkNetwork(network.config), held_out.images)
    assert min(median_error_px(untrained, held_out).values()) > 3.0


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training() -> None:
    training = LandmarkTraining(steps=8, batch_size=4, maps=4, lr=1e30)
    with pytest.raises(RuntimeError, match=r"loss of update .* lower --lr"):
        train_landmarks(training, discs(8, 0))


def test_landmarks_move_with_the_image_that_is_augmented() -> None:
    """The darkest place stays under its landmark, whatever is done to the light."""
    labelled = discs(64, 2)
    values = torch.from_numpy(labelled.images)[:, None] / 127.5 - 1
    points = torch.from_numpy(labelled.landmarks_px)
    images, moved = augmented(values, points, np.random.default_rng(0))
    assert (moved - points).abs().mean() > 0.5
    for image, (x, y) in zip(images[:, 0].numpy(), moved[:, 0].numpy(), strict=True):
        blurred = cv2.GaussianBlur(image, (0, 0), 2)
        rows, columns = np.mgrid[:24, :32]
        near = np.hypot(columns - x, rows - y)
        assert blurred[near < 2].mean() < blurred[(near > 6) & (near < 9)].mean() - 0.15


def test_answers_that_are_not_finite_are_refused() -> None:
    """They would be stored as what could not be measured, and miss no limit on samples."""
    network = LandmarkNetwork(LandmarkConfig(maps=4))
    with torch.no_grad():
        for number in (0, 2):  # finite weights, and activations beyond float32
            network.layers[number].weight.fill_(1e30)
    with pytest.raises(ValueError, match="the landmark network answers with values that are not"):
        found_landmarks_px(network, discs(3, 0).images)


def test_errors_count_what_lies_inside_the_image() -> None:
    truth = discs(4, 0)
    truth.landmarks_px[:, 1:9] = -5.0  # the whole iris is outside
    found_px = truth.landmarks_px + np.float32(3.0)
    errors = median_error_px(found_px, truth)
    assert errors["pupil"] == pytest.approx(3 * 2**0.5, rel=1e-3)
    assert np.isnan(errors["iris"])


def test_labels_come_in_the_order_of_the_network(synthetic: Dataset) -> None:
    index = load_index(synthetic)
    points = landmarks_px(index)
    row = index.slice(5, 1).to_pylist()[0]
    assert points.shape == (24, 25, 2) and points.dtype == np.float32
    assert points[5, 0] == pytest.approx(row["pupil_px"])
    assert points[5, 1:9] == pytest.approx(np.array(row["iris_px"])[::4])
    assert points[5, 9:] == pytest.approx(np.array(row["lid_px"]))


@pytest.mark.slow
def test_the_job_trains_once_and_shows_what_it_learnt(synthetic: Dataset, tmp_path) -> None:
    output = tmp_path / "landmarks"
    flags = ["--synthetic", synthetic.location, "--output", str(output), "--steps", "3"]
    job = parse(estimator_job("landmarks"), [*flags, "--held-out", "train", "--maps", "4"])
    main(job)
    network, described = load_landmarks(output)
    assert network.config.maps == 4 and described.image == synthetic.card.image
    shards = synthetic.committed_in("train")
    labelled = Labelled(load_images(synthetic), landmarks_px(load_index(synthetic)))
    found_px = found_landmarks_px(network, labelled.images)
    assert described.error_px == pytest.approx(median_error_px(found_px, labelled), rel=1e-4)
    assert described.train["lineage"]["shards"] == [
        facts.tar_sha256 for facts in synthetic.all_facts(shards)
    ]
    picture = decode_png((output / "landmarks.png").read_bytes())
    assert picture.shape == (3 * 35 * 4, 6 * 55 * 4, 3)
    before = (output / "landmarks.safetensors").stat().st_mtime_ns
    main(job)
    assert (output / "landmarks.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another training"):
        main(job.model_copy(update={"steps": 4}))
    with pytest.raises(ValueError, match="no split dev"):
        main(job.model_copy(update={"held_out": "dev", "output": str(tmp_path / "x")}))
