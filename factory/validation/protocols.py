"""What a domain's validation gives to the job that runs it: `Domain.validator` makes one.

A validation measures every sample against its parent and its labels
(`factory.validation.shard_measures`), looks at a seeded choice of samples for what takes longer
(how far the measurements can be trusted, how real the images are), and puts both into a report. A
gate, a reviewed file of limits (`factory.validation.gate`), turns its numbers into pass or fail.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa

from factory.dataset.dataset import Dataset
from factory.dataset.shard_tasks import SideBySide
from factory.images.png import Pixels
from schemas.options import OptionError
from schemas.report import Realism, Report


class Measurer(Protocol):
    """Measures pairs of images. Lives in a worker of one core."""

    @property
    def witnesses(self) -> "Witnesses":
        """What it measures with."""

    def __call__(self, rows: pa.Table, parent: Pixels, refined: Pixels) -> pa.Table:
        """
        Args:
            rows: index rows of the refined images.
            parent: (n, H, W) in the order of the rows; refined likewise.

        Returns:
            rows of the witnesses' `schema`, in the same order.
        """


class Witnesses(Protocol):
    """What samples are measured with, sent to the workers as a pydantic model.

    A witness is one way of telling how far a refined picture and its labels have come apart.
    """

    schema: ClassVar[pa.Schema]
    """of measurements: key, identity, mean_abs_change, and the domain's own"""
    repeated: ClassVar[Sequence[str]]
    """columns of few different values"""

    def digest(self) -> str:
        """Of all that decides a measurement, not of places."""

    def measurer(self) -> Measurer:
        """Raises what loading a network raises."""

    def with_derived(self, measures: pa.Table) -> pa.Table:
        """Measurements with those that follow from them."""


class Trio(NamedTuple):
    """The datasets of one validation."""

    refined: Dataset
    parent: Dataset
    real: Dataset


class Examined(Protocol):
    """Everything that a report is made from."""

    @property
    def measures(self) -> pa.Table:
        """Of all samples in order of key, with derived ones."""

    @property
    def realism(self) -> Realism:
        """Classifier two-sample tests."""

    def findings(self) -> dict[str, Any]:
        """The fields that the domain's report has beyond `Report`."""

    def page(self, report: Any, notes: Sequence[str], earlier: Any | None) -> str:
        """The report as one HTML file.

        Args:
            report: of the validator's kind.
            notes: sentences for its top.
            earlier: a report of the same kind to compare with.
        """


class Validator(Protocol):
    """The validation of one domain."""

    @property
    def report(self) -> type[Report]:
        """The kind that it makes, whose numbers and measures gates may name."""

    @property
    def networks(self) -> Mapping[str, str]:
        """The witnesses that are given by a place, by name, and how each place is made."""

    def witnesses(
        self, refined: Dataset, parent: Dataset, networks: Mapping[str, str], options: Any
    ) -> Witnesses:
        """Look at the networks once, before any work.

        Args:
            networks: where each is stored, by the name of its witness.
            options: of the domain's `measuring_options`.

        Raises:
            FileNotFoundError: a network is not there.
            FormatError: it is damaged.
            ValueError: it is for other images, or there is no such witness.
        """

    def examine(
        self,
        trio: Trio,
        shards: Sequence[int],
        split: str | None,
        witnesses: Any,
        settings: Any,
        options: Any,
        side_by_side: SideBySide,
    ) -> Examined:
        """What takes more than one sample to tell; all shards are measured by now.

        Args:
            split: of the real dataset, whose images are compared with; all of them when None.
            witnesses: what the shards were measured with.
            settings: a `factory.validation.settings.ValidationSettings`.
            options: of the domain's `validation_options`.
        """

    def summary(self, report: Any) -> list[str]:
        """The report's main numbers in a few lines for a terminal."""


def require_known(networks: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Raises `OptionError` for a witness that a domain does not have."""
    for name in networks:
        if name not in known:
            names = ", ".join(f"{name} ({how})" for name, how in known.items())
            raise OptionError(
                f"--witnesses: no witness {name!r} here that is given by its place; there are: "
                f"{names or 'none'}"
            )
