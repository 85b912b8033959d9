"""How fast the eye renderer draws, on one thread.

    python benchmarks/bench_render.py [--seconds 3]

The baseline of each line is the same renderer at batch 1, one picture a call, in the same run.
Timed with the CPU clock of this process, so other work on the machine disturbs it little.
"""

import argparse
import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2

from factory.renderers.eye import EyeRenderer


def rate(draw: Callable[[int], int], seconds: float) -> float:
    """Pictures a CPU second; `draw(start)` draws some and says how many."""
    draw(0)
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        count += draw(count)
    return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU seconds a measurement")
    seconds = parser.parse_args().seconds
    cv2.setNumThreads(1)
    EyeRenderer().render(range(60))
    EyeRenderer(style="camera").render(range(60))
    for renderer in (
        EyeRenderer(height=120, width=160),
        EyeRenderer(),
        EyeRenderer(height=480, width=640),
        EyeRenderer(height=600, width=800),
        EyeRenderer(style="camera"),
    ):

        def batch(start: int, renderer: EyeRenderer = renderer) -> int:
            return len(renderer.render(range(start, start + 32)))

        def single(start: int, renderer: EyeRenderer = renderer) -> int:
            return len(renderer.render([start]))

        fast, slow = rate(batch, seconds), rate(single, seconds)
        camera = renderer.style == "camera"
        size = "60x36 crop" if camera else f"{renderer.width}x{renderer.height}"
        print(
            json.dumps(
                {
                    "bench": f"eye renderer, style {renderer.style}, {size}",
                    "images_per_s": round(fast, 1),
                    "baseline": "the same, batch 1",
                    "baseline_images_per_s": round(slow, 1),
                    "ratio": round(fast / slow, 2),
                }
            )
        )


if __name__ == "__main__":
    main()
