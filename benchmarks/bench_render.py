"""The speed of the eye renderer and of the hand renderer on one thread.

    python benchmarks/bench_render.py [--seconds 3]

For eyes, the baseline of each line is the same renderer with one picture a call, in the same run.
Hands are always drawn one by one; their baseline is the encoding of the pictures alone. Rates are
per second of CPU time, on which other work of the machine has little influence.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
from own_process import say

from factory.domains.eye.renderer.renderer import EyeRenderer
from factory.domains.hand.renderer.depth import cast
from factory.domains.hand.renderer.renderer import HandRenderer, encode_depth
from factory.domains.hand.renderer.sensor import Sensor
from factory.domains.hand.renderer.shape import body_of


def rate(draw: Callable[[int], int], seconds: float) -> float:
    """Pictures per second of CPU time; `draw(start)` draws some and returns their number."""
    draw(0)
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        count += draw(count)
    return count / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU seconds of a measurement")
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
        say(
            {
                "bench": f"eye renderer, style {renderer.style}, {size}",
                "images_per_s": round(fast, 1),
                "baseline": "the same, batch 1",
                "baseline_images_per_s": round(slow, 1),
                "ratio": round(fast / slow, 2),
            }
        )
    for style in ("render", "camera"):
        bench_hands(HandRenderer(style=style), seconds)


def bench_hands(renderer: HandRenderer, seconds: float) -> None:
    """Frames per second of one view, drawn and encoded, and of its labels alone."""

    def draw(index: int) -> list[np.ndarray]:
        clean = cast(body_of(renderer.hands(index)[0]))
        pictures = [np.where(np.isfinite(clean), np.rint(clean), 0)]
        if renderer.style == "camera":
            pictures.append(Sensor().observe(clean, np.random.default_rng(index)))
        return pictures

    drawn = draw(0)

    def drawing(index: int) -> int:
        return len([encode_depth(picture) for picture in draw(index)][:1])

    def encoding(_: int) -> int:
        return len([encode_depth(picture) for picture in drawn][:1])

    def posing(index: int) -> int:
        return len(renderer.hands(index)[:1])

    fast, encoded, posed = (rate(work, seconds) for work in (drawing, encoding, posing))
    say(
        {
            "bench": f"hand renderer, style {renderer.style}, 640x480",
            "images_per_s": round(fast, 1),
            "baseline": "encoding its PNGs alone",
            "baseline_images_per_s": round(encoded, 1),
            "ratio": round(fast / encoded, 2),
            "labels_alone_per_s": round(posed),
        }
    )


if __name__ == "__main__":
    main()
