"""The json member of a sample: a promise to outside readers."""

from pydantic import JsonValue

from schemas.base import Key, Model, Sha256, Split, Vector


class SourceRef(Model):
    """Where a sample came from."""

    name: str
    """the source that read it: unityeyes, mpiigaze, images, screen-targets, iris-masks, nyu"""
    id: str
    """its name inside that source, e.g. `imgs/18`"""
    image_sha256: Sha256
    """of the image bytes as they lay in the source"""
    label_sha256: Sha256 | None
    """of the label bytes as they lay in the source; null for eyes of which nothing is known. Of a
    hand, also an unlabelled one: of what says where it is in the picture"""


class Made(Model):
    """Which ingest wrote a sample."""

    config: Sha256
    writer: str


class Refined(Model):
    """Which refiner changed a sample, and which shard it read."""

    refiner: Sha256
    parent: Sha256
    """sha256 of the parent shard's tar"""


class Envelope(Model):
    """What every sample carries, labelled or not."""

    key: Key
    source: SourceRef
    identity: str | None
    """skin texture, person or subject; all renders of one identity share a split"""
    split: Split
    crop_affine: tuple[Vector, Vector]
    """maps source pixels (x, y, 1), y down, to crop pixels"""
    extra: dict[str, JsonValue]
    """fields of the source, kept as they came"""
    made: Made
    refined: Refined | None = None
    """absent from datasets that were not refined"""
