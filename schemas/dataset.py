"""The dataset card, the plan of a shard, its rejected inputs, and the facts of a listing."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

import orjson
from pydantic import Field, JsonValue, model_validator

from schemas.base import FORMAT_VERSION, Float, Model, Sha256, Split, Versioned, digest_of

DatasetKind = Literal["synthetic", "real", "refined"]
BYTES_FULL_SCALE = 255.0
"""the pixel value of 8-bit images that becomes 1 in the networks"""


class ImageSpec(Model):
    """The one image layout of a dataset."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    channels: Literal[1, 3] = 1
    bits: Literal[8, 16] = 8


class ParentRef(Model):
    """The dataset that this one was made from."""

    location: str
    """where it lay when this dataset was made; not compared, because a dataset may move"""
    card: Sha256
    """digest of what the parent's card says about its content"""


class ChildRef(Versioned):
    """`children/<number>.json`: a dataset that was made from this one."""

    location: str
    card: Sha256
    """digest of the child's card"""


class RefinerRef(Model):
    """The refiner that made a refined dataset."""

    sha256: Sha256
    """of refiner.safetensors"""
    config: Sha256
    """digest of refiner.json"""


class FilteredBy(Model):
    """The verdicts by which a filtered dataset holds some samples of its parent and not others."""

    parent: Sha256
    """digest of the parent's configuration"""
    report: str
    """id of the parent's report that judged every sample"""
    verdicts: Sha256
    """sha256 of that report's verdicts.parquet"""


class DatasetCard(Versioned):
    """`dataset.json`: what a dataset is. Written once, compared on every entry."""

    format_version: int = Field(default=FORMAT_VERSION, ge=1)
    name: str
    kind: DatasetKind
    domain: str
    labelled: bool
    image: ImageSpec
    shard_size: int = Field(gt=0)
    """samples planned into one shard"""
    splits: dict[Split, Float] = Field(default={"train": 1.0})
    """share of identities in each split, summing to 1"""
    parent: ParentRef | None = None
    refiner: RefinerRef | None = None
    config: dict[str, JsonValue]
    """everything that decides content, and nothing else (no workers, paths or log levels)"""
    config_digest: Sha256

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetCard":
        if abs(sum(self.splits.values()) - 1) > 1e-6 or min(self.splits.values()) <= 0:
            raise ValueError(f"splits must be positive and sum to 1, are {self.splits}")
        if (self.kind == "refined") != (self.refiner is not None and self.parent is not None):
            raise ValueError(
                "a dataset has a parent and a refiner if its kind is refined, and neither of them "
                f"otherwise; this one is {self.kind}, parent {self.parent}, refiner {self.refiner}"
            )
        if self.kept is not None and self.kind != "refined":
            raise ValueError(
                f"a {self.kind} dataset cannot hold filtered samples, only a refined one can"
            )
        return self

    @property
    def kept(self) -> FilteredBy | None:
        """The verdicts by which it was filtered; None for a dataset that was not filtered.

        A filtered dataset holds samples of a refined one, its parent, byte for byte.
        """
        content = self.config.get("kept")
        return None if content is None else FilteredBy.model_validate(content)

    def identity(self) -> dict[str, JsonValue]:
        """What two cards of one dataset must agree on: everything but name, locations and format.

        It says format 1 for every format, so that digests that were recorded before a dataset was
        upgraded stay right.
        """
        content = self.model_dump(mode="json", exclude={"name": True, "parent": {"location"}})
        return content | {"format_version": 1}

    def digest(self) -> str:
        """sha256 of `identity()`."""
        return digest_of(self.identity())


class InputFacts(Model):
    """One input as its listing shows it, without opening it."""

    id: str
    size: int = Field(ge=0)
    """bytes of the image and its label together"""
    mtime_ns: int
    """the later modification time of image and label (of the members, inside an archive)"""
    etag: str | None = None
    """digests of the files where the listing has them (of an object store, or the CRC in a zip).
    Two versions that both have one are compared by it, others by time"""
    suffixes: str | None = None
    """suffixes of the input's files, e.g. `.jpg .json`: `id` followed by one is a file's name; None
    where the names have to be looked up"""


class PlannedInput(InputFacts):
    """An input with its place: position k in `inputs` is index k of the shard's keys."""

    identity: str | None = None
    """only where the card splits by identity"""
    supersedes: str | None = None
    """key of the sample that was made of an older version of this input"""


class ShardPlan(Versioned):
    """`plan/000000.json`: what a shard will hold, decided before it is built."""

    shard: int = Field(ge=0)
    split: Split
    source: str
    location: str | None = None
    """where the inputs lay when they were planned; null in plans of older writers"""
    inputs: tuple[PlannedInput, ...]

    def to_json(self) -> bytes:
        rows = (planned.model_dump(mode="json") for planned in self.inputs)
        return plan_json(self.shard, self.split, self.source, self.location, rows)


def plan_json(
    shard: int, split: str, source: str, location: str | None, inputs: Iterable[Mapping[str, Any]]
) -> bytes:
    """A `ShardPlan` as JSON, one input a line, without what is null.

    Plans are the only JSON that grows with the number of inputs: 100 bytes for each.
    """
    lines = b",\n".join(
        orjson.dumps({name: value for name, value in row.items() if value is not None})
        for row in inputs
    )
    return plan_of_lines(shard, split, source, location, lines)


def plan_of_lines(shard: int, split: str, source: str, location: str | None, lines: bytes) -> bytes:
    """The same, of inputs that are JSON already, one a line, with commas between them."""
    head = {"format_version": 1, "shard": shard, "split": split, "source": source}
    if location is not None:
        head["location"] = location
    return orjson.dumps(head)[:-1] + b',"inputs":[\n' + lines + b"\n]}\n"


RejectKind = Literal["reject", "filtered"]


class Reject(Model):
    """An input that did not become a sample."""

    key: str
    source_id: str
    kind: RejectKind
    """`reject`: malformed; `filtered`: left out on purpose"""
    reason: str
    image_sha256: Sha256 | None = None
    """of the image bytes as they lay in the source; null where they could not be read"""
    label_sha256: Sha256 | None = None
    """of the label bytes as they lay in the source; null where there are none"""


_RUN_TIME = "%Y%m%dT%H%M%SZ"
_RUN_ID = re.compile(r"(\d{8}T\d{6}Z)-([a-z]+)-([0-9a-f]{4})")


class RunId(NamedTuple):
    """The name of the folder of one job run; names sort by time."""

    started: datetime
    """UTC"""
    job: str
    """its command, e.g. `refine`"""
    number: str
    """four random hexadecimal digits"""

    def __str__(self) -> str:
        return f"{self.started:{_RUN_TIME}}-{self.job}-{self.number}"

    @classmethod
    def of(cls, name: str) -> Self | None:
        """What the name of a folder says; None for one that is not the name of a run."""
        match = _RUN_ID.fullmatch(name)
        if match is None:
            return None
        return cls(datetime.strptime(match[1], _RUN_TIME).replace(tzinfo=UTC), match[2], match[3])


class RunRecord(Versioned):
    """`runs/<id>/config.json`: the resolved configuration of one job run."""

    job: str
    started: str
    """UTC, ISO 8601"""
    version: str
    config: dict[str, JsonValue]
