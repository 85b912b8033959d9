"""An observer's answers: JSON lines in a file that only grows, but for a line that was cut off.

A line is appended with one write and is on the disk before the observer sees the next picture. A
process that is killed while it writes leaves a line without its end; that line is removed when the
test goes on, and its picture is shown again.
"""

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from factory.store.atomic import make_folder, sync_folder
from schemas.base import FormatError
from schemas.turing import AnswerLine, ObserverPictures

log = logging.getLogger(__name__)
ANSWERS = "answers.jsonl"


def read_answers(path: Path, pictures: ObserverPictures) -> list[AnswerLine]:
    """The answers that stand, one for each of the first pictures, in order.

    A line that was cut off at the end counts as not written.

    Raises:
        FormatError: a line is no answer, or not one to the picture whose turn it was.
    """
    raw = path.read_bytes() if path.exists() else b""
    return _standing(raw[: _whole(raw)], path, pictures)


class AnswerFile:
    """The file of an observer who is answering, for this process alone."""

    def __init__(self, path: Path, pictures: ObserverPictures) -> None:
        """
        Raises:
            RuntimeError: another process has the file open.
            FormatError: as `read_answers`.
        """
        make_folder(path.parent)
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self.answers: Sequence[AnswerLine] = self._opened(pictures)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _opened(self, pictures: ObserverPictures) -> Sequence[AnswerLine]:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"another process shows this test to {pictures.observer}; stop it, or give "
                "another --observer"
            ) from error
        sync_folder(self._path.parent)
        raw = self._path.read_bytes()
        self._size = _whole(raw)
        answers = _standing(raw[: self._size], self._path, pictures)
        if self._size < len(raw):
            os.ftruncate(self._descriptor, self._size)
            log.warning(
                "the last line of %s was cut off and is removed; its picture is shown again",
                self._path,
            )
        return answers

    def append(self, line: AnswerLine) -> None:
        """Write one line to the disk.

        Raises:
            OSError: it could not be written; then nothing of it is left in the file.
        """
        content = line.model_dump_json().encode() + b"\n"
        try:
            written = os.write(self._descriptor, content)
            if written < len(content):
                raise OSError(f"{self._path}: the disk is full")
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let another process have the file."""
        os.close(self._descriptor)


def _whole(raw: bytes) -> int:
    """Number of bytes up to the end of the last whole line."""
    return raw.rfind(b"\n") + 1


def _standing(raw: bytes, path: Path, pictures: ObserverPictures) -> list[AnswerLine]:
    in_order = pictures.in_order
    answers: list[AnswerLine] = []
    for number, text in enumerate(raw.splitlines(), 1):
        where = f"{path}, line {number}"
        line = AnswerLine.from_json(text, where=where)
        if line.answer is None:
            if line.position != len(answers) - 1:
                raise FormatError(f"{where}: takes back answer {line.position}, not the last one")
            answers.pop()
            continue
        if line.position != len(answers) or line.position >= len(in_order):
            raise FormatError(
                f"{where}: an answer to picture {line.position}, expected {len(answers)} of "
                f"{len(in_order)}"
            )
        if line.key != in_order[line.position].key or line.observer != pictures.observer:
            raise FormatError(f"{where}: an answer to another picture, or of another observer")
        answers.append(line)
    return answers
