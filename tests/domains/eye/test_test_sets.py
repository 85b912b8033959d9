"""Test sets of real eyes: what errors they give for estimates that are known."""

import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_index
from factory.domains.eye.quantities import GAZE, IRIS
from factory.domains.eye.sources.iris_masks import IrisMasksOptions
from factory.domains.eye.sources.mpiigaze import MpiiGazeOptions
from factory.domains.eye.sources.screen_targets import ScreenTargetsOptions
from factory.domains.eye.test_sets import (
    MIN_FRAMES,
    IrisCentres,
    LabelledGaze,
    ScreenMap,
    ScreenTargets,
)
from factory.networks.evaluation_kinds import LoadedTest
from support import fakes
from support.looking_eyes import picture, row, write_pictures, write_table

NUM_BLOCKS, FRAMES_PER_BLOCK = 8, 20
SCREEN_PX, SCREEN_CM, DISTANCE_CM = (1920, 1080), (34.5, 19.4), 55.0


def targets(num_frames: int) -> np.ndarray:
    return np.random.default_rng(3).uniform((0, 0), SCREEN_PX, (num_frames, 2)).round()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Both eyes in every frame, in blocks `block-0` to `block-7`."""
    folder = tmp_path_factory.mktemp("targets")
    rows = []
    for frame, (x, y) in enumerate(targets(NUM_BLOCKS * FRAMES_PER_BLOCK)):
        for side in ("left", "right"):
            name = f"{frame:03d}-{side}.png"
            write_pictures(folder, {name: picture()[::3, ::3].copy()})
            rows.append(
                {
                    "picture": name,
                    "target_x_px": x,
                    "target_y_px": y,
                    "block": f"block-{frame // FRAMES_PER_BLOCK}",
                    "frame": frame,
                    "eye_side": side,
                }
            )
    write_table(folder, rows)
    return fakes.ingest_here(
        folder, folder.parent / "looks", ScreenTargetsOptions(), shard_size=500
    )


def true_gaze(dataset: Dataset, blocks: range) -> tuple[np.ndarray, np.ndarray]:
    """((N, 3) gazes of the images as they are, (N,) which are mirrored), by other formulas than
    those of the test set."""
    gazes, mirrored = [], []
    frames = targets(NUM_BLOCKS * FRAMES_PER_BLOCK)
    for name in load_index(dataset, ["source_id"])["source_id"].to_pylist():
        stem = name.partition(":")[2].removesuffix(".png")
        frame, _, side = stem.partition("-")
        if int(frame) // FRAMES_PER_BLOCK not in blocks:
            continue
        x_cm = ((frames[int(frame)][0] + 0.5) / SCREEN_PX[0] - 0.5) * SCREEN_CM[0]
        y_cm = ((frames[int(frame)][1] + 0.5) / SCREEN_PX[1] - 0.5) * SCREEN_CM[1]
        left_in_picture = -x_cm if side == "left" else x_cm
        gazes.append(np.array([left_in_picture, y_cm, -DISTANCE_CM]))
        mirrored.append(side == "right")
    gaze = np.array(gazes)
    return gaze / np.linalg.norm(gaze, axis=1, keepdims=True), np.array(mirrored)


ALL = range(NUM_BLOCKS)


def loaded(dataset: Dataset, **options: object) -> LoadedTest:
    return ScreenTargets.model_validate({"dataset": dataset.location} | options).load()


def test_true_gazes_have_no_error_also_through_an_affine_map(dataset) -> None:
    test = loaded(dataset)
    gaze, mirrored = true_gaze(dataset, ALL)
    errors = test.score(3 * gaze)  # any length will do
    assert errors.values_M.shape == (NUM_BLOCKS // 2 * FRAMES_PER_BLOCK,)
    assert errors.values_M.max() < 1e-5
    assert set(errors.groups_M) == {f"block-{n}" for n in (1, 3, 5, 7)}
    tangents = gaze[:, :2] / gaze[:, 2:] * np.where(mirrored, -1, 1)[:, None] ** [1, 0]
    skewed = tangents @ np.array([[0.5, 0.1], [-0.2, 0.7]]) + (0.1, -0.2)
    skewed = skewed * np.where(mirrored, -1, 1)[:, None] ** [1, 0]
    estimates = -np.column_stack([skewed, np.ones(len(skewed))])
    assert test.score(estimates).values_M.max() < 1e-5


def test_mirrored_pictures_have_mirrored_gazes(dataset) -> None:
    gaze, mirrored = true_gaze(dataset, ALL)
    assert mirrored.any() and not mirrored.all()
    gaze[mirrored, 0] *= -1  # as if these images were not mirrored: the two eyes cancel out
    assert loaded(dataset).score(gaze).values_M.mean() > 5


def test_wrong_targets_hardly_move_the_map() -> None:
    """Against Huber's estimate by reweighted least squares, written as in a textbook."""
    rng = np.random.default_rng(0)
    tangents = rng.normal(size=(400, 2)) * 0.1
    target_px = tangents @ np.array([[-3000.0, 50], [20, 2500]]) + (960, 540)
    target_px += rng.normal(size=target_px.shape) * 20
    truth = target_px.copy()
    wrong = rng.choice(400, 20, replace=False)
    target_px[wrong] = rng.uniform((0, 0), SCREEN_PX, (20, 2))
    off_px = np.abs(ScreenMap.fit(tangents, target_px)(tangents) - truth)
    design = np.column_stack([tangents, np.ones(400)])
    plain = design @ np.linalg.lstsq(design, target_px, rcond=None)[0]
    assert off_px.mean() < np.abs(plain - truth).mean()
    for axis in (0, 1):
        fit = np.linalg.lstsq(design, target_px[:, axis], rcond=None)[0]
        sigma = 1.4826 * np.median(np.abs(design @ fit - target_px[:, axis]))
        for _ in range(100):
            residual = np.abs(design @ fit - target_px[:, axis])
            weight = np.minimum(1, 1.345 * sigma / np.maximum(residual, 1e-9)) ** 0.5
            fit = np.linalg.lstsq(design * weight[:, None], target_px[:, axis] * weight)[0]
        mapped = ScreenMap.fit(tangents, target_px)(tangents)[:, axis]
        assert np.allclose(mapped, design @ fit, atol=0.5)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_model_that_always_answers_the_same_is_given_the_mean_target(dataset, noise) -> None:
    test = loaded(dataset)
    rng = np.random.default_rng(0)
    same = np.array([0.1, 0.2, -1.0]) + noise * rng.normal(size=(len(test.images), 3))
    same[true_gaze(dataset, ALL)[1], 0] *= -1
    frames = targets(NUM_BLOCKS * FRAMES_PER_BLOCK).reshape(NUM_BLOCKS, FRAMES_PER_BLOCK, 2)
    mean_px = frames[::2].reshape(-1, 2).mean(axis=0)
    expected = []
    for target in frames[1::2].reshape(-1, 2):
        rays = [
            [*((np.array(point) + 0.5) / SCREEN_PX - 0.5) * SCREEN_CM, DISTANCE_CM]
            for point in (target, mean_px)
        ]
        cosine = np.dot(*rays) / math.prod(map(np.linalg.norm, rays))
        expected.append(math.degrees(math.acos(cosine)))
    assert np.allclose(np.sort(test.score(same).values_M), np.sort(expected), atol=1e-3)


def test_a_model_that_knows_one_direction_alone_is_mapped_along_it(dataset) -> None:
    test = loaded(dataset)
    gaze, _ = true_gaze(dataset, ALL)
    flat = gaze / -gaze[:, 2:]
    flat[:, 1] = 0.3
    errors = test.score(flat).values_M
    assert 1 < errors.mean() < 6 and np.isfinite(errors).all()


def test_what_may_be_learned_is_the_calibration_blocks_with_nominal_gazes(dataset) -> None:
    test = loaded(dataset, calibrate="even:first", score="even:second")
    assert test.learnable is not None
    gaze, _ = true_gaze(dataset, range(0, NUM_BLOCKS, 4))
    assert np.allclose(test.learnable.values_ND, gaze, atol=1e-9)
    assert set(test.learnable.groups) == {"block-0", "block-4"}
    estimates = np.tile([0.0, 0, -1], (len(test.images), 1))
    assert set(test.score(estimates).groups_M) == {"block-2", "block-6"}
    assert len(test.images) == 8 * FRAMES_PER_BLOCK
    assert len(test.learnable.images) == 4 * FRAMES_PER_BLOCK
    assert "nominal degrees" in test.notes[0] and "one person" in test.notes[-1]


@pytest.mark.parametrize(
    ("calibrate", "score"), [("even", "even"), ("even", "even:first"), ("even:second", "even")]
)
def test_scored_blocks_may_not_calibrate(calibrate, score) -> None:
    with pytest.raises(ValidationError, match="must have none in common"):
        ScreenTargets(dataset="x", calibrate=calibrate, score=score)


def test_estimates_that_are_no_directions_are_refused(dataset) -> None:
    test = loaded(dataset)
    estimates = np.tile([0.0, 0, -1], (len(test.images), 1))
    estimates[3] = np.nan
    estimates[5] = 0
    with pytest.raises(ValueError, match="2 of 320 estimated gazes"):
        test.score(estimates)


def small(folder: Path, rows: list[dict[str, object]], **options: object) -> Dataset:
    write_pictures(folder, {str(r["picture"]): picture() for r in rows})
    write_table(folder, rows)
    chosen = ScreenTargetsOptions.model_validate(options)
    return fakes.ingest_here(folder, folder.parent / f"{folder.name}-out", chosen, shard_size=500)


def test_what_a_dataset_lacks_is_named(tmp_path, dataset) -> None:
    rows = [row(f"{n}.png", block=f"block-{n % 2}") for n in range(2 * MIN_FRAMES - 2)]
    few = small(tmp_path / "few", rows)
    with pytest.raises(ValueError, match=f"{MIN_FRAMES - 1} frames of the person 'anna'"):
        loaded(few)
    even = small(tmp_path / "even", rows, blocks="even")
    with pytest.raises(ValueError, match="no picture in the odd blocks, which score names"):
        loaded(even)
    with pytest.raises(ValueError, match=r"from screen-targets; this test set needs .* iris-masks"):
        IrisCentres(dataset=dataset.location).load()
    with pytest.raises(ValueError, match="not labelled"):
        LabelledGaze(dataset=dataset.location).load()


def test_blocks_of_two_tables_that_change_places_are_refused(tmp_path) -> None:
    for name, blocks in (("one", "ab"), ("two", "bc")):
        rows = [row(f"{n}.png", block=blocks[n % 2]) for n in range(2)]
        write_pictures(tmp_path / "in" / name, {str(r["picture"]): picture() for r in rows})
        write_table(tmp_path / "in" / name, rows)
    mixed = fakes.ingest_here(tmp_path / "in", tmp_path / "out", ScreenTargetsOptions())
    with pytest.raises(ValueError, match="blocks of one name at different positions, as anna/b"):
        loaded(mixed)


def test_each_person_has_a_map_of_their_own(tmp_path) -> None:
    rows = []
    frames = targets(4 * MIN_FRAMES)
    for frame, (x, y) in enumerate(frames):
        person = "anna" if frame < 2 * MIN_FRAMES else "bert"
        block = f"block-{frame // MIN_FRAMES % 2}"
        known = {"target_x_px": x, "target_y_px": y, "person": person, "block": block}
        rows.append(row(f"{frame:02d}.png", **known))
    test = loaded(small(tmp_path / "two", rows))
    tangents = (frames - (960, 540)) / 3000
    tangents[2 * MIN_FRAMES :] = 0.5 * tangents[2 * MIN_FRAMES :] + 0.1
    estimates = np.column_stack([tangents, -np.ones(len(tangents))])
    errors = test.score(estimates)
    assert errors.values_M.max() < 1e-5
    assert set(errors.groups_M) == {"anna/block-1", "bert/block-1"}
    assert test.notes[-1] == "They are of 2 persons."


def test_iris_centres_are_compared_in_crop_pixels(tmp_path) -> None:
    rows, columns = np.mgrid[:120, :200]
    for number, x in enumerate((90, 105)):
        mask = (((columns - 100) / 80) ** 2 + ((rows - 60) / 32) ** 2 < 1).astype(np.uint8)
        mask[(np.hypot(columns - x, rows - 60) < 28) & (mask > 0)] = 2
        write_pictures(tmp_path / "in", {f"{number}.mask.png": mask, f"{number}.png": 60 * mask})
    eyes = fakes.ingest_here(tmp_path / "in", tmp_path / "out", IrisMasksOptions())
    test = IrisCentres(dataset=eyes.location).load()
    scale = 40 / (0.94 * 158)
    truth = np.array([[27 + scale * (x - 100), 17] for x in (90, 105)])
    assert np.allclose(test.score(truth).values_M, 0, atol=0.15)
    assert np.allclose(test.score(truth + np.array([3, 4])).values_M, 5, atol=0.15)
    assert test.score(truth).groups_M.tolist() == ["0", "1"] and test.learnable is None


def test_labelled_gazes_are_compared_in_degrees(tmp_path) -> None:
    def day(yaw_rad: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images = np.random.default_rng(0).integers(0, 255, (2, 36, 60), dtype=np.uint8)
        return images, np.array([fakes.unit(yaw_rad, 0.1)] * 2), np.zeros((2, 3))

    for person in ("p00", "p01"):
        fakes.mpiigaze_day(tmp_path / "in" / person / "day01.mat", day(-0.2), day(0.2))
    eyes = fakes.ingest_here(tmp_path / "in", tmp_path / "out", MpiiGazeOptions())
    test = LabelledGaze(dataset=eyes.location).load()
    same = np.tile(fakes.unit(0.2, 0.1), (8, 1))
    assert np.allclose(test.score(same).values_M, 0, atol=1e-4)
    pitched = np.tile(fakes.unit(0.2, 0.1 + math.radians(7)), (8, 1))
    assert np.allclose(test.score(pitched).values_M, 7, atol=1e-4)
    assert test.score(same).groups_M.tolist() == ["p00"] * 4 + ["p01"] * 4


def test_the_iris_of_renders_is_the_middle_of_its_circle(synthetic) -> None:
    rows = load_index(synthetic, [*IRIS.columns, "gaze"])
    centers = IRIS.read(rows)
    slow = [np.mean(points, axis=0) for points in rows["iris_px"].to_pylist()]
    assert np.allclose(centers, slow, atol=1e-5)
    assert np.allclose(IRIS.errors(centers + np.array([0.6, -0.8]), centers), 1)
    assert GAZE.errors(GAZE.read(rows), GAZE.read(rows)).max() < 1e-5


def test_eyes_without_an_iris_cannot_be_learned_from(tmp_path) -> None:
    eyes = np.zeros((1, 36, 60), np.uint8), np.array([[0.0, 0, -1]]), np.zeros((1, 3))
    fakes.mpiigaze_day(tmp_path / "in" / "day01.mat", eyes, eyes)
    dataset = fakes.ingest_here(tmp_path / "in", tmp_path / "out", MpiiGazeOptions())
    with pytest.raises(ValueError, match="2 samples have no iris"):
        IRIS.read(load_index(dataset, list(IRIS.columns)))
