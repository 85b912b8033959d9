"""What an evaluation asks of a domain: the quantities that models estimate, models that are trained
on labelled images, sets of real images on which they are scored, and what images show.

A domain brings its own with the hook `Domain.evaluation`. Axes: N images, D numbers of the
quantity, M scored units of a test set (an image, or a frame that shows both eyes).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from factory.images.png import Pixels
from schemas.base import Model
from schemas.dataset import ImageSpec
from schemas.place import Place

Values = NDArray[np.float64]
Names = NDArray[np.str_]


class Examples(NamedTuple):
    """Labelled images to train on."""

    images: Pixels
    """(N, H, W) as stored"""
    values_ND: Values  # noqa: N815
    """(N, D) the quantity in each"""
    groups: Names
    """(N,) what images must not be split over training and stopping: identities, or blocks of
    consecutive frames"""

    def take(self, rows: NDArray[np.integer]) -> "Examples":
        """Some of them, by their positions."""
        return Examples(self.images[rows], self.values_ND[rows], self.groups[rows])

    @classmethod
    def concatenated(cls, parts: "Sequence[Examples]") -> "Examples":
        """Those of each part, one part after the other."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Quantity:
    """Something that models estimate from an image."""

    name: str
    """in configurations, reports and on the command line: `gaze`, `iris`"""
    unit: str
    """of its errors: `deg`, `px`"""
    columns: tuple[str, ...]
    """label columns of an index that it is read from"""
    read: Callable[[pa.Table], Values]
    """(N, D) of an index with those columns; raises ValueError where a sample has none"""
    errors: Callable[[Values, Values], Values]
    """(N,) from (N, D) estimates and (N, D) true values, in `unit`"""


class Fitted(NamedTuple):
    """A trained model."""

    estimate: Callable[[Pixels], Values]
    """(N, D) of images (N, H, W)"""
    facts: Mapping[str, float | int | str]
    """what is worth knowing of the training: its updates, its error on the held-out examples"""


class Regressor(Model, ABC):
    """Options of one kind of model, and its training."""

    quantities: ClassVar[frozenset[str] | None]
    """names of the quantities that it can estimate; None for all"""

    def estimates(self, quantity: str) -> bool:
        """Whether it can estimate a quantity, by its name."""
        return self.quantities is None or quantity in self.quantities

    def check(self, image: ImageSpec) -> None:
        """Raises ValueError where a model of these options cannot take such images."""

    @abstractmethod
    def fit(self, train: Examples, held_out: Examples, quantity: Quantity, *, seed: int) -> Fitted:
        """Train a model.

        Args:
            train: what it learns from.
            held_out: other identities of the same arm, by which the training is stopped, or
                options are chosen. No test set is seen here.
            seed: of every random choice.

        Raises:
            RuntimeError: a loss is not finite.
        """


class Errors(NamedTuple):
    """How far estimates are from the truth."""

    values_M: Values  # noqa: N815
    """(M,) one error for each unit, in the unit of the test set's quantity"""
    groups_M: Names  # noqa: N815
    """(M,) the block, or the person, that each unit belongs to; intervals are drawn over these"""


@dataclass(frozen=True)
class LoadedTest:
    """A test set in memory."""

    images: Pixels
    """(N, H, W) of all units"""
    score: Callable[[Values], Errors]
    """the errors of (N, D) estimates, one for each image in order"""
    learnable: Examples | None = None
    """labelled real images that may be trained on, none of a group that is scored; None where the
    set has none"""
    notes: tuple[str, ...] = field(default=())
    """what a reader has to know of its errors, in sentences"""


class TestSet(Model, ABC):
    """Options of one kind of test set, and its reading."""

    __test__: ClassVar[bool] = False  # the name is no test's
    quantity: ClassVar[str]
    """name of the quantity that it scores"""

    dataset: Place
    """dataset of the real images"""

    @abstractmethod
    def load(self) -> LoadedTest:
        """Read the images and their truth.

        Raises:
            ValueError: the dataset lacks what this kind of test set needs; the message names it.
        """


@dataclass(frozen=True)
class ContentLabel:
    """Something that an image shows, whatever its look, by which renders can be chosen to show what
    a camera does."""

    name: str
    """in reports: `opening`"""
    unit: str
    """`deg`; for a ratio, what it is a share of"""
    columns: tuple[str, ...]
    """label columns of an index that it is read from"""
    read: Callable[[pa.Table], Values]
    """(N,) of an index with those columns, in `unit`; raises ValueError where a sample has none"""
    option: str
    """the field of the ingest options that keeps a range of it, both ends included:
    `keep_opening`"""
    step: float
    """what the ends of a recommended range are multiples of, in `unit`"""
    pays: bool = False
    """whether docs/evidence.md shows that models do better where renders are chosen by it"""


Degrade = Callable[[Pixels, int], Pixels]
"""degrades images (N, H, W), with what a seed draws"""


class Evaluation(NamedTuple):
    """What a domain brings for evaluations."""

    quantities: Mapping[str, Quantity]
    regressors: Mapping[str, type[Regressor]]
    """by the `kind` in a configuration"""
    test_sets: Mapping[str, type[TestSet]]
    """by the `kind` in a configuration"""
    degradation: Callable[[Pixels, Pixels], Degrade] | None = None
    """fits what gives renders (N, H, W) the look of unlabelled real images (M, H, W), for the arms
    of matched degradation; None for the blur, noise and tone of grey images of 8 bits"""
    published: tuple[str, ...] = ()
    """figures of papers that stand beside the results, in sentences"""
    content: tuple[ContentLabel, ...] = ()
    """what jobs/content.py compares between renders and real images, the most important first"""
