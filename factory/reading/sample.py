"""One sample, as a reader gets it."""

from dataclasses import dataclass
from typing import Any

import orjson

from factory.dataset.tar import DamagedShardError
from factory.images.png import Pixels, UndecodableError, decode_png
from schemas.sample import Envelope

NO_LABELS = frozenset({"schema", *Envelope.model_fields})
"""fields of the json member that every sample has, whatever it shows"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a release."""

    key: str
    image: Pixels
    """(height, width) or (height, width, 3), uint8 or uint16 as it was stored"""
    record: dict[str, Any]
    """everything that its json member says (docs/conventions.md)"""

    @property
    def labels(self) -> dict[str, Any]:
        """The fields of the record that say what the image shows, None where that is not known."""
        return {name: value for name, value in self.record.items() if name not in NO_LABELS}


def decoded(png: bytes, json: bytes, *, where: str) -> Sample:
    """The sample that two members of a tar hold.

    Args:
        where: the place of the tar, for messages.

    Raises:
        DamagedShardError: the members are not those of a sample.
    """
    try:
        record = orjson.loads(json)
        return Sample(record["key"], decode_png(png), record)
    except (orjson.JSONDecodeError, UndecodableError, KeyError, TypeError) as error:
        raise DamagedShardError(f"{where} is damaged: {error}") from error
