"""How a validation judges samples, whatever their domain.

Apart from `factory.validation.protocols`, which a domain's face names and which loads no PyTorch.
"""

from typing import Annotated

from pydantic import Field

from factory.measures.two_sample import TwoSampleTest
from schemas.base import Model


class ValidationSettings(Model):
    """How samples are judged, whatever their domain."""

    test: TwoSampleTest = TwoSampleTest()
    """the classifier two-sample test"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the samples that calibration and realism are measured on"""
    num_calibration: Annotated[int, Field(gt=0)] = 500
    """samples that the witnesses are calibrated on; a domain may take fewer (hands: 100)"""
    num_realism: Annotated[int, Field(gt=0)] = 3000
    """images of each kind for the two-sample tests; a domain may take fewer (hands: 1000)"""
