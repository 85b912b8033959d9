"""The arms of an evaluation: sets of labelled images that models are trained on.

All arms but those of real images show the same renders with the same labels, each in another look.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, JsonValue, model_validator

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index
from factory.domains.base import Domain
from factory.domains.registry import domain_named, domain_of
from factory.evaluation.comparison.renders import Renders, Rows, digest_of_dataset
from factory.images.png import Pixels, grey
from factory.networks.evaluation_kinds import Examples, LoadedTest, Quantity
from factory.validation.power.damages import Damage
from schemas.base import Float, Model
from schemas.dataset import DatasetCard
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

    def settings_of(
        self, number: int, settings: Mapping[str, JsonValue]
    ) -> Mapping[str, JsonValue]:
        """The part of the arm's `settings` that decides the images of one seed, by its position."""
        return settings

    def check(self, card: DatasetCard) -> None:
        """Raises ValueError where the arm cannot be made of renders with this card."""


class ConstantArm(Arm):
    """No images: the answer is always the mean label of the renders."""

    kind: Literal["constant"]


class RendersArm(Arm):
    """The renders as they are, and the base of all arms that change their look."""

    kind: Literal["renders"]
    all_labels: ClassVar[bool] = False
    """whether `look` needs every label of the renders, not those of the quantity alone"""

    def look(self, renders: Renders, images: Pixels, number: int) -> "Look":
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

    def check(self, card: DatasetCard) -> None:
        image = card.image
        if image.bits != 8 and (self.blur_px is not None or self.equalise):
            raise ValueError(
                f"blur_px and equalise are for images of 8 bits, the renders have {image.bits}"
            )

    def look(self, renders: Renders, images: Pixels, number: int) -> "Look":
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

    def check(self, card: DatasetCard) -> None:
        image = card.image
        if image.bits != 8:
            raise ValueError(
                f"amplitudes are swapped in images of 8 bits, the renders have {image.bits}"
            )

    def look(self, renders: Renders, images: Pixels, number: int) -> "Look":
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
    refinements: Annotated[int, Field(ge=1, exclude_if=lambda number: number == 1)] = 1
    """how many refiners a seed takes, the next ones of `refiners`. Each refines all renders, and
    the models are trained on all refined images, so that they do not learn what one refiner does
    to labels"""

    @model_validator(mode="after")
    def _enough_refiners(self) -> Self:
        if self.refinements > len(self.refiners):
            raise ValueError(
                f"{self.refinements} refinements of each render take as many refiners, and "
                f"{len(self.refiners)} are named"
            )
        return self

    def settings(self) -> dict[str, JsonValue]:
        from factory.networks.refiner_files import load_refiner

        digests: list[JsonValue] = [load_refiner(refiner)[1].sha256 for refiner in self.refiners]
        return {**super().settings(), "refiners": digests}

    def settings_of(
        self, number: int, settings: Mapping[str, JsonValue]
    ) -> Mapping[str, JsonValue]:
        digests = settings["refiners"]
        assert isinstance(digests, list)
        return {**settings, "refiners": [digests[row] for row in self._rows_of(number)]}

    def check(self, card: DatasetCard) -> None:
        from factory.networks.refiner_files import load_refiner

        image = card.image
        for refiner in self.refiners:
            taken = load_refiner(refiner)[1].image
            if (taken.channels, taken.bits) != (image.channels, image.bits):
                raise ValueError(
                    f"{refiner} refines images of {taken.channels} channels and {taken.bits} bits, "
                    f"the renders have {image.channels} channels and {image.bits} bits"
                )

    def look(self, renders: Renders, images: Pixels, number: int) -> "Look":
        from factory.refinement.engines.choose import make_engine

        engines = [make_engine(refiner) for refiner in self.refiners_of(number)]
        return lambda rows: Examples.concatenated(
            [rows.examples._replace(images=engine(rows.examples.images)) for engine in engines]
        )

    def refiners_of(self, number: int) -> list[str]:
        """The places of the refiners that the models' seed of that position takes."""
        return [self.refiners[row] for row in self._rows_of(number)]

    def _rows_of(self, number: int) -> list[int]:
        """Positions among `refiners` of those that a seed takes."""
        rows = range(number * self.refinements, (number + 1) * self.refinements)
        return [row % len(self.refiners) for row in rows]


class DamagedArm(RefinedArm):
    """Refined images of which a share is damaged: what an error of labels or of looks costs, beside
    the arm of the same refiners."""

    kind: Literal["damaged"]  # type: ignore[assignment]
    all_labels: ClassVar[bool] = True
    damage: str
    """kind of damage, one of those that jobs/power.py plants: docs/power.md has them"""
    size: Float | None = None
    """size of the damage, in the unit of its kind"""
    share: Annotated[Float, Field(gt=0, le=1)] = 1.0
    """share of the images that are damaged, drawn at random"""

    def check(self, card: DatasetCard) -> None:
        super().check(card)
        self._planted(domain_named(card.domain))

    def _planted(self, domain: Domain) -> Damage:
        units = {damage.kind: damage.unit for damage in domain.damage().damages}
        if self.damage not in units:
            raise ValueError(
                f"the domain {domain.name} has no damage {self.damage!r}; there are "
                f"{', '.join(units)}"
            )
        return Damage(self.damage, self.size, units[self.damage], must_catch=False, why="")

    def look(self, renders: Renders, images: Pixels, number: int) -> "Look":
        domain = domain_of(Dataset.open(renders.renders))
        damage, damaged = self._planted(domain), domain.damage().damaged
        refine = super().look(renders, images, number)

        def look(rows: Rows) -> Examples:
            refined, parents = refine(rows), rows.examples.images
            rng = np.random.default_rng([number, len(parents)])
            chosen = np.sort(rng.permutation(len(parents))[: round(self.share * len(parents))])
            if not len(chosen):
                return refined
            changed = damaged(
                damage, rows.index.take(chosen), parents[chosen], refined.images[chosen], rng
            )
            seen, values = refined.images.copy(), refined.values_ND.copy()
            seen[chosen], values[chosen] = changed.refined_NHW, values[chosen][changed.label_rows_N]
            return refined._replace(images=seen, values_ND=values)

        return look

    @model_validator(mode="after")
    def _one_refinement(self) -> Self:
        if self.refinements > 1:
            raise ValueError("an arm of damaged images takes one refinement of each render")
        return self


class DatasetArm(RendersArm):
    """The refined images of a dataset that was made of the renders, by their keys: for images that
    a gate let pass, or that another program made."""

    kind: Literal["dataset"]  # type: ignore[assignment]
    dataset: Place
    """a dataset with the keys of the renders; the renders that it lacks are left out"""

    def settings(self) -> dict[str, JsonValue]:
        return {**super().settings(), "dataset": digest_of_dataset(self.dataset)}

    def look(self, renders: Renders, images: Pixels, number: int) -> "Look":
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
    ConstantArm
    | RendersArm
    | DegradedArm
    | AmplitudesArm
    | RefinedArm
    | DamagedArm
    | DatasetArm
    | RealArm,
    Field(discriminator="kind"),
]


class ArmImages(NamedTuple):
    """What a model is trained on."""

    train: Examples
    held_out: Examples


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
    all_labels = arm.all_labels
    train = renders.rows(renders.split, quantity, size, seed, all_labels=all_labels)
    held_out = renders.rows(renders.held_out, quantity, None, seed=0, all_labels=all_labels)
    held_out = held_out.first(renders.num_held_out)
    look = arm.look(renders, train.examples.images, number)
    return ArmImages(look(train), look(held_out))


def _of_dataset(location: str, rows: Rows) -> Examples:
    """The images of a dataset that have the keys of some renders; keys that it lacks are left
    out."""
    dataset = Dataset.open(location)
    shards = dataset.committed()
    keys = load_index(dataset, ["key"], shards)["key"].to_pylist()
    row_of = {key: row for row, key in enumerate(keys)}
    wanted = rows.keys
    has_image = np.array([key in row_of for key in wanted])
    if not has_image.any():
        raise ValueError(f"{location} has no image with the key of a render that was chosen")
    images = load_images(dataset, shards)[[row_of[key] for key in wanted[has_image]]]
    return rows.examples.take(np.flatnonzero(has_image))._replace(images=images)


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


def sizes_of(arm: Arm, common: Sequence[int] | None) -> Sequence[int | None]:
    """The sizes that an arm is trained with."""
    if isinstance(arm, ConstantArm):
        return (None,)
    return arm.sizes or common or (None,)
