"""A term of the refiner's loss by which a trained network holds labels in place."""

from abc import abstractmethod

from torch import Tensor, nn


class LabelConsistency(nn.Module):
    """How far a frozen network sees labels move between a render and its refined image, after the
    semantic consistency of Hoffman et al. 2018 (arXiv:1711.03213). A domain brings one with
    `Domain.label_consistency`; its parameters are not trained."""

    def __init__(self, sha256: str) -> None:
        """
        Args:
            sha256: of the network's weights, which the record of a run keeps.
        """
        super().__init__()
        self.sha256 = sha256

    @abstractmethod
    def forward(self, synthetic: Tensor, refined: Tensor) -> Tensor:
        """The mean displacement in px, differentiable by the refined images.

        Args:
            synthetic: (n, C, H, W) in [-1, 1].
            refined: (n, C, H, W) in [-1, 1], of the same images in the same order.

        Returns:
            A scalar.
        """
