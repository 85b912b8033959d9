"""The joint network: what it learns, how pictures are varied for it, how it is kept, its job."""

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from cluster.job.command import parse
from cluster.job.estimators import EstimatorJob, estimator_job, main
from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.hand.estimator_pictures import joints_png
from factory.domains.hand.estimators import JointEstimator
from factory.domains.hand.networks.depth_augmentation import (
    MAX_BIAS_MM,
    MAX_NOISE_MM,
    MAX_STEP_MM,
    augmented,
    grown,
)
from factory.domains.hand.networks.joint_training import (
    Posed,
    joint_errors,
    mean_joints_px,
    train_joints,
)
from factory.domains.hand.networks.joints import (
    NUM_JOINTS,
    JointNetwork,
    found_joints_px,
    joints_px_of,
    load_joints,
    reduced,
    soft_argmax_px,
)
from factory.domains.hand.sources.nyu import NyuOptions
from factory.images.mosaic import FOUND_RGB, TRUE_RGB
from factory.images.png import decode_png
from schemas.hand.estimators import JointConfig, JointTraining
from schemas.hand.kind import HAND
from schemas.hand.sample import EVALUATED_JOINTS
from support import fakes, hands

pytestmark = pytest.mark.slow

SIZE = 64
SMALL = JointTraining(steps=100, batch_size=16, maps=6, reduce=2, lr=2e-2)


def stick_hands(n: int, seed: int) -> Posed:
    """Fingers (two joints each) of random lengths and depths about a palm (four joints)."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, SIZE, SIZE), np.uint16)
    points = np.empty((n, NUM_JOINTS, 2), np.float32)
    for image, joints_px in zip(images, points, strict=True):
        palm, turn = rng.uniform(26, 38, 2), rng.uniform(-0.3, 0.3)
        for finger in range(5):
            angle = turn + 0.55 * (finger - 2)
            along = np.array([np.sin(angle), -np.cos(angle)])
            joints_px[2 * finger] = tip = palm + along * rng.uniform(13, 24)
            joints_px[2 * finger + 1] = palm + along * 9
            ends = [tuple(np.rint(point_px * 16).astype(int).tolist()) for point_px in (palm, tip)]
            cv2.line(image, *ends, 120 + 12 * finger, 4, shift=4)
        centre = tuple(np.rint(palm).astype(int).tolist())
        cv2.circle(image, centre, 7, 180, -1)
        joints_px[10:] = palm + np.array([[0, 0], [-4, 2], [4, 2], [0, 5]])
    return Posed(images, points, 300)


# Training


def test_joints_are_found_on_hands_it_has_not_seen() -> None:
    posed, held_out = stick_hands(300, 0), stick_hands(60, 1)
    losses: list[float] = []
    network = train_joints(SMALL, posed, losses.append)
    found_px = found_joints_px(network, held_out.images)
    errors = joint_errors(found_px, held_out.joints_px, mean_joints_px(posed.joints_px))
    assert len(losses) == 100 and not network.training
    assert errors.px.num == 60 * 14
    assert errors.px.mean < errors.mean_answer_px.mean / 3
    assert errors.px.median < errors.mean_answer_px.median / 3
    assert errors.within_5_px > errors.mean_answer_within_5_px + 0.3


def test_training_twice_is_the_same() -> None:
    posed = stick_hands(8, 2)
    training = SMALL.model_copy(update={"steps": 3, "batch_size": 4})
    one, two = (train_joints(training, posed).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = train_joints(training.model_copy(update={"seed": 1}), posed).state_dict()
    assert not torch.equal(one["heat.weight"], other["heat.weight"])


def test_joints_outside_the_picture_teach_nothing() -> None:
    """Were they learnt from, a NaN would end the training, and a number would change it."""
    posed = stick_hands(8, 2)
    posed.joints_px[:, 3] = np.nan
    training = SMALL.model_copy(update={"steps": 2, "batch_size": 4})
    network = train_joints(training, posed)
    start = JointNetwork(network.config, seed=training.seed)
    unmoved = [
        torch.equal(network.heat.weight[joint], start.heat.weight[joint]) for joint in range(14)
    ]
    assert unmoved == [joint == 3 for joint in range(14)]


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    with pytest.raises(RuntimeError, match=r"loss of update .* lower --lr"):
        train_joints(SMALL.model_copy(update={"lr": 1e30, "steps": 8}), stick_hands(8, 2))


# Variation


def test_joints_move_with_the_hand() -> None:
    """The middle of a disc stays where its joint is, until both leave the picture."""
    rng = np.random.default_rng(3)
    truth = rng.uniform(8, 55, (200, 1, 2)).astype(np.float32)
    images = np.zeros((200, SIZE, SIZE), np.uint16)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for image, ((x, y),) in zip(images, truth, strict=True):
        image[np.hypot(columns - x, rows - y) <= 8] = 150
    varied, moved = augmented(images, truth, 300, np.random.default_rng(0))
    assert varied.dtype == np.uint16 and moved.dtype == np.float32
    assert np.nanmean(np.abs(moved - truth)) > 2
    off, num_left = [], 0
    for image, ((x, y),) in zip(varied, moved, strict=True):
        at_rows, at_columns = np.nonzero(image)
        if np.isnan(x):
            num_left += 1
            border = {0, SIZE - 1}
            assert not len(at_rows) or border & {*at_rows.tolist(), *at_columns.tolist()}
        elif 11 <= x <= 52 and 11 <= y <= 52:
            off.append((at_columns.mean() - x, at_rows.mean() - y))
    assert num_left and len(off) > 120
    assert np.abs(np.mean(off, axis=0)).max() < 0.15  # no bias
    assert np.abs(off).mean() < 0.5  # what holes and ragged outlines leave


def test_depths_are_varied_and_never_mixed() -> None:
    images = np.full((32, SIZE, SIZE), 40, np.uint16)
    images[:, :, 30:] = 240
    images[:, 20:32] = 0
    joints_px = np.full((32, 14, 2), 32, np.float32)
    varied, _ = augmented(images, joints_px, 300, np.random.default_rng(1))
    most = MAX_BIAS_MM + 5.5 * MAX_NOISE_MM + MAX_STEP_MM / 2 + 1
    near = np.minimum(np.abs(varied - 40.0), np.abs(varied - 240.0))
    assert near[varied > 0].max() <= most < 50, "nothing lies between the two surfaces"
    for image in varied:
        assert (image == 0).mean() > 0.05
    assert len(np.unique(varied)) > 50


def test_outlines_grow_and_shrink() -> None:
    image = np.zeros((20, 20), np.uint16)
    image[5:9, 5:15] = 100
    image[9:15, 5:15] = 130
    wide, narrow = grown(image, 2), grown(image, -1)
    assert np.argwhere(wide).min() == 3 and np.argwhere(wide).max() == 16
    assert np.argwhere(narrow).min() == 6 and np.argwhere(narrow).max() == 13
    assert np.array_equal(wide[image > 0], image[image > 0])
    assert np.array_equal(narrow[narrow > 0], image[narrow > 0])
    assert set(np.unique(wide)) == {0, 100, 130}
    assert np.array_equal(grown(image, 0), image)


def test_what_is_moved_out_of_the_cube_becomes_background() -> None:
    images = np.full((40, SIZE, SIZE), 301, np.uint16)
    images[:20] = 1
    varied, _ = augmented(
        images, np.full((40, 14, 2), 32, np.float32), 300, np.random.default_rng(2)
    )
    assert varied.max() <= 301
    assert (varied[20:] == 0).mean() > 0.3 and (varied[:20] == 0).mean() > 0.3


# Cells and places


def test_the_background_is_in_no_mean() -> None:
    rng = np.random.default_rng(4)
    depth = rng.integers(1, 302, (2, 12, 8)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.5] = 0
    depth[0, :4, :4] = 0
    depth[1, :4, :4] = 0
    depth[1, 2, 1] = 301
    cells = reduced(torch.from_numpy(depth), 4, 300).numpy()
    assert cells.shape == (2, 2, 3, 2)
    assert cells[0, :, 0, 0].tolist() == [0, -1]
    assert cells[1, :, 0, 0].tolist() == [1, 2 / 16 - 1]
    for picture in range(2):
        for row in range(3):
            for column in range(2):
                cell = depth[picture, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                if hand := [value for value in cell.ravel().tolist() if value > 0]:
                    mean, share = sum(hand) / len(hand), len(hand) / 16
                    assert cells[picture, :, row, column] == pytest.approx(
                        [(mean - 1) / 150 - 1, 2 * share - 1], abs=1e-5
                    )


def test_heat_in_one_cell_is_its_middle() -> None:
    heat = torch.zeros(1, 2, 5, 7)
    heat[0, 0, 3, 6] = 200
    xy = soft_argmax_px(heat, 8)
    assert xy[0, 0].tolist() == pytest.approx([51.5, 27.5])
    assert xy[0, 1].tolist() == pytest.approx([27.5, 19.5])  # no heat anywhere: the picture's


def test_a_picture_without_a_hand_has_no_joints() -> None:
    network = JointNetwork(JointConfig(maps=2, reduce=2)).eval()
    images = stick_hands(3, 5).images
    images[1] = 0
    found_px = found_joints_px(network, images)
    assert np.isnan(found_px).all(axis=(1, 2)).tolist() == [False, True, False]
    assert found_joints_px(network, images[:0]).shape == (0, 14, 2)


def test_answers_that_are_not_finite_are_refused() -> None:
    """Only a picture without a hand has no joints, which is measured as such."""
    network = JointNetwork(JointConfig(maps=2, reduce=2)).eval()
    with torch.no_grad():
        network.fine[0].weight.fill_(1e38)
    images = stick_hands(3, 5).images
    with pytest.raises(ValueError, match="the joint network answers with values that are not"):
        found_joints_px(network, images)


def test_pictures_that_the_network_cannot_take_are_refused() -> None:
    network = JointNetwork(JointConfig(maps=2)).eval()
    with pytest.raises(ValueError, match="16-bit depth pictures, not in uint8"):
        found_joints_px(network, np.zeros((1, 64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"100 x 64 px are no multiple of 32 px.*--reduce"):
        found_joints_px(network, np.zeros((1, 100, 64), np.uint16))


def test_errors_by_construction() -> None:
    truth = stick_hands(4, 6).joints_px
    found_px = truth + np.float32([3.0, 0.0])
    found_px[:, 1] = truth[:, 1] + np.float32([6.0, 8.0])
    truth[:2, 2] = np.nan
    errors = joint_errors(found_px, truth, mean_joints_px(truth) + np.array([0.0, 100.0]))
    assert errors.px.num == 4 * 14 - 2
    assert errors.px.median == pytest.approx(3, abs=1e-4)
    assert errors.within_5_px == pytest.approx(50 / 54)
    assert errors.mean_answer_within_5_px == 0 and errors.mean_answer_px.mean > 50
    by_joint = {error.joint: error for error in errors.by_joint}
    assert tuple(by_joint) == EVALUATED_JOINTS
    assert by_joint[3].px.mean == pytest.approx(10, abs=1e-4) and by_joint[3].within_5_px == 0
    assert by_joint[6].px.num == 2 and by_joint[6].within_5_px == 1


def test_joints_that_were_not_found_are_not_near() -> None:
    """As in refined pictures without a hand, which a network may be trained on."""
    truth = stick_hands(4, 6).joints_px
    found_px = truth.copy()
    found_px[0] = np.nan
    errors = joint_errors(found_px, truth, mean_joints_px(truth))
    assert errors.px.num == 3 * 14
    assert errors.within_5_px == pytest.approx(3 / 4)
    assert {error.within_5_px for error in errors.by_joint} == {0.75}


# The job


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Dataset:
    """Two frames of three cameras. Read only."""
    folder = tmp_path_factory.mktemp("hands")
    hands.write_frames(folder / "frames")
    return fakes.ingest_here(folder / "frames", folder / "hands", NyuOptions(), shard_size=4)


def job_for(dataset: Dataset, output, *more: str) -> EstimatorJob:
    flags = ["--synthetic", dataset.location, "--output", str(output), "--steps", "2"]
    small = ["--held-out", "train", "--maps", "2", "--batch-size", "2"]
    return parse(estimator_job("joints"), [*flags, *small, *more])


def test_labels_come_in_the_order_of_the_network(synthetic) -> None:
    index = load_index(synthetic)
    points = joints_px_of(index, synthetic.card.image)
    assert points.shape == (6, 14, 2) and points.dtype == np.float32
    every = np.array(index["joints_uvd"].to_pylist())[:, list(EVALUATED_JOINTS), :2]
    assert points == pytest.approx(every, abs=1e-4)
    inside = joints_px_of(index, synthetic.card.image.model_copy(update={"width": 100}))
    outside = every[..., 0] > 99.5
    assert 0 < outside.sum() < outside.size
    assert np.array_equal(np.isnan(inside).all(axis=-1), outside)
    column = index["joints14_uvd"].combine_chunks()
    with_none = pa.table({"joints14_uvd": pa.concat_arrays([column, pa.nulls(2, column.type)])})
    with pytest.raises(ValueError, match="2 samples have no joints14_uvd"):
        joints_px_of(with_none, synthetic.card.image)


def test_the_job_trains_once_and_shows_what_it_learnt(synthetic, tmp_path) -> None:
    output = tmp_path / "joints"
    job = job_for(synthetic, output)
    main(job)
    network, described = load_joints(output)
    assert network.config == JointConfig(maps=2, cube_mm=300) and not network.training
    assert (described.domain, described.image) == ("hand", synthetic.card.image)
    truth = joints_px_of(load_index(synthetic), synthetic.card.image)
    found_px = found_joints_px(network, load_images(synthetic))
    errors = joint_errors(found_px, truth, mean_joints_px(truth))
    assert described.held_out.px.mean == pytest.approx(errors.px.mean, rel=1e-4)
    assert described.held_out.mean_answer_px == errors.mean_answer_px
    assert described.train["lineage"]["split"] == "train"
    assert decode_png((output / "joints.png").read_bytes()).shape == (224, 6 * 224, 3)
    before = (output / "joints.safetensors").stat().st_mtime_ns
    main(job)
    assert (output / "joints.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="another training"):
        main(job.model_copy(update={"steps": 3}))


def test_the_picture_shows_true_joints_beside_those_found() -> None:
    images = np.zeros((2, 64, 64), np.uint16)
    images[:, 5:60, 5:60] = 100
    truth = np.full((2, 14, 2), np.nan)
    found_px = truth.copy()
    truth[0, 0], found_px[0, 0] = (20, 30), (40, 30)
    found_px[1] = (32, 32)
    picture = decode_png(joints_png(images, truth, found_px)).astype(int)
    assert picture.shape == (64, 6 * 64, 3)
    where_true = np.argwhere(np.abs(picture - TRUE_RGB).sum(axis=-1) < 60)
    where_found = np.argwhere(np.abs(picture - FOUND_RGB).sum(axis=-1) < 60)
    assert where_true.mean(axis=0) == pytest.approx([30, 20], abs=1)
    in_second = where_found[where_found[:, 1] >= 64]
    assert in_second.mean(axis=0) == pytest.approx([32, 96], abs=1)


def test_other_datasets_are_refused(synthetic, dataset, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"domain eye; jobs/estimator\.py joints .* domain hand"):
        main(job_for(dataset, tmp_path / "x"))
    flags = ["--synthetic", synthetic.location, "--output", str(tmp_path / "x")]
    with pytest.raises(
        ValueError, match=r"domain hand; jobs/estimator\.py landmarks .* domain eye"
    ):
        main(parse(estimator_job("landmarks"), [*flags, "--held-out", "train"]))
    with pytest.raises(ValueError, match=r"224 x 224 px are no multiple of 40 px.*--reduce"):
        main(job_for(synthetic, tmp_path / "x", "--reduce", "5"))
    assert not (tmp_path / "x").exists()
    eight_bits = HAND.image.model_copy(update={"bits": 8})
    with pytest.raises(ValueError, match="16-bit depth pictures, not in 8 bits"):
        JointEstimator().check(SMALL, eight_bits)
