"""A release of a dataset: what it is going to hold, and what it holds."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, StringConstraints, model_validator

from schemas.base import FORMAT_VERSION, Model, Sha256, Split, Versioned
from schemas.dataset import DatasetCard

LATEST = "latest"
"""in place of a release's name: the one that `releases/latest.json` names"""
LATEST_FILE, NOTHING_NEWER_FILE = f"{LATEST}.json", "nothing-newer.json"
"""in the folder of all releases"""
ReleaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


def _is_free(name: str) -> str:
    if name in (LATEST, LATEST_FILE, NOTHING_NEWER_FILE):
        raise ValueError(
            f"no release is named {name}: releases/{LATEST_FILE} says which release is the latest; "
            "choose another name"
        )
    return name


NewReleaseName = Annotated[ReleaseName, AfterValidator(_is_free)]
"""of a release that is to be made. Earlier versions may have made one that is named `latest`"""


class ReleasedShard(Model):
    """One shard of a release."""

    shard: int
    url: str
    """relative to the release folder"""
    rewritten_from: Sha256 | None = None
    """of the dataset's shard, where newer samples of the release supersede some of it: then the
    release has a tar of its own of the others; None where it names the dataset's"""
    sha256: Sha256
    size: int
    """bytes"""
    num_samples: int
    split: Split


class ReleaseIntent(Versioned):
    """`releases/<name>/intent.json`, written first: from then on nothing removes the tars that the
    release is going to name."""

    release: ReleaseName
    report: Sha256
    """of the passing report.json"""
    report_id: str
    shards: tuple[ReleasedShard, ...]


class IndexPart(Model):
    """One of the Parquet files that together are the index of a release."""

    url: str
    """relative to the release folder"""
    sha256: Sha256
    num_samples: int


class ReleaseManifest(Versioned):
    """`releases/<name>/manifest.json`, written last: the release exists once it does."""

    format_version: int = FORMAT_VERSION
    release: ReleaseName
    dataset: DatasetCard
    report: Sha256
    """of the passing report.json"""
    report_id: str
    gate: Sha256
    index_parts: tuple[IndexPart, ...]
    """the rows of all samples, in order of shard"""
    num_samples: int
    splits: dict[Split, int]
    """samples in each split"""
    shards: tuple[ReleasedShard, ...]

    @model_validator(mode="before")
    @classmethod
    def _with_one_index(cls, content: Any) -> Any:
        """Earlier manifests name the digest of one index.parquet."""
        if isinstance(content, dict) and "index" in content and "index_parts" not in content:
            fields = {name: value for name, value in content.items() if name != "index"}
            index = {"sha256": content["index"], "num_samples": content.get("num_samples")}
            return fields | {"index_parts": [index | {"url": "index.parquet"}]}
        return content


class DroppedRelease(Versioned):
    """`releases/<name>/manifest.json` of a release that was dropped before it was finished, or
    expired. It keeps the name, so that no publish which is still at work can finish it."""

    dropped: Literal[True] = True
    why: Annotated[str, StringConstraints(max_length=300)]


MAX_DROPPED_BYTES = 512
"""no manifest is so small"""


class LatestRelease(Versioned):
    """`releases/latest.json`: the release that was published last, which readers of
    `releases/latest` get. It is replaced after the manifest of that release was written."""

    release: ReleaseName
    manifest: Sha256
    """of the manifest.json of the release, which has the digests of all that the release holds"""
    dataset: str | None = None
    """where the filtered dataset is that has the release: `../NAME` beside this dataset, else its
    location; None where this dataset itself has it"""
    published: str
    """when it became the latest: UTC, ISO 8601"""


class NothingNewer(Versioned):
    """`releases/nothing-newer.json`: when a night last found nothing new to release. It is a file
    of its own, so that nobody who publishes meanwhile has the pointer written back under them."""

    at: str
    """UTC, ISO 8601"""
