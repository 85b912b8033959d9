"""A training that was asked for, checked against its datasets before anything is trained."""

from dataclasses import dataclass
from typing import Self

from factory.dataset.dataset import Dataset
from factory.measures.two_sample import TwoSampleTest
from factory.training.config import TrainConfig
from factory.training.inputs import check_numbers
from factory.training.record import scaled_for
from factory.training.scores import HeldOutScoring


@dataclass(frozen=True)
class CheckedTraining:
    """A configuration with the datasets that it is for."""

    config: TrainConfig
    """with the full scale of the datasets"""
    synthetic: Dataset
    real: Dataset
    scoring: HeldOutScoring | None
    """of refiners while they train; None where the configuration asks for none"""

    @classmethod
    def of(
        cls,
        config: TrainConfig,
        synthetic: str,
        real: str,
        *,
        split: str,
        held_out: str,
        num_held_out: int,
        num_workers: int = 1,
    ) -> Self:
        """
        Args:
            synthetic, real: locations of the datasets.
            split: of both datasets, to train on.
            held_out: split of both datasets to score refiners on.
            num_held_out: renders, and real images, of it.
            num_workers: that share the images.

        Raises:
            MissingHookError: refiners are to be scored, and their domain does not say how.
            FileNotFoundError: there is no such dataset.
            ValueError: datasets that do not fit each other or the configuration, no such split, or
                more workers than images.
        """
        renders, camera = Dataset.open(synthetic), Dataset.open(real)
        _require_alike(renders, camera)
        config = scaled_for(config, renders.card, camera.card)
        check_numbers(config, renders, camera, split, num_workers)
        scoring = None
        if config.validate_every:
            test = TwoSampleTest(seeds=(0,))
            scoring = HeldOutScoring.of(renders, camera, held_out, num_held_out, test)
        return cls(config, renders, camera, scoring)


def _require_alike(synthetic: Dataset, real: Dataset) -> None:
    ours, theirs = synthetic.card, real.card
    if ours.image != theirs.image or ours.domain != theirs.domain:
        raise ValueError(
            f"{synthetic.location} holds {ours.domain} images of {ours.image}, {real.location} "
            f"{theirs.domain} images of {theirs.image}; ingest both alike"
        )
