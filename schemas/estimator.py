"""The description of a network that reads labels off images, which lies beside its weights."""

from typing import Any, ClassVar

from schemas.base import Sha256, Versioned
from schemas.dataset import ImageSpec


class EstimatorDescription(Versioned):
    """What is known of any estimator. Each kind adds its architecture and its errors."""

    NAME: ClassVar[str]
    """name of the kind: of its two files, and for `jobs/estimator.py`"""
    ESTIMATES: ClassVar[str]
    """what it estimates, in the singular, for messages"""

    domain: str
    """domain of the images that the network takes"""
    image: ImageSpec
    """size and depth of these images"""
    sha256: Sha256
    """digest of the safetensors file"""
    train: dict[str, Any]
    """options of its training, and the shards that it was trained on"""
    writer: str = ""
    """the program that wrote the file"""

    def require(self, image: ImageSpec) -> None:
        """Raises ValueError where the network takes images of another size or depth."""
        if self.image != image:
            raise ValueError(
                f"the {self.ESTIMATES} network is for {self.image}, the images are {image}"
            )
