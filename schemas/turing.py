"""Files of a visual Turing test: what is compared, what each observer is shown and answers, and the
analysis."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Float, Key, Model, Sha256, Versioned

Truth = Literal["real", "synthetic"]
"""what an image is, or is taken for"""
Origin = Literal["real", "refined", "unrefined"]
"""which of the datasets an image is of"""
Other = Literal["refined", "unrefined"]
"""what a part of the test shows beside real images"""
Observer = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
"""small letters, digits, - and _, because folders have this name"""
Count = Annotated[int, Field(ge=0)]
Share = Annotated[Float, Field(ge=0, le=1)]


class ComparedDataset(Model):
    """A dataset whose images are shown."""

    location: str
    card: Sha256
    """digest of its card"""


class TuringSettings(Versioned):
    """`test.json`: what all observers of a test are shown images of."""

    datasets: dict[Origin, ComparedDataset]
    """without `unrefined` there is no second part"""
    split: str | None
    seed: Count
    num_examples: Count
    num_refined: Count
    num_unrefined: Count


class ShownPicture(Model):
    """A picture of the test, or one of the examples."""

    origin: Origin
    key: Key
    png_sha256: Sha256
    """of the PNG as it is shown"""

    @property
    def truth(self) -> Truth:
        """The right answer."""
        return "real" if self.origin == "real" else "synthetic"


class TuringPart(Model):
    """One part of the test: real images among refined ones, or among renders as they are."""

    other: Other
    examples: tuple[ShownPicture, ...]
    pictures: tuple[ShownPicture, ...]
    """in the order in which they are shown"""


class ObserverPictures(Versioned):
    """`observers/<name>/pictures.json`: what an observer is shown; drawn once, from the seed."""

    observer: Observer
    parts: tuple[TuringPart, ...]

    @property
    def in_order(self) -> tuple[ShownPicture, ...]:
        """The pictures of all parts; an answer names its picture by the position in here."""
        return tuple(picture for part in self.parts for picture in part.pictures)


class AnswerLine(Model):
    """A line of `observers/<name>/answers.jsonl`."""

    observer: Observer
    position: Count
    other: Other
    """of the part that the picture belongs to"""
    origin: Origin
    dataset: str
    """location of the picture's dataset"""
    key: Key
    truth: Truth
    answer: Truth | None
    """None takes the last answer back"""
    seconds: Annotated[Float, Field(ge=0)] | None
    """for which the picture was in view before the answer, without pauses; None where it is taken
    back"""
    answered: str
    """UTC, ISO 8601"""


class Confusion(Model):
    """How many images of either kind were taken for which; Table 1 of the paper."""

    real_as_real: Count
    real_as_synthetic: Count
    synthetic_as_real: Count
    synthetic_as_synthetic: Count


class AgainstChance(Model):
    """The share of right answers, against the half that guessing gives."""

    num_correct: Count
    num_answers: Annotated[int, Field(gt=0)]
    accuracy: Share
    low: Share
    """of the 95 % interval of Clopper and Pearson"""
    high: Share
    p_two_sided: Share
    """how likely guesses are to be right at least as much more, or less, often than half the
    time"""
    p_one_sided: Share
    """how likely guesses are to be right at least as often"""


class AnswersResult(Model):
    """What some answers come to."""

    confusion: Confusion
    against_chance: AgainstChance
    median_s: Float
    """median time of an answer"""


class ObserverResult(Model):
    """What one observer answered in a part."""

    observer: Observer
    num_pictures: Count
    result: AnswersResult | None
    """None before the first answer"""


class MistakenPicture(Model):
    """A picture that was taken for what it is not."""

    picture: ShownPicture
    num_mistaken: Annotated[int, Field(gt=0)]
    num_answers: Annotated[int, Field(gt=0)]


class PartResult(Model):
    """What all observers answered in a part."""

    other: Other
    observers: tuple[ObserverResult, ...]
    pooled: AnswersResult | None
    """of all answers of all observers, as if they were independent"""
    in_words: str
    mistaken: tuple[MistakenPicture, ...]
    """those that were most often mistaken come first"""


class TuringReport(Versioned):
    """`turing.json`: the analysis."""

    settings: TuringSettings
    parts: tuple[PartResult, ...]
