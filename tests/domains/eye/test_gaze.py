"""The gaze network: what it is, what it learns, how it is kept, and its job."""

import math
import sys

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from cluster.job.command import parse
from cluster.job.estimators import estimator_job, main
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.domains.eye.estimators import GazeEstimator, labelled_eyes
from factory.domains.eye.networks.gaze import (
    GazeNetwork,
    angle_deg,
    found_gaze_N3,
    gaze_of,
    load_gaze,
    map_size,
    yaw_pitch_deg,
)
from factory.domains.eye.networks.gaze_training import (
    Gazing,
    gaze_errors,
    shifted,
    train_gaze,
)
from factory.domains.eye.networks.landmark_training import relit
from factory.domains.eye.renderer.renderer import EyeRenderer, write_renders
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.images.png import decode_png
from factory.networks.scaling import to_network
from schemas.eye.estimators import GazeConfig, GazeTraining
from schemas.eye.kind import EYE
from support import fakes

pytestmark = pytest.mark.slow

SMALL = GazeConfig(maps=(8, 8, 8, 8, 8), hidden=16)


def vectors(yaw_deg, pitch_deg) -> np.ndarray:
    """(N, 3) by the formulas of docs/conventions.md, turned round."""
    yaw, pitch = np.radians(yaw_deg), np.radians(pitch_deg)
    x, z = -np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch)
    return np.stack(np.broadcast_arrays(x, -np.sin(pitch), z), axis=-1)


# The network


def test_it_is_the_papers_network() -> None:
    network = GazeNetwork()
    weights = [p for p in network.parameters() if p.ndim > 1]
    assert [tuple(w.shape) for w in weights] == [
        (32, 1, 3, 3),
        (32, 32, 3, 3),
        (64, 32, 3, 3),
        (80, 64, 3, 3),
        (192, 80, 3, 3),
        (1000, 9600),
        (3, 1000),
    ]
    assert sum(p.numel() for p in network.parameters()) == 9_816_659
    assert network(torch.zeros(2, 1, 35, 55)).shape == (2, 3)


@pytest.mark.parametrize("size", [(35, 55), (36, 60), (19, 19), (20, 21), (70, 110)])
def test_the_map_has_the_size_that_convolutions_leave(size) -> None:
    network = GazeNetwork(SMALL, image_size=size)
    before_dense = network.layers[: [type(m) for m in network.layers].index(torch.nn.Flatten)]
    assert before_dense(torch.zeros(1, 1, *size)).shape[-2:] == map_size(*size)
    assert network(torch.zeros(1, 1, *size)).shape == (1, 3)


@pytest.mark.parametrize("size", [(18, 55), (35, 18), (4, 4)])
def test_images_too_small_are_refused(size) -> None:
    with pytest.raises(ValueError, match="the smallest image is 19 x 19"):
        GazeNetwork(SMALL, image_size=size)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"grey images of \(35, 55\), not .*\(1, 36, 60\)"):
        GazeNetwork(SMALL)(torch.zeros(1, 1, 36, 60))


def test_weights_are_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(7)
    ours = GazeNetwork(SMALL, seed=1).state_dict()
    after = torch.rand(())
    torch.manual_seed(8)
    again, other = (GazeNetwork(SMALL, seed=seed).state_dict() for seed in (1, 2))
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    assert not torch.equal(ours["layers.0.weight"], other["layers.0.weight"])
    torch.manual_seed(7)
    assert torch.rand(()) == after  # the global generator was left alone


# Angles


@pytest.mark.parametrize("truth_deg", [0.0, 1e-9, 1e-6, 1e-3, 1.0, 90.0, 179.999, 179.9999999, 180])
def test_angles_are_right_down_to_the_smallest(truth_deg) -> None:
    turn = math.radians(truth_deg)
    a = np.array([[1.0, 0.0, 0.0]])
    b = 3.0 * np.array([[math.cos(turn), 0.6 * math.sin(turn), 0.8 * math.sin(turn)]])
    for angles_deg in (angle_deg(a, b), angle_deg(b, a)):
        assert angles_deg == pytest.approx([truth_deg], rel=1e-9, abs=1e-13)


def test_angles_agree_with_the_arc_cosine_where_that_is_sound() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 200, 3))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert angle_deg(a, b) == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-6)


def test_no_direction_has_no_angle() -> None:
    angles_deg = angle_deg(np.zeros((1, 3)), np.ones((1, 3)))
    assert np.isnan(angles_deg).all()


def test_yaw_and_pitch_are_those_of_the_labels(synthetic: Dataset) -> None:
    index = load_index(synthetic)
    angles_rad = np.radians(yaw_pitch_deg(gaze_of(index)))
    assert angles_rad[:, 0] == pytest.approx(index["gaze_yaw_rad"].to_numpy(), abs=1e-5)
    assert angles_rad[:, 1] == pytest.approx(index["gaze_pitch_rad"].to_numpy(), abs=1e-5)
    assert yaw_pitch_deg(vectors(30.0, -20.0)[None]) == pytest.approx(np.array([[30.0, -20.0]]))


def test_eyes_without_gaze_are_refused(synthetic: Dataset) -> None:
    column = load_index(synthetic)["gaze"].combine_chunks()
    with_none = pa.table({"gaze": pa.concat_arrays([column, pa.nulls(2, column.type)])})
    with pytest.raises(ValueError, match="2 samples have no gaze"):
        gaze_of(with_none)


# Training


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> Dataset:
    """Built-in renders, ingested: people of `test` are not in `train`. Read only."""
    folder = tmp_path_factory.mktemp("gaze")
    write_renders(folder / "renders", EyeRenderer(height=120, width=160, seed=5).render(range(250)))
    options, splits = UnityEyesOptions(), {"train": 0.7, "test": 0.3}
    return fakes.ingest_here(
        folder / "renders", folder / "eyes", options, shard_size=250, splits=splits
    )


def gazing(dataset: Dataset, split: str) -> Gazing:
    images, index = labelled_eyes(dataset, split, ["gaze"])
    return Gazing(images, gaze_of(index))


def test_it_learns_gaze_of_people_it_has_not_seen(eyes) -> None:
    labelled, held_out = gazing(eyes, "train"), gazing(eyes, "test")
    network = GazeConfig(maps=(8, 8, 16, 16, 16), hidden=64)
    training = GazeTraining(steps=120, batch_size=16, lr=3e-3, network=network)
    losses: list[float] = []
    trained = train_gaze(training, labelled, losses.append)
    gaze_N3 = found_gaze_N3(trained, held_out.images)
    errors = gaze_errors(gaze_N3, held_out.gaze_N3, labelled.gaze_N3.mean(axis=0))
    assert len(losses) == 120
    assert errors.deg.num == len(held_out.images) > 20
    assert errors.deg.mean < errors.mean_answer_deg.mean / 1.5
    assert errors.deg.median < errors.mean_answer_deg.median / 1.5


def test_training_twice_is_the_same(eyes) -> None:
    labelled = gazing(eyes, "test")
    for schedule in ("constant", "cosine"):
        training = GazeTraining(steps=3, batch_size=4, network=SMALL, lr_schedule=schedule)
        one, two = (train_gaze(training, labelled).state_dict() for _ in range(2))
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_is_the_squared_distance_to_the_unit_vector(eyes) -> None:
    labelled = gazing(eyes, "test")
    plain = GazeTraining(steps=1, batch_size=5, network=SMALL, augment=False, max_shift_px=0)
    losses: list[float] = []
    train_gaze(plain, labelled, losses.append)
    rows = np.random.default_rng([0, 0]).integers(len(labelled.images), size=5)
    untrained = GazeNetwork(SMALL, seed=0)
    with torch.no_grad():
        output = untrained(to_network(labelled.images[rows])).numpy()
    distances = [math.dist(*pair) ** 2 for pair in zip(output, labelled.gaze_N3[rows], strict=True)]
    assert losses == [pytest.approx(sum(distances) / 5, rel=1e-5)]


def test_a_loss_that_is_not_finite_stops_the_training(eyes) -> None:
    training = GazeTraining(steps=30, batch_size=4, lr=1e30, network=SMALL)
    with pytest.raises(RuntimeError, match="lower --lr"):
        train_gaze(training, gazing(eyes, "test"))


def test_what_is_relit_and_shifted_keeps_its_gaze() -> None:
    """Eyes of a white ball and a dark iris, whose offset over the radius is the gaze: neither the
    offset nor the radius may change when the eye moves and the light does."""
    rng = np.random.default_rng(3)
    centres, gaze_xy = rng.uniform((24, 15), (30, 19), (64, 2)), rng.uniform(-0.4, 0.4, (64, 2))
    images = np.full((64, 35, 55), 110, np.uint8)
    for image, centre, gaze in zip(images, centres, gaze_xy, strict=True):
        for (x, y), radius, value in ((centre, 11, 225), (centre + 11 * gaze, 3.5, 10)):
            centre_xy = round(x * 16), round(y * 16)
            cv2.circle(image, centre_xy, round(radius * 16), value, -1, cv2.LINE_AA, 4)
    before = to_network(images)
    rng = np.random.default_rng(0)
    after = relit(shifted(before.clone(), 2, rng), rng)
    assert after.shape == before.shape and (after - before).abs().mean() > 0.1
    moved = []
    for image, centre, gaze in zip(after[:, 0].numpy(), centres, gaze_xy, strict=True):
        fits = {
            (dx, dy): _contrast(image, centre + np.array([dx, dy]), gaze)
            for dx in range(-3, 4)
            for dy in range(-3, 4)
        }
        shift = max(fits, key=fits.__getitem__)
        moved.append(shift)
        other = max(_contrast(image, centre + shift, gaze + off) for off in OTHER_GAZES)
        assert fits[shift] > other
    assert {abs(d) for shift in moved for d in shift} == {0, 1, 2}


OTHER_GAZES = 0.25 * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])


def _contrast(image: np.ndarray, centre: np.ndarray, gaze: np.ndarray) -> float:
    """How much darker the iris is than the ball around it, were the eye there."""
    rows, columns = np.mgrid[:35, :55]
    from_iris = np.hypot(columns - centre[0] - 11 * gaze[0], rows - centre[1] - 11 * gaze[1])
    ball = (from_iris > 4.5) & (from_iris < 6.5)
    return float(image[ball].mean() - image[from_iris < 3].mean())


def test_nothing_moves_without_a_shift() -> None:
    image = torch.zeros(1, 1, 20, 20)
    image[0, 0, 7, 11] = 1.0
    still = shifted(image, 0, np.random.default_rng(0))
    assert torch.equal(still, image)


def test_shifts_are_by_whole_pixels_and_repeat_the_border() -> None:
    images = torch.arange(30 * 8 * 9, dtype=torch.float32).view(30, 1, 8, 9)
    seen = set()
    for before, after in zip(images, shifted(images, 2, np.random.default_rng(1)), strict=True):
        matches = [
            (dx, dy)
            for dx in range(-2, 3)
            for dy in range(-2, 3)
            if np.array_equal(after[0], _moved(before[0].numpy(), dx, dy))
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 10


def _moved(image: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """One pixel after the other."""
    height, width = image.shape
    moved = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            source = min(max(row - dy, 0), height - 1), min(max(column - dx, 0), width - 1)
            moved[row, column] = image[source]
    return moved


def test_estimates_are_unit_vectors_whatever_the_batch(eyes) -> None:
    images = gazing(eyes, "train").images[:130]
    network = GazeNetwork(SMALL)
    gaze_N3 = found_gaze_N3(network, images)
    assert gaze_N3.shape == (130, 3)
    assert np.linalg.norm(gaze_N3, axis=1) == pytest.approx(1.0)
    assert gaze_N3[100:] == pytest.approx(found_gaze_N3(network, images[100:]), abs=1e-5)
    assert found_gaze_N3(network, images[:0]).shape == (0, 3)


def test_answers_that_are_not_finite_are_refused() -> None:
    network = GazeNetwork(SMALL)
    with torch.no_grad():
        network.layers[-1].bias.fill_(3e38)
        network.layers[-1].weight.fill_(3e38)
    images = np.random.default_rng(0).integers(0, 256, (3, 35, 55)).astype(np.uint8)
    with pytest.raises(ValueError, match="the gaze network answers with values that are not"):
        found_gaze_N3(network, images)


def test_errors_are_those_that_were_planted() -> None:
    yaw, pitch = np.array([-25.0, -5.0, 5.0, 5.0]), np.array([0.5, 0.5, 0.5, -12.0])
    off = np.array([1.0, 2.0, 3.0, 8.0])
    errors = gaze_errors(vectors(yaw, pitch + off), vectors(yaw, pitch), np.array([0, 0, -0.9]))
    assert errors.deg.mean == pytest.approx(3.5) and errors.deg.median == pytest.approx(2.5)
    assert errors.deg.p95 == pytest.approx(np.percentile(off, 95))
    straight = np.degrees(np.arccos(np.cos(np.radians(yaw)) * np.cos(np.radians(pitch))))
    assert errors.mean_answer_deg.mean == pytest.approx(straight.mean())
    assert [tuple(b.model_dump().values()) for b in errors.by_yaw] == [
        (-30, -20, 1, pytest.approx(1)),
        (-10, 0, 1, pytest.approx(2)),
        (0, 10, 2, pytest.approx(5.5)),
    ]
    assert [(b.from_deg, b.num) for b in errors.by_pitch] == [(-20, 1), (0, 3)]


# The job


def flags(dataset: Dataset, output) -> list[str]:
    small = ["--network.maps", "8", "8", "8", "8", "8", "--network.hidden", "16"]
    return ["--synthetic", dataset.location, "--output", str(output), "--steps", "3", *small]


def test_the_job_trains_once_and_shows_what_it_learnt(eyes, tmp_path) -> None:
    output = tmp_path / "gaze"
    job = parse(estimator_job("gaze"), flags(eyes, output))
    main(job)
    network, described = load_gaze(output)
    assert network.config == SMALL and described.image == eyes.card.image
    labelled, held_out = gazing(eyes, "train"), gazing(eyes, "test")
    gaze_N3 = found_gaze_N3(network, held_out.images)
    errors = gaze_errors(gaze_N3, held_out.gaze_N3, labelled.gaze_N3.mean(axis=0))
    assert described.held_out.deg.mean == pytest.approx(errors.deg.mean, rel=1e-4)
    assert described.held_out.mean_answer_deg == errors.mean_answer_deg
    assert described.train["lineage"]["split"] == "train"
    picture = decode_png((output / "gaze.png").read_bytes())
    assert picture.shape == (3 * 35 * 4, 6 * 55 * 4, 3)
    assert decode_png((output / "gaze_scatter.png").read_bytes()).shape == (500, 1000, 3)
    before = (output / "gaze.safetensors").stat().st_mtime_ns
    main(job)
    assert (output / "gaze.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another training"):
        main(job.model_copy(update={"steps": 4}))


def test_the_job_takes_refined_images(eyes, refiner, tmp_path) -> None:
    refined = fakes.refine_here(eyes, refiner, tmp_path / "refined")
    main(parse(estimator_job("gaze"), flags(refined, tmp_path / "gaze")))
    assert load_gaze(tmp_path / "gaze")[1].held_out.deg.num == len(gazing(eyes, "test").images)


def test_the_job_saves_its_network_where_the_scatter_cannot_be_drawn(
    eyes, tmp_path, monkeypatch, caplog
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    main(parse(estimator_job("gaze"), flags(eyes, tmp_path)))
    assert load_gaze(tmp_path)[1].held_out.deg.num > 0
    assert (tmp_path / "gaze.png").exists() and not (tmp_path / "gaze_scatter.png").exists()
    assert "gaze_scatter.png is left out" in caplog.text
    assert "pip install 'simgan-factory[report]'" in caplog.text


def test_the_job_refuses_what_it_cannot_learn_from(eyes, six_inputs, tmp_path) -> None:
    job = parse(estimator_job("gaze"), flags(eyes, tmp_path / "gaze"))
    with pytest.raises(ValueError, match="no split dev, only train, test"):
        main(job.model_copy(update={"held_out": "dev"}))
    with pytest.raises(FileNotFoundError, match=r"jobs/ingest\.py"):
        main(job.model_copy(update={"synthetic": str(six_inputs)}))
    assert not (tmp_path / "gaze").exists()


def test_images_too_small_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="the smallest image is 19 x 19"):
        GazeEstimator().check(GazeTraining(), EYE.image.model_copy(update={"height": 18}))
