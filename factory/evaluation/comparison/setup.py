"""What an evaluation compares: a TOML file of arms, models and test sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from factory.dataset.dataset import Dataset
from factory.domains.registry import domain_of
from factory.evaluation.comparison.arms import AnyArm, RealArm, Sizes
from factory.evaluation.comparison.renders import Renders
from factory.networks.evaluation_kinds import Quantity, Regressor, TestSet
from factory.store.open import absolute
from schemas.base import Model, spell_out
from schemas.place import Place, places_in
from schemas.toml import tables_in

Options = dict[str, Any]
"""a table of the file: its `kind`, and the options of that kind"""
AnyModel = TypeVar("AnyModel", bound=BaseModel)


class EvaluationSetup(Model):
    """The file that jobs/evaluate.py is given; configs/evaluation.toml explains it."""

    renders: Place
    """dataset of labelled renders, with the two splits below"""
    real: Place | None = None
    """dataset of unlabelled real images that controls are fitted to; its split is that of the
    renders"""
    split: str = "train"
    """split to train on"""
    held_out: str = "test"
    """split of other identities, by which trainings are stopped"""
    num_held_out: Annotated[int, Field(ge=20)] = 1000
    """images of that split at most"""
    sizes: Sizes | None = None
    """numbers of images to train on; all by default"""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0, 1, 2, 3, 4)
    """each model is trained once with each of these"""
    baseline: str = "renders"
    """arm that the others are compared with"""
    control: str | None = None
    """arm that a refined one has to beat as well, to pay"""
    log: Path | None = None
    """text file to which a line is added for each trial and test set: settings, seed, figures"""
    arms: Annotated[dict[str, AnyArm], Field(min_length=1)]
    models: Annotated[dict[str, Options], Field(min_length=1)]
    tests: Annotated[dict[str, Options], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        if self.baseline not in self.arms:
            raise ValueError(f"baseline: there is no table [arms.{self.baseline}]")
        if self.control is not None and self.control not in self.arms:
            raise ValueError(f"control: there is no table [arms.{self.control!r}]")
        for name, arm in self.arms.items():
            if isinstance(arm, RealArm) and arm.test not in self.tests:
                raise ValueError(f"[arms.{name}] test: there is no table [tests.{arm.test}]")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one is named twice")
        return self


@dataclass(frozen=True)
class Compared:
    """A setup whose models and test sets are those of its domain, with absolute places."""

    setup: EvaluationSetup
    domain: str
    renders: Renders
    arms: Mapping[str, AnyArm]
    models: Mapping[str, Regressor]
    tests: Mapping[str, TestSet]
    quantities: Mapping[str, Quantity]
    published: tuple[str, ...] = ()
    """figures of papers, in sentences"""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a file; no image is read.

        Raises:
            FormatError: it is not TOML.
            MissingHookError: the domain brings no evaluation.
            ValueError: a table does not fit; the message names it.
        """
        try:
            setup = EvaluationSetup.model_validate(tables_in(path))
        except ValidationError as error:
            raise ValueError(f"{path}: {spell_out(error)}") from error
        renders = Dataset.open(setup.renders)
        renders.require_splits(setup.split, setup.held_out)
        if setup.real is not None:
            Dataset.open(setup.real).require_splits(setup.split)
        domain = domain_of(renders)
        evaluation = domain.evaluation()
        models = {
            name: _made(path, f"models.{name}", evaluation.regressors, table)
            for name, table in setup.models.items()
        }
        tests = {
            name: located(_made(path, f"tests.{name}", evaluation.test_sets, table))
            for name, table in setup.tests.items()
        }
        for name, arm in setup.arms.items():
            try:
                arm.check(renders.card)
            except ValueError as error:
                raise ValueError(f"{path} [arms.{name}]: {error}") from error
        scored = {test.quantity for test in tests.values()}
        for name, model in models.items():
            model.check(renders.card.image)
            if not any(map(model.estimates, scored)):
                raise ValueError(
                    f"{path} [models.{name}]: no test set scores what it estimates, "
                    f"{' or '.join(sorted(model.quantities or ()))}"
                )
        return cls(
            setup=setup,
            domain=domain.name,
            renders=Renders(
                absolute(setup.renders),
                None if setup.real is None else absolute(setup.real),
                setup.split,
                setup.held_out,
                setup.num_held_out,
            ),
            arms={name: located(arm) for name, arm in setup.arms.items()},
            models=models,
            tests=tests,
            quantities=evaluation.quantities,
            published=evaluation.published,
        )


def _made(path: Path, table: str, kinds: Mapping[str, type[AnyModel]], given: Options) -> AnyModel:
    """The options of the kind that a table names. Raises ValueError."""
    options = dict(given)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"{path} [{table}]: kind = {kind!r}; there are {', '.join(sorted(kinds))}")
    try:
        return kinds[kind].model_validate(options)
    except ValidationError as error:
        raise ValueError(f"{path} [{table}]: {spell_out(error)}") from error


def located(options: AnyModel) -> AnyModel:
    """The same options with absolute places, which mean the same in a worker's own folder."""
    changed: dict[str, Any] = {}
    for name, _ in places_in(options):
        value = getattr(options, name)
        changed[name] = tuple(map(absolute, value)) if isinstance(value, tuple) else absolute(value)
    return options.model_copy(update=changed)
