"""A network in the place of Inception, whose weights have to be downloaded."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.measures.looks.inception import features_of, import_torchvision

import_torchvision()

from torch_fidelity import FeatureExtractorBase, register_feature_extractor  # noqa: E402
from torch_fidelity.utils import create_feature_extractor  # noqa: E402

NAME = "eight-numbers"


class EightNumbers(FeatureExtractorBase):
    """The mean grey of each of 2x4 fields of an image, on [0, 1]."""

    def __init__(self, name: str, layers: list[str], **_more: object) -> None:
        super().__init__(name, layers)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        fields = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, (2, 4))
        return (fields.mean(dim=1).flatten(1),)

    @staticmethod
    def get_provided_features_list() -> tuple[str]:
        return ("8",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "8"

    @staticmethod
    def can_be_compiled() -> bool:
        return False


register_feature_extractor(NAME, EightNumbers)


class SmallNetwork:
    """What `Inception` does, by `EightNumbers`."""

    sha256 = "e" * 64

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        extractor = create_feature_extractor(NAME, ["8"], cuda=False, verbose=False)
        return features_of(extractor, images)
