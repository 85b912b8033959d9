"""What a visual Turing test shows, and to whom."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from factory.store.open import is_remote
from schemas.base import Model
from schemas.place import Place
from schemas.turing import Observer

Even = Annotated[int, Field(ge=2, multiple_of=2)]


class TuringConfig(Model):
    """What a visual Turing test shows, and to whom. The counts are the paper's."""

    output: Place
    """local folder of the test: what is shown, each observer's answers, the analysis"""
    refined: Place | None = None
    """dataset of refined images, or any other whose images may pass for real"""
    real: Place | None = None
    """dataset of camera images of the same layout"""
    synthetic: Place | None = None
    """dataset of renders that are not refined, for the second part, which shows that the observer
    can tell images apart that differ; without it there is no second part"""
    analyse: bool = False
    """only write turing.html and turing.json, of the answers that there are"""
    observer: Observer = "observer-1"
    """who answers; each observer is shown other images. Small letters, digits, - and _"""
    split: str | None = None
    """split of all datasets to take images from; default all. Take one that the refiner was not
    trained on"""
    seed: Annotated[int, Field(ge=0)] = 0
    """with the observer's name, decides which images are shown, and their order"""
    num_examples: Even = 20
    """labelled images that are always in view, half of them real"""
    num_refined: Annotated[int, Field(gt=0)] = 50
    """refined images to judge, among as many real ones"""
    num_unrefined: Annotated[int, Field(gt=0)] = 10
    """renders to judge in the second part, among as many real images"""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if is_remote(self.output):
            raise ValueError(
                f"answers are appended to files, so the output has to be a folder, not "
                f"{self.output}"
            )
        if not self.analyse and (self.refined is None or self.real is None):
            raise ValueError("give --refined and --real, or --analyse for the answers there are")
        return self
