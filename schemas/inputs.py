"""`runs/<id>/inputs.json`: where everything went that one look at a location came across."""

from collections.abc import Iterator, Mapping

from schemas.base import Model

HIDDEN_FILES = "hidden"
"""how hidden files are called among the ignored ones"""
SHOWN = 8
"""kinds and reasons in a log; all of them are in the file"""


class InputsSummary(Model):
    """What a run found, and what became of it."""

    location: str
    """of the inputs"""
    num_listed: int
    """inputs, including those of archives that have not changed since all of theirs were planned"""
    num_new: int
    """of them, inputs that this run planned"""
    num_held: int
    """of them, inputs that are held back until there are more"""
    num_left: int
    """of them, inputs that changed and wait until their shard is built or mended"""
    num_samples: int
    """that this run made, also of inputs that earlier runs planned"""
    num_rejected: int
    """inputs that this run rejected"""
    num_filtered: int
    """inputs that this run left out on purpose"""
    reasons: dict[str, int]
    """why inputs were rejected or filtered"""
    unreadable: tuple[str, ...]
    """archives, folders and files that cannot be read or not whole, and why"""
    ignored: dict[str, int]
    """files that are no inputs, by suffix or by what they are; without those of archives that have
    not changed"""

    @property
    def num_ignored(self) -> int:
        """Ignored files that are not hidden."""
        return num_not_hidden(self.ignored)

    def lines(self) -> Iterator[str]:
        """The summary as lines of text; none about what there is none of."""
        for reason, count in list(self.reasons.items())[:SHOWN]:
            yield f"set aside: {count} × {reason}"
        if len(self.reasons) > SHOWN:
            yield f"set aside: {sum(list(self.reasons.values())[SHOWN:])} for other reasons"
        if self.unreadable:
            yield f"unreadable: {len(self.unreadable)} archives, folders or files"
        if self.ignored:
            yield f"ignored, as no inputs of this source: {counted(self.ignored)}"


def num_not_hidden(ignored: Mapping[str, int]) -> int:
    """Ignored files that are not hidden."""
    return sum(count for what, count in ignored.items() if what != HIDDEN_FILES)


def counted(counts: Mapping[str, int]) -> str:
    """The most frequent kinds, e.g. `12 .txt, 3 hidden`."""
    kinds = sorted(counts.items(), key=lambda kind: -kind[1])
    text = ", ".join(f"{count} {what}" for what, count in kinds[:SHOWN])
    others = sum(count for _, count in kinds[SHOWN:])
    return f"{text}, {others} of other kinds" if others else text
