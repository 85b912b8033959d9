"""The card of a refined dataset: what made it, and in which precision."""

import logging
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from factory.dataset.dataset import Dataset
from factory.dataset.kinds import kind_named
from factory.networks.stored_refiner import read_refiner
from schemas.base import FormatError, digest_of
from schemas.dataset import DatasetCard, ParentRef, RefinerRef
from schemas.options import OptionError
from schemas.refiner import Precision, PrecisionChoice

log = logging.getLogger(__name__)


def refined_card(
    parent: Dataset,
    refiner: str | Path,
    name: str,
    *,
    noise_seed: int | None = None,
    precision: Precision = "float32",
) -> DatasetCard:
    """The card of the dataset that a refiner makes of a parent.

    Args:
        refiner: what `read_refiner` takes.
        noise_seed: see `PixelCodec`; None for 0.
        precision: in which the refiner computes.

    Raises:
        OptionError: a seed is given and the refiner takes no noise, or the precision keeps less
            than its images hold.
        ValueError: the refiner was trained on other images than the parent's, or the parent is not
            a labelled synthetic dataset.
    """
    described = read_refiner(refiner).description
    card = parent.card
    has_noise = described.architecture.noise_channels > 0
    if noise_seed is not None and not has_noise:
        raise OptionError(
            f"{refiner} has no noise, so a noise seed changes nothing; leave out --noise-seed"
        )
    if precision == "bfloat16" and described.image.bits > 8:
        raise OptionError(
            f"--precision bfloat16 keeps 8 bits of a pixel, and {refiner} refines images of "
            f"{described.image.bits}"
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
    if precision != "float32":  # absent in cards of earlier versions, which all mean float32
        config["precision"] = precision
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


def precision_of(card: DatasetCard) -> Precision:
    """In which the refiner of a dataset computes."""
    precision = card.config.get("precision", "float32")
    if precision == "float32":
        return "float32"
    if precision == "bfloat16":
        return "bfloat16"
    raise FormatError(f"{card.name}: this version knows no precision {precision!r}")


def precision_for(
    refiner: str | Path,
    output: str,
    choice: PrecisionChoice = "auto",
    *,
    engine: str = "auto",
    device: str = "cpu",
) -> Precision:
    """The precision in which a run refines into an output.

    `auto` is what the output was begun with. A new output is begun in bfloat16 where this machine
    has hardware for it and images are of 8 bits, and an engine agrees with float32 as closely as
    `engines.parity` asks; else in float32, and with the engine ncnn, which is close to PyTorch's
    float32 only so.

    Args:
        refiner: what `read_refiner` takes.
        engine, device: as in `choose_engine`.

    Raises:
        FormatError: the output's card is of a later version.
    """
    if choice != "auto":
        return choice
    with suppress(FileNotFoundError):
        return precision_of(Dataset.open(output).card)
    # Imported here, as a run that goes on with an output may find nothing to refine.
    import torch

    from factory.networks.precision import resolved
    from factory.refinement.engines.base import EngineUnavailableError
    from factory.refinement.engines.choose import make_engine

    bits = read_refiner(refiner).description.image.bits
    if device == "cuda" and not torch.cuda.is_available():
        # Workers elsewhere have the GPUs, and refuse it where theirs has none.
        return "bfloat16" if bits <= 8 else "float32"
    if engine == "ncnn" or resolved(choice, device, bits=bits) == "float32":
        return "float32"
    try:
        make_engine(refiner, name=engine, precision="bfloat16", device=device)
    except EngineUnavailableError as error:
        log.warning("refining in float32: %s", error)
        return "float32"
    return "bfloat16"
