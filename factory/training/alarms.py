"""The two ways in which a SimGAN usually fails, reported early and with advice; and metrics by
which that cannot be judged."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

WINDOW = 200
"""passes of the schedule whose metrics are averaged"""
MIN_LINES = 5
"""lines of metrics within them, below which nothing is judged"""
MIN_DELTA = 0.01
"""mean |refined - synthetic| on [-1, 1]: below it, one grey level of 8 bits, R changes nothing"""
JUDGED_BY = ("mean_abs_delta", "realism_loss", "accuracy_real", "accuracy_refined")
"""metrics"""
WON_ACCURACY = 0.98
"""of D on both domains; where R holds its own it is 0.6 to 0.9"""
WON_LOSS = 3.0
"""realism loss: D gives refined patches odds of 1 to 20; it is ln 2 = 0.7 where D cannot tell"""


class Alarm(NamedTuple):
    """Something that goes wrong."""

    name: str
    message: str
    """what was seen, and what to do about it"""


def alarm_of(lines: Sequence[Mapping[str, object]]) -> Alarm | None:
    """What is going wrong by the newest lines of metrics; None where nothing is.

    Args:
        lines: of `metrics.jsonl`, in order.
    """
    recent = [line for line in lines[-WINDOW:] if line["phase"] == "adversarial"]
    if recent:
        newest = float(str(recent[-1]["clock"]))
        recent = [line for line in recent if float(str(line["clock"])) > newest - WINDOW]
    if len(recent) < MIN_LINES:
        return None

    mean = {name: fmean(float(str(line[name])) for line in recent) for name in JUDGED_BY}
    unknown = [name for name, value in mean.items() if not math.isfinite(value)]
    if unknown:  # NaN is neither above a threshold nor below
        return Alarm(
            "metrics not finite",
            f"nothing can be told of a training whose {', '.join(unknown)} is not finite: look for "
            "broken images, and lower the learning rates",
        )
    delta, accuracy = mean["mean_abs_delta"], (mean["accuracy_real"] + mean["accuracy_refined"]) / 2
    if accuracy >= WON_ACCURACY and mean["realism_loss"] >= WON_LOSS:
        return Alarm(
            "discriminator wins",
            f"it tells {accuracy:.1%} of patches right and R no longer gains (realism loss "
            f"{mean['realism_loss']:.1f}). If it won at once, the domains differ in something that "
            "no refiner should mend: compare framing, contrast and the range of labels of both, "
            "and ingest both alike. Else raise k_g, lower "
            "discriminator_lr or lambda_reg, or set r1_gamma = 1 or "
            "discriminator.spectral_norm = true",
        )
    if delta < MIN_DELTA:
        cause = (
            "the regularisation outweighs the discriminator: lower lambda_reg, or raise k_g"
            if accuracy > 0.6
            else "the discriminator cannot tell the domains either: raise discriminator_lr or k_d, "
            "and see whether the domains differ at all"
        )
        return Alarm("refined = synthetic", f"mean |change| is {delta:.4f} on [-1, 1]; {cause}")
    return None
