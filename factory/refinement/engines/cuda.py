"""bfloat16 on a GPU: fixed batches through a compiled CUDA graph, copies overlapped.

An image crosses to the device and back as uint8; scaling, rounding and clipping happen there. Two
lanes of buffers take turns: while the device refines the batch of one lane, the batch of the other
is copied in or out. The last batch of a call may be short: the rest of its lane still holds older
images, which are refined with it and dropped.
"""

import copy
import logging
from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from factory.images.png import Pixels
from factory.networks.refiner import Refiner
from factory.refinement.engines.base import (
    EIGHT_BIT,
    EngineUnavailableError,
    PixelCodec,
    Values,
    engine_name,
    from_planes,
    to_planes,
)

log = logging.getLogger(__name__)

_PIXELS_IN_FLIGHT = 2**20
_WARM_UP_RUNS = 3
"""runs before a graph is captured, so that the capture finds every library set up"""

CompileMode = Literal["default", "max-autotune-no-cudagraphs"]
"""the modes of `torch.compile` that do not record a graph by themselves, as `CudaGraph` does it"""
Compute = Callable[[Tensor], Tensor]
"""takes (batch, C, H, W) uint8 on the device and returns the same shape and dtype"""


def suitable_batch(height: int, width: int) -> int:
    """The number of images in a batch that fills a large GPU: 512 eyes or 16 hands."""
    return 1 << max(0, (_PIXELS_IN_FLIGHT // (height * width)).bit_length() - 1)


class DeviceRefiner(nn.Module):
    """Stored pixels to stored pixels, wholly on the device.

    Args:
        full_scale: the pixel value that becomes 1 in the network, up to 255.
        dtype: of the 3x3 convolutions and of the activations between them.
    """

    def __init__(self, refiner: Refiner, *, full_scale: float, dtype: torch.dtype) -> None:
        super().__init__()
        refiner = copy.deepcopy(refiner).eval().requires_grad_(False)
        self.full_scale = full_scale
        self.dtype = dtype
        self.first = refiner.first.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.blocks = refiner.blocks.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.last = refiner.last

    def values(self, images: Tensor) -> Tensor:
        """The output, (n, C, H, W) float32 in [-1, 1], for images of the same shape, uint8."""
        x = images.float() / (self.full_scale / 2) - 1.0
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        x = self.blocks(torch.relu(self.first(x))).float()
        # The last convolution sees one pixel at a time. As a sum over maps it stays float32, and
        # the compiler makes one pass over memory of it and all its neighbours down to the pixels.
        assert self.last.bias is not None
        weights = self.last.weight.flatten(1)
        logits = [(x * row[:, None, None]).sum(dim=1) for row in weights]
        return torch.tanh(torch.stack(logits, dim=1) + self.last.bias[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        levels = (self.values(images) + 1.0) * (self.full_scale / 2)
        return levels.round().clamp(0, self.full_scale).to(torch.uint8)


class CudaGraph:
    """A function of one tensor that is recorded once and replayed, without the cost of launches.

    Its memory is fixed. Replay it and use its result on one stream; the next replay overwrites
    the result.
    """

    def __init__(self, compute: Compute, example: Tensor) -> None:
        self.given = example.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                compute(self.given)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.refined = compute(self.given)

    def __call__(self, images: Tensor) -> Tensor:
        self.given.copy_(images)
        self.graph.replay()
        return self.refined


class Lane(Protocol):
    """Buffers that take one batch at a time: call `start`, then `finish`."""

    def start(self, images: NDArray[np.uint8]) -> None:
        """Begin to refine (n, C, H, W) images, n at most a batch; may return before it is done."""

    def finish(self) -> NDArray[np.uint8]:
        """Wait, and return the (batch, C, H, W) refined images; valid until the next `start`."""


class HostLane:
    """A lane on a CPU, which does one step after the other."""

    def __init__(self, compute: Compute, shape: tuple[int, ...]) -> None:
        self.compute = compute
        self.given = torch.zeros(shape, dtype=torch.uint8)
        self.refined = torch.zeros(shape, dtype=torch.uint8)

    def start(self, images: NDArray[np.uint8]) -> None:
        self.given.numpy()[: len(images)] = images
        self.refined.copy_(self.compute(self.given))

    def finish(self) -> NDArray[np.uint8]:
        return self.refined.numpy()


class Streams:
    """One stream for each of the three things that a device does at the same time."""

    def __init__(self) -> None:
        self.copy_in, self.compute, self.copy_out = (
            torch.cuda.Stream()  # type: ignore[no-untyped-call]
            for _ in range(3)
        )


class CudaLane:
    """A lane with pinned buffers on the host, each with a counterpart on the device."""

    def __init__(self, compute: Compute, shape: tuple[int, ...], streams: Streams) -> None:
        self.compute = compute
        self.streams = streams
        self.given, self.refined = (
            torch.zeros(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)
        )
        self.device_given, self.device_refined = (
            torch.zeros(shape, dtype=torch.uint8, device="cuda") for _ in range(2)
        )
        self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        # The streams of a lane do not wait for the one that the buffers were filled on.
        torch.cuda.synchronize()

    def start(self, images: NDArray[np.uint8]) -> None:
        self.given.numpy()[: len(images)] = images
        streams = self.streams
        with torch.cuda.stream(streams.copy_in):
            self.device_given.copy_(self.given, non_blocking=True)
        streams.compute.wait_stream(streams.copy_in)
        with torch.cuda.stream(streams.compute):
            self.device_refined.copy_(self.compute(self.device_given))
        streams.copy_out.wait_stream(streams.compute)
        with torch.cuda.stream(streams.copy_out):
            self.refined.copy_(self.device_refined, non_blocking=True)
            self.done.record()

    def finish(self) -> NDArray[np.uint8]:
        self.done.synchronize()
        return self.refined.numpy()


def through_lanes(
    planes: NDArray[np.uint8], lanes: tuple[Lane, ...], batch_size: int
) -> NDArray[np.uint8]:
    """Refine (n, C, H, W) images in batches; one lane computes while others are filled."""
    refined = np.empty(planes.shape, dtype=np.uint8)
    running: deque[tuple[Lane, int]] = deque()

    def collect() -> None:
        lane, start = running.popleft()
        part = refined[start : start + batch_size]
        part[:] = lane.finish()[: len(part)]

    for number, start in enumerate(range(0, len(planes), batch_size)):
        if len(running) == len(lanes):
            collect()
        lane = lanes[number % len(lanes)]
        lane.start(planes[start : start + batch_size])
        running.append((lane, start))
    while running:
        collect()
    return refined


class CudaEngine:
    """The engine for GPUs.

    Args:
        codec: of the refiner's pixels, with a full scale of up to 255 and nothing emptied.
        height, width: of every image, as the graph is recorded for one shape, px.
        batch_size: images refined at once; None for `suitable_batch`.
        device: `cpu` runs the same path without streams, graphs and compiler, for tests.
        dtype: bfloat16, or float32 for tests.
        compile_mode: of `torch.compile`; None records PyTorch's own kernels, which start at once
            but pass over memory once more for every ReLU and sum.

    Raises:
        EngineUnavailableError: PyTorch sees no such device, the pixels have more than 8 bits or
            are to be emptied below a value, or the refiner takes noise.
    """

    name = engine_name("cuda", "bfloat16")

    def __init__(
        self,
        refiner: Refiner,
        codec: PixelCodec = EIGHT_BIT,
        *,
        height: int,
        width: int,
        batch_size: int | None = None,
        device: str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
        compile_mode: CompileMode | None = "default",
    ) -> None:
        self.codec = codec
        if codec.full_scale > np.iinfo(np.uint8).max:
            raise EngineUnavailableError(
                f"the {self.name} engine keeps pixels in 8 bits, the refiner's go up to "
                f"{codec.full_scale:g}"
            )
        if codec.empty_below > 0 or codec.empty_beyond > 0:
            raise EngineUnavailableError(
                f"the {self.name} engine cannot empty pixels (below {codec.empty_below:g}, or "
                f"changed beyond {codec.empty_beyond:g})"
            )
        if refiner.config.noise_channels:
            raise EngineUnavailableError(f"the {self.name} engine can give a refiner no noise")
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise EngineUnavailableError("PyTorch sees no CUDA device")
        self.batch_size = batch_size if batch_size is not None else suitable_batch(height, width)
        shape = (self.batch_size, refiner.config.channels, height, width)
        self.shape = shape[1:]
        module = DeviceRefiner(refiner, full_scale=codec.full_scale, dtype=dtype)
        self.module = module.to(self.device).eval()
        if self.device.type == "cuda":
            compute = self._recorded(torch.zeros(shape, dtype=torch.uint8), compile_mode)
            streams = Streams()
            self.lanes: tuple[Lane, ...] = tuple(
                CudaLane(compute, shape, streams) for _ in range(2)
            )
        else:
            self.lanes = tuple(HostLane(self.module, shape) for _ in range(2))

    @torch.inference_mode()
    def _recorded(self, example: Tensor, compile_mode: CompileMode | None) -> Compute:
        # Imported here, as it takes a second that workers on a CPU can save.
        from torch._dynamo.exc import TorchDynamoException

        example = example.to(self.device)
        with torch.backends.cudnn.flags(enabled=True, benchmark=True):
            if compile_mode is not None:
                compiled = torch.compile(self.module, mode=compile_mode, dynamic=False)
                try:
                    return CudaGraph(compiled, example)
                except TorchDynamoException as error:
                    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                    log.warning("torch.compile failed, using PyTorch's own kernels: %s", reason)
            return CudaGraph(self.module, example)

    @torch.inference_mode()
    def __call__(self, images: Pixels) -> Pixels:
        planes = self._checked(images)
        return from_planes(through_lanes(planes, self.lanes, self.batch_size), images)

    @torch.inference_mode()
    def values(self, images: Pixels) -> Values:
        """The network's output before rounding, computed without compiler and graph."""
        given = torch.from_numpy(np.ascontiguousarray(self._checked(images)))
        return np.asarray(self.module.values(given.to(self.device)).cpu().contiguous())

    def _checked(self, images: Pixels) -> NDArray[np.uint8]:
        planes = to_planes(images)
        if planes.dtype != np.uint8 or planes.shape[1:] != self.shape:
            raise ValueError(
                f"this engine was made for uint8 images of (C, H, W) = {self.shape}, "
                f"got {planes.dtype} of {planes.shape[1:]}"
            )
        return cast("NDArray[np.uint8]", planes)
