"""What a training learns from: images, what they are, and what their domain adds to the losses."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from factory.networks.label_consistency import LabelConsistency
from factory.training.config import TrainConfig
from factory.training.workers import WorkerGroup
from schemas.options import value_of

# What reads datasets is imported by what reads them: whoever has images of their own trains without
# PyArrow and SciPy.
if TYPE_CHECKING:
    from factory.dataset.dataset import Dataset
    from factory.images.png import Pixels
    from factory.measures.density_ratio import LabelTarget

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingInputs:
    """The images of one worker, and what comes with them."""

    synthetic: np.ndarray
    """(n, H, W) or (n, C, H, W) uint8, or uint16 with a `TrainConfig.full_scale`"""
    real: np.ndarray
    """(m, H, W) or (m, C, H, W), of the same type and image size"""
    domain: str
    """the name of the images' domain, kept in train.json and refiner.json"""
    lineage: Mapping[str, JsonValue] | None = None
    """where the images come from, by `synthetic` and `real`, kept in refiner.json. A run resumes
    only with the same lineage; without one, only with the same pixels"""
    weights: NDArray[np.float64] | None = None
    """(n,) how often each synthetic image is drawn, on any scale; None for all alike. The lineage
    has to say what they come from"""
    consistency: LabelConsistency | None = None
    """what holds labels in place, for a configuration with a `label_weight`"""

    @classmethod
    def of_datasets(
        cls,
        config: TrainConfig,
        synthetic: "Dataset",
        real: "Dataset",
        split: str,
        workers: WorkerGroup,
    ) -> Self:
        """A worker's part of a split of two datasets.

        Raises:
            ValueError: no such split, or labels that cannot be matched.
            MissingHookError: the domain lacks what the configuration asks for.
            FileNotFoundError: there is no network where the configuration says.
        """
        from factory.dataset.loading import load_images
        from factory.domains.registry import domain_of

        domain = domain_of(synthetic)
        part = workers.rank, workers.size
        images = [
            _in_planes(load_images(data, data.committed_in(split), part))
            for data in (synthetic, real)
        ]
        lineage = {"synthetic": lineage_of(synthetic, split), "real": lineage_of(real, split)}
        weights = None
        if config.target_labels is not None:
            target = domain.label_target(config.target_labels, head=config.match_head)
            lineage["synthetic"]["target_labels"] = target.digest()
            weights = _matching_weights(synthetic, split, part, target)
        consistency = None
        if config.label_network is not None and config.label_weight > 0:
            consistency = domain.label_consistency(config.label_network, synthetic.card.image)
        return cls(images[0], images[1], domain.name, lineage, weights, consistency)

    def images(self) -> dict[str, np.ndarray]:
        """Both sets of images, by the names that the lineage has for them."""
        return {"synthetic": self.synthetic, "real": self.real}


def _in_planes(images: "Pixels") -> "Pixels":
    """(n, H, W) images as they are, and (n, H, W, C) ones as (n, C, H, W), without a copy."""
    from factory.refinement.engines.base import to_planes

    return to_planes(images) if images.ndim == 4 else images


def check_files(config: TrainConfig, synthetic: "Dataset") -> None:
    """Read what the configuration names besides datasets, so that it is not refused when workers
    have started.

    Raises:
        OptionError: the target of the labels or the network for them cannot be used.
    """
    from factory.domains.registry import domain_of

    domain = domain_of(synthetic)
    if config.target_labels is not None:
        with value_of(f"--target-labels {config.target_labels}"):
            domain.label_target(config.target_labels, head=config.match_head)
    if config.label_network is not None and config.label_weight > 0:
        with value_of(f"--label-network {config.label_network}"):
            domain.label_consistency(config.label_network, synthetic.card.image)


def check_numbers(
    config: TrainConfig, synthetic: "Dataset", real: "Dataset", split: str, num_workers: int
) -> None:
    """Refuse sets that leave a worker without images, and warn of sets that teach little.

    Few images are not refused: a trial of the whole chain is well made with them.

    Raises:
        ValueError: no such split, or fewer images in it than workers.
    """
    for name, dataset in (("render", synthetic), ("real image", real)):
        facts = dataset.all_facts(dataset.committed_in(split))
        num = sum(one.num_samples for one in facts)
        if num < num_workers:
            raise ValueError(
                f"{dataset.location} has {num} {name}s in the split {split} for {num_workers} "
                "workers, each of which trains on images of its own"
            )
        if num < config.batch_size // 2:
            log.warning(
                "%s has only %d %s%s in the split %s, fewer than half a batch of %d: the "
                "discriminator can learn them by heart, and the refiner then learns little that "
                "holds for others. Ingest more, or take this training for a trial",
                dataset.location,
                num,
                name,
                "" if num == 1 else "s",
                split,
                config.batch_size,
            )


def lineage_of(dataset: "Dataset", split: str) -> dict[str, Any]:
    """What a network was trained on, by content."""
    return {
        "location": dataset.location,
        "card": dataset.card.digest(),
        "split": split,
        "shards": [f.tar_sha256 for f in dataset.all_facts(dataset.committed_in(split))],
    }


def _matching_weights(
    synthetic: "Dataset", split: str, part: tuple[int, int], target: "LabelTarget"
) -> NDArray[np.float64]:
    """(n,) for this worker's part: each part is matched by itself."""
    from factory.dataset.loading import load_index, rows_of_part
    from factory.measures.density_ratio import match_labels

    index = load_index(synthetic, list(target.columns), synthetic.committed_in(split))
    rows = rows_of_part(len(index), part)
    matching = match_labels(target.of(index)[rows], target.labels)
    log.info("renders drawn by their labels: %s", matching)
    return matching.weights
