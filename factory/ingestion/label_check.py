"""Whether the labels of inputs belong to their pictures, before anything is made of them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from factory.dataset.dataset import Dataset
from factory.sources.base import BadRender, Loaded, Source, load_all
from schemas.dataset import PlannedInput

log = logging.getLogger(__name__)

LOOKED_AT = 64
"""samples that are judged"""
MAX_LOADED = 512
"""inputs that are loaded for them at most, as filters may leave many out"""
MAX_SHARDS = 4
"""shards that they are of, as each may lie in another archive, which has to be opened"""
Value = TypeVar("Value")
Judge = Callable[[Sequence[Loaded]], str | None]
"""see `Domain.misplaced_labels`"""


class MisplacedLabelsError(ValueError):
    """The labels of the inputs plainly do not belong to their pictures."""


def check_labels(
    dataset: Dataset, source: Source, shards: Sequence[int], judge: Judge, *, allow: bool
) -> None:
    """Look at some of the inputs that are planned into shards, evenly spread.

    Args:
        shards: that are about to be made.
        allow: warn instead of raising.

    Raises:
        MisplacedLabelsError: the labels do not belong to the pictures.
    """
    problem = judge(list(islice(_loaded(dataset, source, shards), LOOKED_AT)))
    if problem is None:
        return
    where = f"the labels in {source.location} do not belong to their pictures: {problem}"
    if allow:
        log.warning("%s They are used all the same, as --allow-misplaced-labels asks", where)
        return
    raise MisplacedLabelsError(
        f"{where} Nothing was made of them. Repair the inputs and run the same command again, or "
        "use them as they are with --allow-misplaced-labels"
    )


def _loaded(dataset: Dataset, source: Source, shards: Sequence[int]) -> Iterator[Loaded]:
    """Inputs that would become samples, from shards that are evenly spread."""
    chosen = _spread(shards, MAX_SHARDS)
    num_of_each = MAX_LOADED // max(1, len(chosen))
    inputs = [
        planned for shard in chosen for planned in _spread(dataset.plan(shard).inputs, num_of_each)
    ]
    # In steps over all of them, so that those that are judged are spread too, however many are.
    step = max(1, len(inputs) // LOOKED_AT)
    for start in range(step):
        yield from _kept(source, inputs[start::step])


def _kept(source: Source, inputs: Sequence[PlannedInput]) -> Iterator[Loaded]:
    source.expect({planned.id: planned.suffixes for planned in inputs})
    for loaded in load_all(source, [planned.id for planned in inputs]):
        if not isinstance(loaded, BadRender):
            yield loaded


def _spread(values: Sequence[Value], num: int) -> Sequence[Value]:
    """At most so many values, evenly spread."""
    num = min(num, len(values))
    return [values[(2 * number + 1) * len(values) // (2 * num)] for number in range(num)]
