"""The network behind the FID and KID of papers: Inception of 2015-12-05, as torch-fidelity has it.

Its weights are a file that the user downloads; nothing here does. They are a pickle, which
torch-fidelity would read with all code that such a file may hold. So the file is read here, where
nothing but tensors is let in, and torch-fidelity is given a copy that was made of these.
"""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from factory.dataset.tar import sha256
from factory.images.png import Grey
from factory.store.extras import require
from schemas.base import FormatError

if TYPE_CHECKING:
    from torch_fidelity import FeatureExtractorBase

WEIGHTS_NAME = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_NAME}"
SHA256_START = "6726825d"
"""of the file, as its name says; pytorch-fid has the same file as
pt_inception-2015-12-05-6726825d.pth"""
LAYER = "2048"
"""the features that FID and KID are defined on: of the last pooling layer"""
BATCH_SIZE = 16
"""images that the network sees at once; the features do not depend on it"""
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Inception:
    """The network. It can be sent to workers, each of which makes it of the weights."""

    weights: bytes
    """a state dict as torch.save writes it, made of tensors alone"""
    sha256: str
    """of the file"""

    @classmethod
    def read(cls, path: Path, sha256_start: str = SHA256_START) -> "Inception":
        """The network with the weights of a file.

        Args:
            sha256_start: what the hexadecimal digest of the file begins with.

        Raises:
            MissingExtraError: torch-fidelity is not installed.
            FileNotFoundError: there is no file; the message says where to download it.
            FormatError: it is another file, or of another network.
            pickle.UnpicklingError: it holds more than tensors. Nothing of it was run.
        """
        require("torch_fidelity", "--inception")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file. FID and KID need the weights of Inception, which this "
                f"program does not download: get {WEIGHTS_URL}, whose sha256 begins with "
                f"{sha256_start}, and name it with --inception"
            )
        content = path.read_bytes()
        digest = sha256(content)
        if not digest.startswith(sha256_start):
            raise FormatError(
                f"{path}: its sha256 is {digest} and should begin with {sha256_start}; this is not "
                f"{WEIGHTS_URL}, or it is damaged"
            )
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        copy = io.BytesIO()
        torch.save(state, copy)
        inception = cls(copy.getvalue(), digest)
        try:
            inception.extractor()
        except (RuntimeError, TypeError) as error:
            raise FormatError(f"{path}: not the weights of this network ({error})") from error
        return inception

    def extractor(self) -> "FeatureExtractorBase":
        """torch-fidelity's own network, on the CPU."""
        import_torchvision()
        from torch_fidelity.utils import create_feature_extractor

        return create_feature_extractor(
            "inception-v3-compat",
            [LAYER],
            cuda=False,
            verbose=False,
            feature_extractor_weights_path=io.BytesIO(self.weights),
        )

    def __call__(self, images: Grey) -> Features:
        """As `features_of`, (N, 2048)."""
        return features_of(self.extractor(), images)


def features_of(extractor: "FeatureExtractorBase", images: Grey) -> Features:
    """What a network of torch-fidelity that gives one layer says of images.

    Args:
        images: (N, H, W) uint8, which it is shown as three equal channels, or (N, H, W, 3), RGB.

    Returns:
        (N, D) float32.
    """
    from torch_fidelity.utils import get_featuresdict_from_dataset

    # Without save_cpu_ram it starts four processes to fetch images that are in memory already.
    by_layer = get_featuresdict_from_dataset(
        _Images(images), extractor, BATCH_SIZE, cuda=False, save_cpu_ram=True, verbose=False
    )
    (features,) = by_layer.values()
    values: Features = features.numpy()
    return values


class _Images(Dataset[Tensor]):
    """Images as torch-fidelity takes them: (3, H, W) uint8."""

    def __init__(self, images: Grey) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        image = torch.from_numpy(np.ascontiguousarray(self.images[row]))
        return image.expand(3, -1, -1) if image.ndim == 2 else image.permute(2, 0, 1)


@cache
def import_torchvision() -> torch.library.Library | None:
    """Import torchvision, which torch-fidelity imports, whichever build of it is installed.

    PyPI's build is for CUDA. Beside PyTorch's build for CPUs its operators cannot be loaded, and
    its import then fails as it describes two of them (github.com/pytorch/vision/issues/9085).
    torch-fidelity calls none, so it is enough to declare these two.

    Returns:
        the declarations, which last as long as this object; None where none were needed.

    Raises:
        RuntimeError: the import fails for another reason.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    else:
        del torchvision
        return None
    declared = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        declared.define(schema)  # type: ignore[no-untyped-call]
    import torchvision

    return declared
