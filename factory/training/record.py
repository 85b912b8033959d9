"""`train.json`: what a training run is, and whether its output holds the same run."""

import contextlib
import hashlib

import numpy as np
from pydantic import JsonValue

from factory.dataset.kinds import kind_named
from factory.images.scale import full_scale_for
from factory.store.base import Store
from factory.training.config import TrainConfig
from factory.training.inputs import TrainingInputs
from schemas.base import differences_of, digest_of
from schemas.dataset import DatasetCard, ImageSpec
from schemas.training import RUN_NAME, TrainRecord


class RunMismatchError(ValueError):
    """The output folder holds a run of another configuration, or on other images."""


def record_of(config: TrainConfig, inputs: TrainingInputs) -> TrainRecord[TrainConfig]:
    """The record of a run with this configuration and these inputs."""
    return TrainRecord[TrainConfig](
        domain=inputs.domain,
        config=config,
        label_network=inputs.consistency.sha256 if inputs.consistency is not None else None,
        **{name: digest_of_images(inputs, name) for name in inputs.images()},
    )


def content_of(record: TrainRecord[TrainConfig]) -> dict[str, JsonValue]:
    """What a run and its resumption must agree on."""
    return {
        **record.model_dump(mode="json", exclude={"config", "format_version"}),
        "config": record.config.content(),
    }


def image_spec(config: TrainConfig, inputs: TrainingInputs) -> ImageSpec:
    """What the images are.

    Raises:
        ValueError: they do not fit each other or the networks.
    """
    synthetic, real = inputs.synthetic, inputs.real
    for name, images in inputs.images().items():
        if images.ndim not in (3, 4) or images.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                f"{name} images must be (n, H, W) or (n, C, H, W) uint8 or uint16, "
                f"are {images.shape} {images.dtype}"
            )
        channels = 1 if images.ndim == 3 else images.shape[1]
        if channels != config.refiner.channels:
            raise ValueError(
                f"{name} images have {channels} channels, the refiner {config.refiner.channels}"
            )
        if len(images) == 0:
            raise ValueError(f"there are no {name} images to train on")
    if synthetic.shape[-2:] != real.shape[-2:] or synthetic.dtype != real.dtype:
        raise ValueError(
            "both sets of images must have one image size and type: synthetic "
            f"{synthetic.shape[-2:]} {synthetic.dtype}, real {real.shape[-2:]} {real.dtype}"
        )
    _check_pixels(config, inputs)
    height, width = synthetic.shape[-2:]
    config.trained_size(height, width)
    return ImageSpec.model_validate(
        {
            "height": height,
            "width": width,
            "channels": config.refiner.channels,
            "bits": 8 * synthetic.dtype.itemsize,
        }
    )


def _check_pixels(config: TrainConfig, inputs: TrainingInputs) -> None:
    for name, pixels in inputs.images().items():
        full_scale, largest = full_scale_for(config.full_scale, pixels.dtype), int(pixels.max())
        if largest > full_scale:
            raise ValueError(
                f"{name} images have pixels up to {largest}, which full_scale = {full_scale:g} "
                "would cut off: for depth it is the side of the cube in mm and 1"
            )
        if all(image.min() == image.max() for image in pixels):  # ends at the first that is not
            raise ValueError(
                f"each of the {len(pixels)} {name} images is of one value throughout, so there is "
                "nothing to learn from them; look at the pictures that were ingested"
            )
        if config.empty_below >= full_scale:
            raise ValueError(
                f"empty_below = {config.empty_below:g} empties whole images, whose pixels go up "
                f"to {full_scale:g}"
            )


def scaled_for(config: TrainConfig, synthetic: DatasetCard, real: DatasetCard) -> TrainConfig:
    """The configuration with the full scale of two datasets.

    Raises:
        ValueError: they have different ones, or the configuration has another.
    """
    scales = [kind_named(card.domain).full_scale(card) for card in (synthetic, real)]
    if scales[0] != scales[1]:
        raise ValueError(
            f"pixels of the synthetic images go up to {scales[0]:g}, those of the real ones to "
            f"{scales[1]:g}; ingest both with one cube"
        )
    if config.full_scale not in (None, scales[0]):
        raise ValueError(
            f"full_scale = {config.full_scale:g}, the datasets' is {scales[0]:g}; leave it out"
        )
    return config.model_copy(update={"full_scale": scales[0]})


def digest_of_images(inputs: TrainingInputs, name: str) -> str:
    """A digest of one set of images: of its lineage, whose parts name their content by digests;
    without a lineage, of the pixels."""
    if inputs.lineage is not None:
        described = inputs.lineage[name]
        assert isinstance(described, dict), described
        return digest_of({key: value for key, value in described.items() if key != "location"})
    images = inputs.images()[name]
    digest = hashlib.sha256(f"{images.shape} {images.dtype} ".encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()


def recorded(store: Store) -> TrainRecord[TrainConfig] | None:
    """The record of the run that an output holds; None where it holds none."""
    try:
        content = store.read(RUN_NAME)
    except FileNotFoundError:
        return None
    return TrainRecord[TrainConfig].from_json(content, where=f"{store.location}/{RUN_NAME}")


def enter(store: Store, record: TrainRecord[TrainConfig]) -> None:
    """Claim the output for this run, or check that this run has claimed it before.

    Raises:
        RunMismatchError: the output holds another run; the message spells out the difference.
    """
    earlier = recorded(store)
    if earlier is None:
        with contextlib.suppress(FileExistsError):  # another run was quicker: compare with it
            store.put_new(RUN_NAME, record.to_json())
            return
        earlier = recorded(store)
        assert earlier is not None
    differences = list(differences_of(content_of(earlier), content_of(record)))
    if differences:
        raise RunMismatchError(
            f"{store.location} holds another training run: {'; '.join(differences)}. "
            "Train into another folder, or with the configuration that it was begun with"
        )
