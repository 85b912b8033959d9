"""OpenVINO on one CPU core, for processors that multiply matrices of bfloat16.

The graph is written from the weights in memory, as ncnn's is. OpenVINO is an optional extra:
`pip install simgan-factory[openvino]`.
"""

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops
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

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def openvino_graph(refiner: Refiner, height: int, width: int) -> openvino.Model:
    """A refiner as OpenVINO's graph, from (1, C + k, height, width) to (1, C, height, width)."""
    config = refiner.config
    shape = [1, config.channels + config.noise_channels, height, width]
    given = ops.parameter(shape, np.float32, name="given")
    x = ops.relu(_convolution(given, refiner.first))
    for block in refiner.blocks:
        assert isinstance(block, ResNetBlock)
        inner = ops.relu(_convolution(x, block.conv1))
        x = ops.relu(ops.add(_convolution(inner, block.conv2), x))
    return openvino.Model([ops.tanh(_convolution(x, refiner.last))], [given], "refiner")


def _convolution(x: openvino.Node, conv: nn.Conv2d) -> openvino.Node:
    border = conv.kernel_size[0] // 2
    if border and conv.padding_mode == "reflect":
        sides = np.array([0, 0, border, border])
        x, border = ops.pad(x, sides, sides, "reflect"), 0
    elif conv.padding_mode not in ("zeros", "reflect"):
        raise EngineUnavailableError(f"no padding of mode {conv.padding_mode!r} for OpenVINO")
    assert conv.bias is not None
    weight, bias = (tensor.detach().cpu().float().numpy() for tensor in (conv.weight, conv.bias))
    sides_2 = [border, border]
    summed = ops.convolution(x, ops.constant(weight), [1, 1], sides_2, sides_2, [1, 1])
    return ops.add(summed, ops.constant(bias.reshape(1, -1, 1, 1)))


def read_network(path: Path) -> openvino.Model:
    """A network of a file that OpenVINO reads: its own, ONNX or TensorFlow Lite."""
    return openvino.Core().read_model(path)


def on_one_core(network: openvino.Model, precision: Precision) -> openvino.CompiledModel:
    """A network compiled for one thread of this processor.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """
    options = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        # A worker is bound to no core: others of this machine may have the one chosen here.
        "ENABLE_CPU_PINNING": False,
    }
    return openvino.Core().compile_model(network, "CPU", options)


class OpenvinoEngine(OneByOneEngine):
    """
    Args:
        codec: of the refiner's pixels.
        height, width: of the images, for which the graph is compiled.
        precision: of convolutions and of the activations between them.

    Raises:
        EngineUnavailableError: OpenVINO cannot compile the network in this precision here.
    """

    def __init__(
        self,
        refiner: Refiner,
        codec: PixelCodec = EIGHT_BIT,
        *,
        height: int,
        width: int,
        precision: Precision = "bfloat16",
    ) -> None:
        self.name = engine_name("openvino", precision)
        self.codec = codec
        self.config = refiner.config
        if precision == "bfloat16" and "BF16" not in openvino.Core().get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise EngineUnavailableError("OpenVINO finds no bfloat16 in this processor")
        try:
            compiled = on_one_core(openvino_graph(refiner, height, width), precision)
        except RuntimeError as error:
            raise EngineUnavailableError(f"OpenVINO does not load the network: {error}") from error
        self.request = compiled.create_infer_request()

    def _refined(self, channels: Values) -> Values:
        results = self.request.infer({0: channels[None]}, share_inputs=True)
        return np.asarray(results[0][0])
