"""bfloat16 on a GPU: fixed batches through a compiled CUDA graph, copies overlapped.

An image crosses to the device and back as uint8; scaling, rounding and clipping happen there. Two
lanes of buffers take turns: while the device refines the batch of one, the other's is copied in or
out. The last batch of a call is short: what lies behind it in the lane is refined and dropped.
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
    EngineUnavailableError,
    Values,
    from_planes,
    to_planes,
)

log = logging.getLogger(__name__)

_PIXELS_IN_FLIGHT = 2**20
_WARM_UP_RUNS = 3
"""before a capture, which must find every library set up"""

CompileMode = Literal["default", "max-autotune-no-cudagraphs"]
"""those that leave the recording of the graph to us"""
Compute = Callable[[Tensor], Tensor]
"""uint8 (batch, C, H, W) on the device, to the same"""


def suitable_batch(height: int, width: int) -> int:
    """Images of a batch: enough pixels to fill a large GPU, 512 eyes or 16 hands."""
    return 1 << max(0, (_PIXELS_IN_FLIGHT // (height * width)).bit_length() - 1)


class DeviceRefiner(nn.Module):
    """Stored pixels to stored pixels, wholly on the device.

    Args:
        dtype: of the 3x3 convolutions and what flows between them.
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
        """(n, C, H, W) uint8 to float32 in [-1, 1]."""
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
    """A function of one tensor recorded once and replayed: no launch costs, fixed memory.

    Replay and all use of the result belong on one stream; the next replay overwrites the result.
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
    """Takes one batch at a time: `start`, then `finish`."""

    def start(self, images: NDArray[np.uint8]) -> None:
        """Begin to refine up to a batch of (n, C, H, W); returns before it is done."""

    def finish(self) -> NDArray[np.uint8]:
        """The whole batch, refined; valid until the next `start`."""


class HostLane:
    """The same on a CPU, one step after the other."""

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
    """One stream for each thing that a device does at the same time."""

    def __init__(self) -> None:
        self.copy_in, self.compute, self.copy_out = (
            torch.cuda.Stream()  # type: ignore[no-untyped-call]
            for _ in range(3)
        )


class CudaLane:
    """Pinned buffers on the host and their twins on the device."""

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
    """Refine (n, C, H, W) in batches, each lane working on one while others are filled."""
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
        height, width: of every image: the graph is recorded for one shape.
        full_scale: the pixel value that becomes 1 in the network; up to 255.
        empty_below: not yet: only 0.
        batch_size: images at once; None for `suitable_batch`.
        device: `cpu` runs the same path without streams, graphs and compiler, for tests.
        dtype: bfloat16, or float32 for tests.
        compile_mode: of `torch.compile`; None records PyTorch's own kernels, which start at once
            but pass over memory once more for every ReLU and sum.

    Raises:
        EngineUnavailableError: no such device, pixels of more than 8 bits, or a refiner with noise.
    """

    name = "cuda"

    def __init__(
        self,
        refiner: Refiner,
        *,
        height: int,
        width: int,
        full_scale: float = 255.0,
        empty_below: float = 0.0,
        batch_size: int | None = None,
        device: str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
        compile_mode: CompileMode | None = "default",
    ) -> None:
        if full_scale > np.iinfo(np.uint8).max:
            raise EngineUnavailableError(
                f"{self.name} keeps pixels in 8 bits, the refiner's go to {full_scale:g}"
            )
        if empty_below > 0:
            raise EngineUnavailableError(
                f"{self.name} does not empty pixels below {empty_below:g} yet"
            )
        if refiner.config.noise_channels:
            raise EngineUnavailableError(f"{self.name} gives a refiner no noise yet")
        self.full_scale = full_scale
        self.empty_below = empty_below
        self.device = torch.device(device)
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise EngineUnavailableError("PyTorch sees no CUDA device")
        self.batch_size = batch_size if batch_size is not None else suitable_batch(height, width)
        shape = (self.batch_size, refiner.config.channels, height, width)
        self.shape = shape[1:]
        module = DeviceRefiner(refiner, full_scale=full_scale, dtype=dtype)
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
        from torch._dynamo.exc import TorchDynamoException  # a second that CPU workers save

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
        """What the network makes of images, before rounding: not compiled, not recorded."""
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
