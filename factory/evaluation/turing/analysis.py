"""What the answers of a visual Turing test come to, beside the paper's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from scipy.stats import binomtest

from schemas.turing import (
    AgainstChance,
    AnswerLine,
    AnswersResult,
    Confusion,
    MistakenPicture,
    ObserverPictures,
    ObserverResult,
    Other,
    PartResult,
    ShownPicture,
    Truth,
    TuringReport,
    TuringSettings,
)

SIGNIFICANT = 0.05
NUM_MISTAKEN = 12
"""most pictures of either kind that the analysis of a part shows"""
OTHERS: tuple[Other, ...] = ("refined", "unrefined")
NAMES: Mapping[Other, str] = {"refined": "refined images", "unrefined": "renders"}
PAPER_TABLE = Confusion(
    real_as_real=224, real_as_synthetic=276, synthetic_as_real=207, synthetic_as_synthetic=293
)
"""Shrivastava et al. 2017 (arXiv:1612.07828), Table 1: 10 subjects, 50 real and 50 refined images
each"""
PAPER_CORRECT: Mapping[Other, tuple[int, int]] = {"refined": (517, 1000), "unrefined": (162, 200)}
"""right answers and answers, section 3.1. The paper's p = 0.148 for refined images is the one-sided
probability"""

Answers = Mapping[str, tuple[ObserverPictures, Sequence[AnswerLine]]]
"""what each observer is shown, and the answers that stand"""


def against_chance(num_correct: int, num_answers: int) -> AgainstChance:
    """The share of right answers with its exact interval, and exact binomial tests against 1/2.

    The interval leaves out 1/2 exactly where the two-sided p is below 0.05.
    """
    two_sided = binomtest(num_correct, num_answers, 0.5)
    one_sided = binomtest(num_correct, num_answers, 0.5, alternative="greater")
    ends = two_sided.proportion_ci(confidence_level=0.95, method="exact")
    return AgainstChance(
        num_correct=num_correct,
        num_answers=num_answers,
        accuracy=num_correct / num_answers,
        low=float(ends.low),
        high=float(ends.high),
        p_two_sided=min(1.0, float(two_sided.pvalue)),
        p_one_sided=min(1.0, float(one_sided.pvalue)),
    )


def num_needed(num_answers: int) -> int | None:
    """The fewest right answers out of so many that guessing does not explain; None where even all
    of them would be explained."""
    for num_correct in range((num_answers + 1) // 2, num_answers + 1):
        if binomtest(num_correct, num_answers, 0.5).pvalue < SIGNIFICANT:
            return num_correct
    return None


def report_of(settings: TuringSettings, answers: Answers) -> TuringReport:
    """The analysis of all answers that stand."""
    parts = tuple(_part(other, answers) for other in OTHERS if other in settings.datasets)
    return TuringReport(settings=settings, parts=parts)


def _part(other: Other, answers: Answers) -> PartResult:
    by_observer = {
        observer: [line for line in lines if line.other == other]
        for observer, (_, lines) in answers.items()
    }
    observers = tuple(
        ObserverResult(
            observer=observer,
            num_pictures=sum(len(p.pictures) for p in answers[observer][0].parts
                             if p.other == other),
            result=_result(lines),
        )
        for observer, lines in by_observer.items()
    )  # fmt: skip
    pooled = _result([line for lines in by_observer.values() for line in lines])
    num_observers = sum(one.result is not None for one in observers)
    return PartResult(
        other=other,
        observers=observers,
        pooled=pooled,
        in_words=in_words(other, pooled, num_observers),
        mistaken=_mistaken(other, answers),
    )


def _result(lines: Sequence[AnswerLine]) -> AnswersResult | None:
    if not lines:
        return None
    num: Counter[tuple[Truth, Truth | None]] = Counter((one.truth, one.answer) for one in lines)
    confusion = Confusion(
        real_as_real=num["real", "real"],
        real_as_synthetic=num["real", "synthetic"],
        synthetic_as_real=num["synthetic", "real"],
        synthetic_as_synthetic=num["synthetic", "synthetic"],
    )
    num_correct = confusion.real_as_real + confusion.synthetic_as_synthetic
    return AnswersResult(
        confusion=confusion,
        against_chance=against_chance(num_correct, len(lines)),
        median_s=median(line.seconds for line in lines if line.seconds is not None),
    )


def in_words(other: Other, pooled: AnswersResult | None, num_observers: int) -> str:
    """What the answers of a part show, and what they do not."""
    name = NAMES[other]
    if pooled is None:
        return f"No question about {name} is answered yet."
    chance = pooled.against_chance
    numbers = (
        f"{chance.num_correct} of {chance.num_answers} answers are right, "
        f"{100 * chance.accuracy:.1f} % (95 % interval {100 * chance.low:.1f} to "
        f"{100 * chance.high:.1f} %; guessing gives 50 %, "
        f"p = {shown_p(chance.p_two_sided)})."
    )
    whose = "The observer" if num_observers == 1 else f"The {num_observers} observers"
    if chance.p_two_sided < SIGNIFICANT and chance.accuracy > 0.5:
        return f"{whose} told {name} from real ones: {numbers}"
    if chance.p_two_sided < SIGNIFICANT:
        return (
            f"{whose} took {name} for real ones, or real ones for {name}, more often than guesses "
            f"would; so the two can be told apart, under the wrong names: {numbers}"
        )
    needed = num_needed(chance.num_answers)
    power = (
        "So few answers could not show a difference, whatever they were."
        if needed is None
        else f"With so many answers, {needed} right ones would have shown a difference."
    )
    return f"{whose} did not reliably tell {name} from real ones: {numbers} {power}"


def shown_p(value: float) -> str:
    """A probability as text."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _mistaken(other: Other, answers: Answers) -> tuple[MistakenPicture, ...]:
    num_answers: Counter[ShownPicture] = Counter()
    num_mistaken: Counter[ShownPicture] = Counter()
    for pictures, lines in answers.values():
        for picture, line in zip(pictures.in_order, lines, strict=False):  # the first are answered
            if line.other == other:
                num_answers[picture] += 1
                num_mistaken[picture] += line.answer != line.truth
    ranked = sorted(
        (picture for picture, num in num_mistaken.items() if num),
        key=lambda one: (-num_mistaken[one], num_answers[one], one.key),
    )
    real = [one for one in ranked if one.truth == "real"]
    synthetic = [one for one in ranked if one.truth == "synthetic"]
    return tuple(
        MistakenPicture(picture=one, num_mistaken=num_mistaken[one], num_answers=num_answers[one])
        for some in (synthetic, real)
        for one in some[:NUM_MISTAKEN]
    )
