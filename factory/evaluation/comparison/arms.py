"""The arms of an evaluation: sets of labelled images that models are trained on.

All arms but those of real images show the same renders with the same labels, each in another look.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.registry import domain_of
from factory.images.png import Pixels, grey
from factory.networks.evaluation_kinds import Examples, LoadedTest, Quantity
from schemas.base import Float, Model, digest_of
from schemas.dataset import ImageSpec
from schemas.place import Place

Sizes = tuple[Annotated[int, Field(ge=1)], ...]


class Arm(Model):
    """What all arms have."""

    sizes: Sizes | None = None
    """numbers of images to train on, in place of those of the whole evaluation"""

    def settings(self) -> dict[str, JsonValue]:
        """What decides the images, with the content of what it names in place of where that
        lies."""
        return dict(self.model_dump(mode="json", exclude={"sizes"}))

    def check(self, image: ImageSpec) -> None:
        """Raises ValueError where the arm cannot be made of such renders."""


class ConstantArm(Arm):
    """No images: the answer is always the mean label of the renders."""

    kind: Literal["constant"]


class RendersArm(Arm):
    """The renders as they are, and the base of all arms that change their look."""

    kind: Literal["renders"]

    def look(self, renders: "Renders", images: Pixels, number: int) -> "Look":
        """What changes the look of renders.

        Args:
            images: (N, H, W) the renders that are trained on.
            number: position of the seed among those of the evaluation.

        Raises:
            ValueError: the evaluation lacks what the arm needs.
        """
        return lambda rows: rows.examples


class DegradedArm(RendersArm):
    """Renders with blur, noise and tone that are fitted to the unlabelled real images, or with what
    the domain fits in their place (`Evaluation.degradation`)."""

    kind: Literal["degraded"]  # type: ignore[assignment]
    blur_px: Annotated[Float | None, Field(gt=0)] = None
    """standard deviation of a Gaussian that renders are blurred with, and nothing else, in place
    of what is fitted: a control that needs no real images"""
    equalise: bool = False
    """whether the datasets' histograms are equalised; the tone is then left as it is, and degraded
    images are equalised again"""

    def check(self, image: ImageSpec) -> None:
        if image.bits != 8 and (self.blur_px is not None or self.equalise):
            raise ValueError(
                f"blur_px and equalise are for images of 8 bits, the renders have {image.bits}"
            )

    def look(self, renders: "Renders", images: Pixels, number: int) -> "Look":
        from factory.evaluation.degradation import Degradation, fit

        own = domain_of(Dataset.open(renders.renders)).evaluation().degradation
        if own is not None:
            degrade = own(images, renders.real_images())
            return _changed(lambda pixels: degrade(pixels, number))
        if self.blur_px is not None:
            degradation = Degradation.of_blur(self.blur_px, equalise=self.equalise)
        else:
            degradation = fit(grey(images), grey(renders.real_images()), equalise=self.equalise)
        return _changed(lambda pixels: degradation.apply(grey(pixels), seed=number))


class AmplitudesArm(RendersArm):
    """Renders whose low spatial frequencies have the amplitudes of a random real image (Yang and
    Soatto 2020, arXiv:2004.05498)."""

    kind: Literal["amplitudes"]  # type: ignore[assignment]
    share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """frequencies up to this share of the shorter side, in cycles, are swapped along each axis"""
    equalise: bool = False
    """whether the datasets' histograms are equalised; changed images are then equalised again"""

    def check(self, image: ImageSpec) -> None:
        if image.bits != 8:
            raise ValueError(
                f"amplitudes are swapped in images of 8 bits, the renders have {image.bits}"
            )

    def look(self, renders: "Renders", images: Pixels, number: int) -> "Look":
        from factory.evaluation.degradation import swap_amplitudes

        real = grey(renders.real_images())
        return _changed(
            lambda pixels: swap_amplitudes(
                grey(pixels), real, seed=number, share=self.share, equalise=self.equalise
            )
        )


class RefinedArm(RendersArm):
    """Renders that a refiner refined."""

    kind: Literal["refined"]  # type: ignore[assignment]
    refiners: Annotated[tuple[Place, ...], Field(min_length=1)]
    """training runs. With several, the i-th seed of the models takes the i-th refiner, and begins
    again with the first where there are fewer"""

    def settings(self) -> dict[str, JsonValue]:
        from factory.networks.refiner_files import load_refiner

        digests: list[JsonValue] = [load_refiner(place)[1].sha256 for place in self.refiners]
        return {**super().settings(), "refiners": digests}

    def check(self, image: ImageSpec) -> None:
        from factory.networks.refiner_files import load_refiner

        for place in self.refiners:
            taken = load_refiner(place)[1].image
            if (taken.channels, taken.bits) != (image.channels, image.bits):
                raise ValueError(
                    f"{place} refines images of {taken.channels} channels and {taken.bits} bits, "
                    f"the renders have {image.channels} channels and {image.bits} bits"
                )

    def look(self, renders: "Renders", images: Pixels, number: int) -> "Look":
        from factory.refinement.engines.choose import make_engine

        return _changed(make_engine(self.refiner(number)))

    def refiner(self, number: int) -> str:
        """The place of the refiner that the models' seed of that position takes."""
        return self.refiners[number % len(self.refiners)]


class DatasetArm(RendersArm):
    """The refined images of a dataset that was made of the renders, by their keys: for images that
    a gate let pass, or that another program made."""

    kind: Literal["dataset"]  # type: ignore[assignment]
    dataset: Place
    """a dataset with the keys of the renders; the renders that it lacks are left out"""

    def settings(self) -> dict[str, JsonValue]:
        return {**super().settings(), "dataset": digest_of_dataset(self.dataset)}

    def look(self, renders: "Renders", images: Pixels, number: int) -> "Look":
        return lambda rows: _of_dataset(self.dataset, rows)


class RealArm(Arm):
    """Labelled real images of a test set, none of a group that is scored."""

    kind: Literal["real"]
    test: str
    """name of the test set"""
    sizes: Annotated[Sizes, Field(min_length=1)]
    """numbers of images to train on"""
    held_out_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of the groups by which the training is stopped"""


AnyArm = Annotated[
    ConstantArm | RendersArm | DegradedArm | AmplitudesArm | RefinedArm | DatasetArm | RealArm,
    Field(discriminator="kind"),
]


class ArmImages(NamedTuple):
    """What a model is trained on."""

    train: Examples
    held_out: Examples


@dataclass(frozen=True)
class Renders:
    """Where the renders and the unlabelled real images of an evaluation are. It travels to
    workers."""

    renders: str
    real: str | None
    split: str
    held_out: str
    num_held_out: int

    def rows(self, split: str, quantity: Quantity, num: int | None, seed: int) -> "Rows":
        """Renders of a split with their labels, in a random order.

        Args:
            num: how many; None for all.
            seed: of their choice.

        Raises:
            ValueError: there are fewer, or a label is missing.
        """
        dataset = Dataset.open(self.renders)
        shards = dataset.committed_in(split)
        columns = list(dict.fromkeys(["key", "identity", *quantity.columns]))
        index = load_index(dataset, columns, shards)
        if num is not None and num > len(index):
            raise ValueError(
                f"{self.renders} has {len(index)} renders in its split {split}, not {num}"
            )
        order = np.random.default_rng(seed).permutation(len(index))[:num]
        index = index.take(pa.array(order))
        examples = Examples(
            load_images(dataset, shards)[order], quantity.read(index), groups_of(index)
        )
        return Rows(examples, np.asarray(index["key"].to_pylist()))

    def real_images(self) -> Pixels:
        """The unlabelled real images of the split that is trained on.

        Raises:
            ValueError: the evaluation names none.
        """
        if self.real is None:
            raise ValueError("an arm is fitted to real images, and the setup names none (real)")
        dataset = Dataset.open(self.real)
        return load_images(dataset, dataset.committed_in(self.split))


class Rows(NamedTuple):
    """Labelled renders and their keys."""

    examples: Examples
    keys: NDArray[np.str_]

    def first(self, num: int) -> "Rows":
        """The first so many of them, or all where there are fewer."""
        rows = np.arange(min(num, len(self.keys)))
        return Rows(self.examples.take(rows), self.keys[rows])


Look = Callable[[Rows], Examples]


def _changed(change: Callable[[Pixels], Pixels]) -> Look:
    return lambda rows: rows.examples._replace(images=change(rows.examples.images))


def load_arm(
    arm: RendersArm | RealArm,
    renders: Renders,
    quantity: Quantity,
    tests: Mapping[str, LoadedTest],
    *,
    size: int | None,
    seed: int,
    number: int,
) -> ArmImages:
    """The images of an arm.

    Args:
        tests: by name, for real arms.
        size: number of images to train on; None for all.
        seed: of the choice of renders, which is the same for all arms.
        number: position of the seed among those of the evaluation.

    Raises:
        ValueError: there are fewer images than asked for, or what the arm needs is missing.
    """
    if isinstance(arm, RealArm):
        return _real(arm, tests[arm.test], size, seed)
    train = renders.rows(renders.split, quantity, size, seed)
    held_out = renders.rows(renders.held_out, quantity, None, seed=0).first(renders.num_held_out)
    look = arm.look(renders, train.examples.images, number)
    return ArmImages(look(train), look(held_out))


def _of_dataset(location: str, rows: Rows) -> Examples:
    """The images of a dataset that have the keys of some renders; keys that it lacks are left
    out."""
    dataset = Dataset.open(location)
    shards = dataset.committed()
    keys = load_index(dataset, ["key"], shards)["key"].to_pylist()
    row_of = {key: row for row, key in enumerate(keys)}
    there = np.array([key in row_of for key in rows.keys])
    if not there.any():
        raise ValueError(f"{location} has no image with the key of a render that was chosen")
    images = load_images(dataset, shards)[[row_of[key] for key in rows.keys[there]]]
    return rows.examples.take(np.flatnonzero(there))._replace(images=images)


def _real(arm: RealArm, test: LoadedTest, size: int | None, seed: int) -> ArmImages:
    """Real images in two parts that share no group."""
    learnable = test.learnable
    if learnable is None:
        raise ValueError(f"the test set {arm.test} has no labelled images that may be trained on")
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.unique(learnable.groups))
    num_held_out = max(1, round(len(groups) * arm.held_out_share))
    if num_held_out >= len(groups):
        raise ValueError(f"the test set {arm.test} has only {len(groups)} groups to train on")
    is_held_out = np.isin(learnable.groups, groups[:num_held_out])
    rows = rng.permutation(np.flatnonzero(~is_held_out))
    if size is not None and size > len(rows):
        raise ValueError(f"the test set {arm.test} has {len(rows)} real images to train on")
    return ArmImages(learnable.take(rows[:size]), learnable.take(np.flatnonzero(is_held_out)))


def groups_of(index: pa.Table) -> NDArray[np.str_]:
    """(N,) identities of the rows of an index; an image without one is a group of its own."""
    pairs = zip(index["identity"].to_pylist(), index["key"].to_pylist(), strict=True)
    return np.asarray([identity if identity is not None else key for identity, key in pairs])


def digest_of_dataset(location: str, *splits: str) -> str:
    """Digest of the shards of some splits, or of all shards, by content."""
    dataset = Dataset.open(location)
    shards = [s for split in splits for s in dataset.committed_in(split)] or dataset.committed()
    return digest_of([facts.tar_sha256 for facts in dataset.all_facts(shards)])


def sizes_of(arm: Arm, common: Sequence[int] | None) -> Sequence[int | None]:
    """The sizes that an arm is trained with."""
    if isinstance(arm, ConstantArm):
        return (None,)
    return arm.sizes or common or (None,)
