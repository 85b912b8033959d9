"""One run of refine: the shards of a parent dataset that its refined child lacks.

How shards are made is an argument: on a cluster, or one after the other in a debugger.
"""

import logging
from pathlib import Path
from typing import get_args

from factory.dataset.children import register_child
from factory.dataset.dataset import Dataset, DatasetPlace, location_of, require_same_card
from factory.dataset.lost_tars import lost_tars
from factory.dataset.session import BeginSession, here
from factory.dataset.tar import DamagedShardError
from factory.refinement.card import precision_for, refined_card
from factory.refinement.shards import missing_shards
from factory.store.lease import alone
from factory.store.open import absolute, name_of, open_store
from schemas.refiner import Device, EngineChoice, PrecisionChoice

log = logging.getLogger(__name__)


def refine(
    input: DatasetPlace,
    *,
    refiner: str | Path,
    output: str | Path,
    engine: EngineChoice = "auto",
    precision: PrecisionChoice = "auto",
    batch_size: int | None = None,
    device: Device = "cpu",
    noise_seed: int | None = None,
    overlap: bool = False,
    on: BeginSession = here,
) -> Dataset:
    """Refine a synthetic dataset into a realistic one with the same labels.

    Shard i of the output is made from shard i of the input, and only shards that the output lacks
    are made. So the same call again resumes, or refines what was added to the input since.

        refined = refine("data/eyes", refiner="out/refiner", output="data/refined")

    Args:
        input: the synthetic dataset, or where it is.
        refiner: a finished training run, or one refiner.safetensors; a path, or s3://bucket/prefix.
        output: the refined dataset to make or to add to: a folder, or s3://bucket/prefix.
        engine: what runs the network.
        precision: of the network's arithmetic, the same for all of the output. `auto`: that of what
            the output holds; a new one is made in bfloat16 where the hardware has it and images are
            of 8 bits, else in float32.
        batch_size: images refined at once, which changes only rounding; None for what suits the
            engine.
        device: `cpu`, one core at a time in each process, or `cuda`.
        noise_seed: for a refiner with noise: another seed gives another refined image of each
            render, in an output of its own; None for 0.
        overlap: run although another run is working on this output. Otherwise nothing is done then,
            as the log says.
        on: begins the session in which shards are made.

    Returns:
        The refined dataset.

    Raises:
        FileNotFoundError: there is no such dataset, or no finished refiner.
        ValueError: the refiner is not for these images, or an argument is none that there is.
        CardMismatchError: the child was made with another configuration.
        DamagedShardError: committed shards of the child have lost their tars; all else was done.
        OldFormatError: the child is of an earlier format.
        ShardsFailedError: some shards could not be made; all others were.
        StaleShardsError: shards of the child were refined from parent shards that changed.
    """
    for name, value, choices in (("engine", engine, EngineChoice), ("device", device, Device)):
        if value not in get_args(choices):
            raise ValueError(f"{name} {value!r}: expected one of {', '.join(get_args(choices))}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be positive, is {batch_size}")
    parent, output = Dataset.open(location_of(input)), str(output)
    refiner = absolute(refiner)
    held_to = precision_for(refiner, output, precision, engine=engine, device=device)
    card = refined_card(parent, refiner, name_of(output), noise_seed=noise_seed, precision=held_to)
    require_same_card(output, card)
    with (
        on(use_gpu=device == "cuda") as session,
        alone("refine", output, overlap=overlap) as may_go_on,
    ):
        if not may_go_on:
            return Dataset(open_store(output), card)
        child = Dataset.enter(output, card)
        register_child(parent, child)
        missing = missing_shards(parent, child)
        if missing:
            # Both import PyTorch.
            from factory.measures.threads import threads_kept
            from factory.refinement.stages import refine_stages

            num_samples = sum(facts.num_samples for facts in parent.all_facts(missing))
            log.info("%d images in %d shards to refine", num_samples, len(missing))
            stages = refine_stages(
                parent, child, refiner, engine=engine, batch_size=batch_size, device=device
            )
            with threads_kept():  # stages that run in this process take one thread
                session.make_shards("refine", stages, missing, num_samples)
        lost = lost_tars(child)
        if lost:
            raise DamagedShardError("everything else is done, but:\n  " + "\n  ".join(lost))
        log.info(
            "%s: %s%d shards, the parent has %d",
            child.location,
            "" if missing else "nothing to do: ",
            len(child.committed()),
            len(parent.committed()),
        )
    return child
