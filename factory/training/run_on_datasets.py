"""A training on the images of two datasets, with their lineage."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.dataset.dataset import Dataset
from factory.dataset.loading import load_images, load_index, rows_of_part
from factory.domains.eye.gaze_matching import LabelTarget
from factory.measures.density_ratio import match_labels
from factory.training.history import History
from factory.training.record import scaled_for
from factory.training.run import (
    TrainConfig,
    train,
)
from factory.training.scores import Scorer
from factory.training.workers import Peers

log = logging.getLogger(__name__)


def train_on_datasets(
    config: TrainConfig,
    synthetic: str,
    real: str,
    output: str,
    *,
    split: str,
    device: str,
    peers: Peers | None = None,
    history: History | None = None,
    scorer: Scorer | None = None,
) -> None:
    """`train` in this process, on this worker's part of a split of two datasets."""
    pair = {"synthetic": Dataset.open(synthetic), "real": Dataset.open(real)}
    config = scaled_for(config, *(data.card for data in pair.values()))
    peers = peers if peers is not None else Peers()
    part = peers.rank, peers.size
    images = [load_images(data, data.committed_in(split), part) for data in pair.values()]
    lineage = {name: lineage_of(data, split) for name, data in pair.items()}
    weights = None
    if config.target_labels is not None:
        target = LabelTarget.load(config.target_labels, head=config.match_head)
        lineage["synthetic"]["target_labels"] = target.digest()
        weights = _matching_weights(pair["synthetic"], split, part, target)
    train(
        config,
        images[0],
        images[1],
        output,
        history,
        lineage=lineage,
        domain=pair["synthetic"].card.domain,
        peers=peers,
        device=device,
        scorer=scorer,
        weights=weights,
    )


def _matching_weights(
    synthetic: Dataset, split: str, part: tuple[int, int], target: LabelTarget
) -> NDArray[np.float64]:
    """For this worker's part: each part is matched by itself."""
    index = load_index(synthetic, list(target.columns), synthetic.committed_in(split))
    rows = rows_of_part(len(index), part)
    matching = match_labels(target.of(index)[rows], target.angles_rad)
    log.info("renders drawn by their labels: %s", matching)
    return matching.weights


def lineage_of(dataset: Dataset, split: str) -> dict[str, Any]:
    """What a refiner was trained on, by content."""
    return {
        "location": dataset.location,
        "card": dataset.card.digest(),
        "split": split,
        "shards": [f.tar_sha256 for f in dataset.all_facts(dataset.committed_in(split))],
    }
