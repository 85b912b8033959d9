"""What R's loss adds to the realism of its images: equation (4)'s self-regularisation, and terms of
later work, which are off by default."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from factory.networks.label_consistency import LabelConsistency
from factory.networks.refiner import Refiner
from factory.training.config import PsiName, TrainConfig
from factory.training.draws import Draws
from factory.training.losses import (
    common_shift,
    diversity,
    kept_pixels,
    self_regularisation,
)
from factory.training.patch_nce import PatchNCE
from factory.training.sequences import sequence_loss, small_motions

Refine = Callable[[Tensor, Tensor | None], Tensor]
"""renders and noise to refined images"""


class Batch(NamedTuple):
    """One update's images (n, C, H, W) in [-1, 1]."""

    synthetic: Tensor
    noise: Tensor | None
    """(n, k) for a refiner with noise"""
    refined: Tensor
    """attached to R"""


class Term(NamedTuple):
    """One summand of the loss."""

    name: str
    weight: float
    """negative for what is to grow"""
    value: Tensor


class RefinerTerms:
    """The terms of one configuration."""

    def __init__(
        self,
        config: TrainConfig,
        refiner: Refiner,
        refine: Refine,
        draws: Draws,
        consistency: LabelConsistency | None,
    ) -> None:
        """
        Args:
            refine: the refiner's forward pass.
            consistency: for a configuration with a `label_weight`; frozen here.

        Raises:
            ValueError: it is missing.
        """
        self.config, self.refiner, self.refine, self.draws = config, refiner, refine, draws
        self.consistency: LabelConsistency | None = None
        if config.label_weight > 0:
            if consistency is None:
                raise ValueError(
                    f"label_weight = {config.label_weight} without a network that holds labels"
                )
            self.consistency = consistency.to(draws.device).eval().requires_grad_(False)
        self.patch_nce: PatchNCE | None = None
        self.psi: PsiName = "identity"
        """the fixed transform; with PatchNCE, that of the pre-training"""
        if config.psi != "patch_nce":
            self.psi = config.psi
        else:
            self.patch_nce = PatchNCE(refiner, seed=config.seed + 2).to(draws.device)

    def pretraining(self, batch: Batch) -> list[Term]:
        """Before R meets D: the self-regularisation alone."""
        value = self_regularisation(batch.refined, batch.synthetic, self.psi)
        return [Term("regularisation_loss", 1.0, value)]

    def __call__(self, batch: Batch) -> list[Term]:
        """All terms of the adversarial phase but the realism."""
        config = self.config
        terms = [Term("regularisation_loss", config.lambda_reg, self._regularisation(batch))]
        if self.consistency is not None:
            shift_px: Tensor = self.consistency(batch.synthetic, batch.refined)
            terms.append(Term("label_shift_px", config.label_weight, shift_px))
        if config.shift_weight > 0:
            terms.append(Term("common_shift_px2", config.shift_weight, self._common_shift(batch)))
        if config.sequence_weight > 0:
            value = self._sequence(batch)
            terms.append(Term("sequence_loss", config.sequence_weight, value))
        if config.diversity_weight > 0:
            terms.append(Term("diversity", -config.diversity_weight, self._diversity(batch)))
        return terms

    def _regularisation(self, batch: Batch) -> Tensor:
        if self.patch_nce is not None:
            of_refined = self.refiner.layers(batch.refined, batch.noise)
            with torch.no_grad():
                of_synthetic = self.refiner.layers(batch.synthetic, batch.noise)
            value: Tensor = self.patch_nce(of_refined, of_synthetic, self.draws.generator())
            return value
        return self_regularisation(batch.refined, batch.synthetic, self.psi)

    def _common_shift(self, batch: Batch) -> Tensor:
        config = self.config
        if config.empty_below == 0:
            return common_shift(batch.refined, batch.synthetic)
        kept = partial(
            kept_pixels,
            synthetic=batch.synthetic,
            full_scale=self.draws.full_scale,
            empty_below=config.empty_below,
            empty_beyond=config.empty_beyond,
        )
        return common_shift(kept(batch.refined), kept(batch.synthetic))

    def _sequence(self, batch: Batch) -> Tensor:
        n, _, height, width = batch.synthetic.shape
        frames = self.config.sequence_frames
        motions = small_motions(self.draws.generator(), n, frames, height, width)
        return sequence_loss(
            lambda frame: self.refine(frame, batch.noise), batch.synthetic, batch.refined, motions
        )

    def _diversity(self, batch: Batch) -> Tensor:
        assert batch.noise is not None
        noise = self.draws.normal(*batch.noise.shape)
        other = self.refine(batch.synthetic, noise)
        apart = batch.noise - noise
        return diversity(batch.refined, other, apart, self.config.diversity_limit)
