"""Refine: shard i of a synthetic dataset becomes shard i of its child.

The child has the same keys, the same labels and new pixels. The work left is every shard that the
parent has committed and the child has not, so resuming, running on a schedule, running twice and
two runs at once are all the same operation.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from pydantic import JsonValue

from factory.dataset.dataset import Dataset
from factory.dataset.kinds import kind_named
from factory.dataset.lineage import StaleShardsError, stale_shards
from factory.dataset.shard_tasks import Stage
from factory.networks.refiner_files import load_refiner
from factory.refinement.engines.base import RefinerEngine
from factory.refinement.engines.choose import make_engine
from factory.refinement.shards import ShardCommitter, ShardPixels, ShardReader
from schemas.base import digest_of
from schemas.dataset import DatasetCard, ParentRef, RefinerRef


def refined_card(
    parent: Dataset, refiner: str | Path, name: str, *, noise_seed: int | None = None
) -> DatasetCard:
    """The card of the dataset that a refiner makes of a parent.

    Args:
        refiner: what `load_refiner` takes.
        noise_seed: see `PixelCodec`; None for 0.

    Raises:
        ValueError: the refiner was trained on other images than the parent's, the parent is not a
            labelled synthetic dataset, or a seed is given and the refiner takes no noise.
    """
    _, described = load_refiner(refiner)
    card = parent.card
    has_noise = described.architecture.noise_channels > 0
    if noise_seed is not None and not has_noise:
        raise ValueError(
            f"{refiner} has no noise, so a noise seed changes nothing; leave out --noise-seed"
        )
    if card.kind != "synthetic" or not card.labelled:
        raise ValueError(f"{parent.location} is a {card.kind} dataset; refine reads synthetic ones")
    if described.domain != card.domain or described.image != card.image:
        raise ValueError(
            f"{refiner} refines {described.domain} images of {described.image}, "
            f"{parent.location} holds {card.domain} images of {card.image}"
        )
    full_scale = kind_named(card.domain).full_scale(card)
    if described.full_scale != full_scale:
        raise ValueError(
            f"{refiner} was trained with a full_scale of {described.full_scale:g}, the pixels of "
            f"{parent.location} go up to {full_scale:g}: train on datasets of the same cube"
        )
    config: dict[str, JsonValue] = {"refiner": described.sha256, "parent": card.config_digest}
    if has_noise:
        config["noise_seed"] = noise_seed or 0
    return DatasetCard(
        name=name,
        kind="refined",
        domain=card.domain,
        labelled=True,
        image=card.image,
        shard_size=card.shard_size,
        splits=card.splits,
        parent=ParentRef(location=parent.location, card=card.digest()),
        refiner=RefinerRef(
            sha256=described.sha256, config=digest_of(described.model_dump(mode="json"))
        ),
        config=config,
        config_digest=digest_of(config),
    )


def missing_shards(parent: Dataset, child: Dataset) -> list[int]:
    """Numbers of the shards that the parent has and the child lacks, in order.

    Raises:
        StaleShardsError: the child has shards whose parent shard has changed since, or is gone.
    """
    stale = stale_shards(parent, child)
    if stale:
        raise StaleShardsError(
            f"{child.location}: shards {stale[:10]} were refined from versions of their parent "
            f"shards that {parent.location} no longer holds; refine into a new output, or withdraw "
            "them with jobs/describe.py --repair --withdraw-stale --apply"
        )
    return sorted(set(parent.committed()) - set(child.committed()))


@dataclass
class PixelRefiner:
    """Refines the images of one shard at a time."""

    engine: RefinerEngine

    def __call__(self, pixels: ShardPixels) -> ShardPixels:
        return replace(pixels, images=self.engine(pixels.images), engine=self.engine.name)


def refine_stages(
    parent: Dataset,
    child: Dataset,
    refiner: str | Path,
    *,
    engine: str = "auto",
    batch_size: int | None = None,
    device: str = "cpu",
) -> tuple[Stage, ...]:
    """The three stages of refining, each for workers of its own.

    They read and decode a shard, refine its images, and encode and commit the child's shard.

    Args:
        refiner: what `load_refiner` takes.
        engine, batch_size, device: as in `choose_engine`, by the names there.
    """
    make = partial(_make_pixel_refiner, child, refiner, engine, batch_size, device)
    return (
        Stage("read", partial(ShardReader, parent), holds_core=False),
        Stage("refine", make, ShardPixels),
        Stage("commit", partial(ShardCommitter, parent, child), ShardPixels, holds_core=False),
    )


def _make_pixel_refiner(
    child: Dataset, refiner: str | Path, engine: str, batch_size: int | None, device: str
) -> PixelRefiner:
    if device == "cpu":  # a worker with one thread on each core is faster than one with many
        torch.set_num_threads(1)
    _, described = load_refiner(refiner)
    assert child.card.refiner is not None
    if described.sha256 != child.card.refiner.sha256:
        raise ValueError(
            f"{refiner} changed while the job ran: it is {described.sha256[:12]}… now, and the "
            f"dataset is made with {child.card.refiner.sha256[:12]}…; put that refiner back"
        )
    noise_seed = child.card.config.get("noise_seed", 0)
    assert isinstance(noise_seed, int), noise_seed
    return PixelRefiner(
        make_engine(
            refiner, name=engine, batch_size=batch_size, device=device, noise_seed=noise_seed
        )
    )
