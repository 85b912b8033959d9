"""`export.json` of a folder that holds a release for other tools."""

from typing import Annotated

from pydantic import StringConstraints

from schemas.base import Model, Sha256, Split, Versioned
from schemas.release import ReleaseName

Licence = Annotated[str, StringConstraints(pattern=r"^[^\r\n]+$", max_length=200)]
"""a name such as CC-BY-4.0, or a sentence"""


class ExportedShard(Model):
    """One tar of an export."""

    tar: str
    """its name in the folder"""
    index: str
    """name of the Parquet file with its rows"""
    split: Split
    num_samples: int
    size: int
    """bytes of the tar"""
    sha256: Sha256
    """of the tar"""
    from_shard: int
    """number of the shard in the dataset"""
    from_sha256: Sha256
    """of the tar that the release names"""


class ExportManifest(Versioned):
    """What was exported; a folder with this file is a whole export."""

    release: ReleaseName
    dataset: str
    """name of the dataset"""
    manifest: Sha256
    """of the release's manifest.json"""
    licence: Licence | None
    """None where none was stated"""
    writer: str
    num_samples: int
    shards: tuple[ExportedShard, ...]
