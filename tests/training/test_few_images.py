"""The ends of a training: few images, none that differ, pictures that cannot be drawn."""

import logging

import cv2
import numpy as np
import pytest

from factory.networks.refiner_files import load_refiner
from factory.training.inputs import check_numbers
from factory.training.run import train_on_images
from support.trainers import inputs_of, small_config

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("num_real", [1, 5])
def test_a_training_on_few_real_images_leaves_its_refiner_and_pictures(
    images, tmp_path, num_real
) -> None:
    train_on_images(
        small_config(), inputs_of((images[0], images[1][:num_real])), tmp_path, device="cpu"
    )
    load_refiner(tmp_path)
    overview = cv2.imread(str(tmp_path / "overview.png"), cv2.IMREAD_GRAYSCALE)
    scale = 120 // 14
    last = overview[16:, -(14 * scale + 2) :]  # the column of real images
    rows = np.split(last, 10)
    assert [bool(row.any()) for row in rows] == [True] * num_real + [False] * (10 - num_real)


def test_a_picture_that_cannot_be_drawn_costs_no_refiner(images, tmp_path, caplog) -> None:
    (tmp_path / "strips").mkdir()
    (tmp_path / "strips" / "step-000001.png").write_bytes(b"no picture")
    train_on_images(small_config(), inputs_of(images), tmp_path, device="cpu")
    load_refiner(tmp_path)
    assert not (tmp_path / "overview.png").exists() and (tmp_path / "losses.png").exists()
    assert "overview.png is left out, the refiner is saved all the same" in caplog.text
    (tmp_path / "strips" / "step-000001.png").unlink()
    train_on_images(
        small_config(), inputs_of(images), tmp_path, device="cpu"
    )  # the same again draws it
    assert (tmp_path / "overview.png").exists()


@pytest.mark.parametrize("which", [0, 1])
def test_images_that_are_all_of_one_value_are_refused(images, tmp_path, which) -> None:
    constant = list(images)
    constant[which] = np.full_like(images[which], 128)
    name = ("synthetic", "real")[which]
    with pytest.raises(ValueError, match=rf"{len(constant[which])} {name} images is of one value"):
        train_on_images(small_config(), inputs_of(constant), tmp_path, device="cpu")
    constant[which] = constant[which].copy()
    constant[which][-1, 0, 0] = 0  # one picture with something in it is enough
    train_on_images(small_config(), inputs_of(constant), tmp_path, device="cpu")


def test_few_images_are_warned_about_and_too_few_for_the_workers_refused(
    synthetic, single_reals, caplog
) -> None:
    caplog.set_level(logging.WARNING)
    check_numbers(small_config(batch_size=48, buffer_size=0), synthetic, single_reals, "train", 24)
    assert not caplog.records
    check_numbers(small_config(batch_size=50, buffer_size=0), synthetic, single_reals, "train", 1)
    assert [r.getMessage().partition(",")[0] for r in caplog.records] == [
        f"{synthetic.location} has only 24 renders in the split train",
        f"{single_reals.location} has only 24 real images in the split train",
    ]
    with pytest.raises(ValueError, match="24 renders in the split train for 25 workers"):
        check_numbers(small_config(), synthetic, single_reals, "train", 25)
