"""The landmark network as a term of the refiner's loss: landmarks stay where they are."""

from typing import Self

import torch
from torch import Tensor, nn

from factory.domains.eye.networks.landmarks import load_landmarks
from factory.networks.label_consistency import LabelConsistency
from schemas.dataset import ImageSpec


class LandmarkConsistency(LabelConsistency):
    """Mean distance by which the network sees landmarks move.

    The refined image is compared with what the network sees in the render, not with the labels, so
    that the network's own errors cost nothing.
    """

    def __init__(self, landmarks: nn.Module, sha256: str) -> None:
        """
        Args:
            landmarks: (n, C, H, W) in [-1, 1] to (n, K, 2) px; frozen here.
        """
        super().__init__(sha256)
        self.landmarks = landmarks.eval().requires_grad_(False)

    @classmethod
    def load(cls, location: str, image: ImageSpec) -> Self:
        """The output of jobs/estimator.py landmarks.

        Raises:
            FileNotFoundError: there is no landmark network.
            FormatError: it is damaged.
            ValueError: it is for other images.
        """
        network, described = load_landmarks(location)
        described.require(image)
        return cls(network, described.sha256)

    def forward(self, synthetic: Tensor, refined: Tensor) -> Tensor:
        """As `LabelConsistency.forward`."""
        with torch.no_grad():
            before: Tensor = self.landmarks(synthetic)
        apart = self.landmarks(refined) - before
        # Smooth at 0, where a distance has no gradient.
        distance: Tensor = (apart.square().sum(dim=-1) + 1e-6).sqrt()
        return distance.mean()
