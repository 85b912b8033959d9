"""Upgrade a dataset of an earlier format in place."""

import time

from factory.dataset.dataset import CARD, Dataset
from factory.store.lease import live_holder
from schemas.base import FORMAT_VERSION


def upgrade(dataset: Dataset) -> str:
    """Make a dataset one of the present format.

    An index of format 1 is a first generation whose tar has a fixed name, so nothing but the card
    changes, in one step. Programs that know only format 1 refuse the dataset from then on.

    Returns:
        What was done, in words.

    Raises:
        ValueError: a run is at work on the dataset.
    """
    before = dataset.card.format_version
    if before == FORMAT_VERSION:
        return f"{dataset.location} is of format {FORMAT_VERSION} already: nothing to do"
    holder = live_holder([dataset.store], time.time())
    if holder is not None:
        raise ValueError(
            f"{dataset.location}: {holder} is at work; upgrade when it has ended, at the latest a "
            "minute after it was killed"
        )
    card = dataset.card.model_copy(update={"format_version": FORMAT_VERSION})
    dataset.store.put(CARD, card.to_json())
    return (
        f"{dataset.location}: upgraded from format {before} to {FORMAT_VERSION}; earlier versions "
        "of this program refuse it now"
    )
