"""One observer's way through the test, as a page follows it."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime

from factory.evaluation.turing.answers import AnswerFile
from schemas.base import Model
from schemas.turing import AnswerLine, ObserverPictures, Origin, Truth


class OutOfTurnError(ValueError):
    """An answer to another picture than the one whose turn it is, as from a second window."""


class TrialState(Model):
    """All that a page is told before the test is over. It says nothing about what a picture is."""

    observer: str
    position: int
    """of the picture whose turn it is; the number of pictures when all are answered"""
    num_pictures: int
    part: int
    """counted from 0; of the last picture when all are answered"""
    num_parts: int
    first_of_part: int
    """position of the part's first picture"""
    num_examples: int
    """of either kind"""
    is_done: bool
    can_undo: bool


class Trial:
    """An observer's pictures and answers. Threads may share it."""

    def __init__(
        self,
        pictures: ObserverPictures,
        pngs: Mapping[str, bytes],
        locations: Mapping[Origin, str],
        file: AnswerFile,
    ) -> None:
        """
        Args:
            pngs: by their sha256.
            locations: of the datasets.
        """
        self.pictures, self._pngs, self._locations, self._file = pictures, pngs, locations, file
        self._in_order = pictures.in_order
        self._part_of = [n for n, part in enumerate(pictures.parts) for _ in part.pictures]
        self._num_answered = len(file.answers)
        self._lock = threading.Lock()

    @property
    def is_done(self) -> bool:
        """Whether every picture is answered. From then on no answer can be taken back, because the
        observer may know what the pictures are."""
        return self._num_answered == len(self._in_order)

    def state(self) -> TrialState:
        """What a page shows now."""
        with self._lock:
            position = self._num_answered
            part = self._part_of[min(position, len(self._in_order) - 1)]
            return TrialState(
                observer=self.pictures.observer,
                position=position,
                num_pictures=len(self._in_order),
                part=part,
                num_parts=len(self.pictures.parts),
                first_of_part=self._part_of.index(part),
                num_examples=len(self.pictures.parts[part].examples) // 2,
                is_done=self.is_done,
                can_undo=position > 0 and not self.is_done,
            )

    def picture(self, position: int) -> bytes:
        """The PNG of a picture that had its turn, has it, or is the next one. A page that fetches
        the next picture early may be slower than its user's answer.

        Raises:
            KeyError: it is not yet the picture's turn.
        """
        if not 0 <= position <= min(self._num_answered + 1, len(self._in_order) - 1):
            raise KeyError(position)
        return self._pngs[self._in_order[position].png_sha256]

    def example(self, part: int, truth: Truth, number: int) -> bytes:
        """The PNG of an example.

        Raises:
            KeyError: there is no such example.
        """
        if not 0 <= part < len(self.pictures.parts):
            raise KeyError(part)
        examples = [one for one in self.pictures.parts[part].examples if one.truth == truth]
        if not 0 <= number < len(examples):
            raise KeyError(number)
        return self._pngs[examples[number].png_sha256]

    def answer(self, position: int, answer: Truth, seconds: float) -> None:
        """Record an answer.

        Raises:
            OutOfTurnError: it is the turn of another picture.
        """
        with self._lock:
            if position != self._num_answered or self.is_done:
                raise OutOfTurnError(f"picture {position} is not the one whose turn it is")
            self._append(position, answer, seconds)
            self._num_answered += 1

    def undo(self, position: int) -> None:
        """Take back the answer to the picture before a position, whose turn it is then.

        Raises:
            OutOfTurnError: it is the turn of another picture, or all are answered.
        """
        with self._lock:
            if position != self._num_answered or position == 0 or self.is_done:
                raise OutOfTurnError(f"the answer before picture {position} cannot be taken back")
            self._append(position - 1, None, None)
            self._num_answered -= 1

    def _append(self, position: int, answer: Truth | None, seconds: float | None) -> None:
        picture = self._in_order[position]
        self._file.append(
            AnswerLine(
                observer=self.pictures.observer,
                position=position,
                other=self.pictures.parts[self._part_of[position]].other,
                origin=picture.origin,
                dataset=self._locations[picture.origin],
                key=picture.key,
                truth=picture.truth,
                answer=answer,
                seconds=seconds,
                answered=datetime.now(UTC).isoformat(timespec="milliseconds"),
            )
        )
