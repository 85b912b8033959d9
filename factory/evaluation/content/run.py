"""A comparison of what renders show with what real images show."""

import logging

import cv2
import numpy as np

from factory.dataset.dataset import Dataset
from factory.domains.base import MissingHookError
from factory.domains.registry import domain_of
from factory.evaluation.comparison.renders import groups_of
from factory.evaluation.content.config import MIN_RENDERS, ContentConfig
from factory.evaluation.content.plots import content_plot
from factory.evaluation.content.ranges import content_of
from factory.evaluation.content.reading import estimates_of
from factory.evaluation.content.report import advice, summary_lines
from factory.evaluation.degradation import fit
from factory.images.png import Grey, Pixels, grey
from factory.networks.evaluation_kinds import Evaluation, Examples
from factory.store.extras import require
from factory.store.open import open_store
from factory.validation.sampling import sample_labelled, shards_of
from schemas.content import ContentReport

log = logging.getLogger(__name__)
MIN_REAL = 20
"""real images, below which their range says nothing"""
_LOOKED_AT = 200
"""images that show whether a set is equalised"""
_EQUALISED_WITHIN = 10.0
"""grey levels by which equalising an image changes it on average, where it was equalised before it
was resampled; other pictures change by several times as much"""


def compare_content(config: ContentConfig) -> ContentReport:
    """Compare, and write content.json and figures/content.svg.

    Raises:
        MissingHookError: the domain brings no content to compare.
        ValueError: the datasets do not go together, or hold too few images or identities.
        MissingExtraError: scikit-learn or matplotlib is not installed.
    """
    require("sklearn", "a comparison of content")
    require("matplotlib", "figures/content.svg")
    synthetic, real = Dataset.open(config.synthetic), Dataset.open(config.real)
    evaluation = _checked(synthetic, real)
    renders, real_images = _loaded(config, synthetic, real, evaluation)
    equalised = _both_equalised(grey(renders.images), grey(real_images))
    log.info("giving %d renders the look of %d real images", len(renders.images), len(real_images))
    look = _in_the_look(evaluation, renders.images, real_images, equalised, config.seed)
    estimates = estimates_of(renders._replace(images=look), real_images, seed=config.seed)
    contents = content_of(evaluation.content, renders.values_ND, estimates)
    report = ContentReport.model_validate(
        {
            "domain": synthetic.card.domain,
            "synthetic": synthetic.location,
            "real": real.location,
            "split": config.split,
            "seed": config.seed,
            "num_renders": len(renders.images),
            "num_real": len(real_images),
            "num_identities": len(np.unique(renders.groups)),
            "equalised": equalised,
            "labels": contents,
            **advice(evaluation.content, contents, renders.values_ND),
        }
    )
    store = open_store(config.output)
    store.put("content.json", report.to_json())
    store.put("figures/content.svg", content_plot(contents, renders.values_ND, estimates))
    for line in summary_lines(report):
        log.info("%s", line)
    log.info("report: %s/content.json, figure: figures/content.svg", store.location)
    return report


def _checked(synthetic: Dataset, real: Dataset) -> Evaluation:
    """What the domain brings, once the datasets are seen to go together."""
    domain = domain_of(synthetic)
    evaluation = domain.evaluation()
    if not evaluation.content:
        raise MissingHookError(
            f"the domain {domain.name} brings no content by which renders and real images could "
            "be compared"
        )
    if real.card.domain != domain.name:
        raise ValueError(
            f"{synthetic.location} holds images of {domain.name}, {real.location} of "
            f"{real.card.domain}"
        )
    if not synthetic.card.labelled:
        raise ValueError(
            f"{synthetic.location} has no labels; content is read off labelled renders"
        )
    for dataset in (synthetic, real):
        image = dataset.card.image
        if (image.channels, image.bits) != (1, 8):
            raise ValueError(
                f"content is read off grey images of 8 bits; {dataset.location} has "
                f"{image.channels} channels and {image.bits} bits"
            )
    sizes = [(d.card.image.height, d.card.image.width) for d in (synthetic, real)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"renders and real images must have one size: {synthetic.location} has {sizes[0]} px "
            f"(height, width), {real.location} {sizes[1]}"
        )
    return evaluation


def _loaded(
    config: ContentConfig, synthetic: Dataset, real: Dataset, evaluation: Evaluation
) -> tuple[Examples, Pixels]:
    """Renders with their content, and real images."""
    shards, real_shards = (shards_of(dataset, config.split) for dataset in (synthetic, real))
    log.info("reading at most %d images of each dataset", config.max_images)
    index, images = sample_labelled(synthetic, shards, config.max_images, config.seed)
    _, real_images = sample_labelled(real, real_shards, config.max_images, config.seed)
    for dataset, num, needed in (
        (synthetic, len(images), MIN_RENDERS),
        (real, len(real_images), MIN_REAL),
    ):
        if num < needed:
            raise ValueError(
                f"{dataset.location} has {num} images to compare, at least {needed} needed"
            )
    values_NL = np.stack([label.read(index) for label in evaluation.content], axis=1)
    return Examples(images, values_NL, groups_of(index)), real_images


def _both_equalised(renders: Grey, real: Grey) -> bool:
    """Whether the histograms of both sets are equalised; they have to be treated alike."""
    sets = {"renders": renders, "real images": real}
    change = {name: _change_by_equalising(images) for name, images in sets.items()}
    equalised = [name for name in sets if change[name] < _EQUALISED_WITHIN]
    if len(equalised) == 1:
        (other,) = change.keys() - set(equalised)
        raise ValueError(
            f"the histograms of the {equalised[0]} are equalised, those of the {other} are not: "
            "ingest both with --crop.equalise, or both without"
        )
    return bool(equalised)


def _change_by_equalising(images: Grey) -> float:
    """Grey levels by which equalising images changes them: the median of the mean changes."""
    some = images[:_LOOKED_AT]
    changed = (np.abs(cv2.equalizeHist(one).astype(int) - one).mean() for one in some)
    return float(np.median(list(changed)))


def _in_the_look(
    evaluation: Evaluation, renders: Pixels, real: Pixels, equalised: bool, seed: int
) -> Pixels:
    """Renders in the look of real images, as an evaluation's arm of matched degradation has
    them."""
    if evaluation.degradation is not None:
        return evaluation.degradation(renders, real)(renders, seed)
    degradation = fit(grey(renders), grey(real), equalise=equalised, seed=seed)
    log.info("blur %.2f px, noise %.1f grey levels", degradation.blur_px, degradation.noise_sd)
    return degradation.apply(grey(renders), seed)
