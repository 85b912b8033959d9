"""Trainings in colour, from datasets that were ingested in colour."""

import numpy as np
import pytest

from factory.domains.eye.sources.framing import EyeCrop
from factory.domains.eye.sources.pictures import PicturesOptions
from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.training.inputs import TrainingInputs
from factory.training.record import image_spec
from factory.training.workers import WorkerGroup
from schemas.dataset import ImageSpec
from support import fakes
from support.trainers import small_config


@pytest.mark.slow
def test_datasets_in_colour_are_trained_on_as_planes(renders, tmp_path) -> None:
    crop = EyeCrop(colour=True)
    for number in range(1, 4):
        (tmp_path / "camera").mkdir(exist_ok=True)
        (tmp_path / "camera" / f"{number}.jpg").write_bytes(
            (renders / f"{number}.jpg").read_bytes()
        )
    synthetic = fakes.ingest_here(renders, tmp_path / "synthetic", UnityEyesOptions(crop=crop))
    real = fakes.ingest_here(tmp_path / "camera", tmp_path / "real", PicturesOptions(crop=crop))
    config = small_config()
    networks = {
        "refiner": config.refiner.model_copy(update={"channels": 3}),
        "discriminator": config.discriminator.model_copy(update={"channels": 3}),
    }
    config = config.model_copy(update=networks)
    inputs = TrainingInputs.of_datasets(config, synthetic, real, "train", WorkerGroup())
    assert image_spec(config, inputs) == ImageSpec(height=35, width=55, channels=3)
    assert inputs.synthetic.shape == (24, 3, 35, 55) and inputs.real.shape == (3, 3, 35, 55)
    stored = synthetic.images(0)
    assert np.array_equal(np.moveaxis(inputs.synthetic[: len(stored)], 1, 3), stored)
