"""ncnn on one CPU core: Winograd convolutions, in float32 or with activations stored as bfloat16.

The graph is written from the weights in memory when the engine is made. A converted copy beside
the checkpoint would have to be kept in step with it, older checkpoints would have none, and a
converter adds TorchScript and a binary of 88 MB to the installation; for a network of five kinds
of layer, what pnnx writes is this same graph, and refines to the same bits.
"""

import tempfile
from pathlib import Path

import ncnn
import numpy as np
import torch
from torch import nn

from factory.networks.refiner import Refiner, ResNetBlock
from factory.refinement.engines.base import (
    EIGHT_BIT,
    EngineUnavailableError,
    OneByOneEngine,
    PixelCodec,
    Values,
    engine_name,
)
from schemas.refiner import Precision

_MAGIC = "7767517"
_FLOAT32 = np.zeros(1, np.uint32).tobytes()
"""ncnn's tag before weights that are stored uncompressed"""
_REFLECT = 2
"""the type of ncnn's Padding layer that reflects the image at its border"""


class _Graph:
    """Collects the layers of an ncnn network: the graph as text, and the weights in its order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.weights: list[bytes] = []
        self.num_blobs = 0

    def add(self, kind: str, inputs: list[str], outputs: list[str], parameters: str = "") -> None:
        name = f"{kind}_{len(self.lines)}"
        words = [kind, name, str(len(inputs)), str(len(outputs)), *inputs, *outputs, parameters]
        self.lines.append(" ".join(words).rstrip())
        self.num_blobs += len(outputs)

    def convolution(self, conv: nn.Conv2d, source: str, result: str, *, relu: bool) -> None:
        side, border = conv.kernel_size[0], conv.kernel_size[0] // 2
        if border and conv.padding_mode == "reflect":
            sides = " ".join(f"{side_id}={border}" for side_id in range(4))
            self.add("Padding", [source], [f"{result}_padded"], f"{sides} 4={_REFLECT}")
            source, border = f"{result}_padded", 0
        elif conv.padding_mode not in ("zeros", "reflect"):
            raise EngineUnavailableError(f"ncnn has no padding of mode {conv.padding_mode!r}")
        self.add(
            "Convolution",
            [source],
            [result],
            f"0={conv.out_channels} 1={side} 4={border} 5=1 6={conv.weight.numel()} 9={int(relu)}",
        )
        assert conv.bias is not None
        self.weights += [_FLOAT32, _raw(conv.weight), _raw(conv.bias)]

    def text(self) -> str:
        return "\n".join([_MAGIC, f"{len(self.lines)} {self.num_blobs}", *self.lines, ""])


def _raw(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().float().contiguous().numpy().tobytes()


def ncnn_graph(refiner: Refiner) -> tuple[str, bytes]:
    """A refiner as ncnn's graph in text, from blob `given` to blob `refined`, and its weights.

    Raises:
        EngineUnavailableError: ncnn does not compute one of its layers as PyTorch does.
    """
    graph = _Graph()
    graph.add("Input", [], ["given"])
    graph.convolution(refiner.first, "given", "block_0", relu=True)
    for number, block in enumerate(refiner.blocks):
        assert isinstance(block, ResNetBlock)
        entry, leaving = f"block_{number}", f"block_{number + 1}"
        branch, skip, inner, sum_of_both = (
            f"{entry}_{part}" for part in ("branch", "skip", "inner", "sum")
        )
        graph.add("Split", [entry], [branch, skip])
        graph.convolution(block.conv1, branch, inner, relu=True)
        graph.convolution(block.conv2, inner, f"{inner}_2", relu=False)
        graph.add("BinaryOp", [f"{inner}_2", skip], [sum_of_both], "0=0")
        graph.add("ReLU", [sum_of_both], [leaving])
    graph.convolution(refiner.last, f"block_{len(refiner.blocks)}", "logits", relu=False)
    graph.add("TanH", ["logits"], ["refined"])
    return graph.text(), b"".join(graph.weights)


class NcnnEngine(OneByOneEngine):
    """
    Args:
        codec: of the refiner's pixels.
        precision: bfloat16 stores weights and activations in it, and adds up in float32.

    Raises:
        EngineUnavailableError: ncnn cannot load the network.
    """

    def __init__(
        self,
        refiner: Refiner,
        codec: PixelCodec = EIGHT_BIT,
        *,
        precision: Precision = "float32",
    ) -> None:
        self.name = engine_name("ncnn", precision)
        self.codec = codec
        self.config = refiner.config
        graph, weights = ncnn_graph(refiner)
        self.net = ncnn.Net()
        option = self.net.opt
        option.num_threads = 1
        option.use_vulkan_compute = False
        option.use_winograd_convolution = True
        # float16 is ncnn's default and makes errors of up to a tenth of a grey level.
        option.use_fp16_packed = option.use_fp16_storage = option.use_fp16_arithmetic = False
        option.use_bf16_storage = precision == "bfloat16"
        # Given bytes in memory, ncnn would keep pointers into them; from a file it copies.
        with tempfile.TemporaryDirectory(prefix="refiner-ncnn-") as folder:
            path = Path(folder) / "weights.bin"
            path.write_bytes(weights)
            if self.net.load_param_mem(graph) != 0 or self.net.load_model(str(path)) != 0:
                raise EngineUnavailableError(f"ncnn {ncnn.__version__} does not load the network")

    def _refined(self, channels: Values) -> Values:
        extractor = self.net.create_extractor()
        # A Mat borrows the memory of `channels`, which outlives the run of the network.
        extractor.input("given", ncnn.Mat(channels))
        status, output = extractor.extract("refined")
        if status != 0:
            raise RuntimeError(f"ncnn {ncnn.__version__} failed on an image, status {status}")
        return np.asarray(output.numpy())
