"""The store that a location names, and other facts about locations."""

import os
import re
from pathlib import Path

from factory.store.base import Store
from factory.store.extras import require
from factory.store.local import LocalStore

_RAY_PACKAGES = "working_dir_files"
"""the folder of a node's `--working-dir`s, each unpacked into a folder of its own"""


def open_store(location: str | Path) -> Store:
    """The store at a location: a folder, or `s3://bucket/prefix`.

    Nothing is read, so a location can be checked before anything else is done.

    Raises:
        ValueError: the location is neither a path nor a URL of a supported kind, or it would not
            outlast the job.
        MissingExtraError: the location is in an object store, and boto3 is not installed.
    """
    if not is_remote(location):
        require_lasting(Path(location))
        return LocalStore(Path(location))
    require("boto3", "a location at s3://")
    from factory.store.s3 import S3Store

    return S3Store(str(location))


def require_lasting(path: Path) -> None:
    """Refuse a relative path in the folder into which Ray has unpacked a submitted job.

    Ray removes that folder some time after the job, with all that was written into it.

    Raises:
        ValueError: the path is one.
    """
    if not path.is_absolute() and _RAY_PACKAGES in Path.cwd().parts:
        raise ValueError(
            f"{path} is relative to {Path.cwd()}, a copy of the working directory that Ray made "
            "for this job and removes later; give an absolute path that all nodes reach, or "
            "s3://bucket/prefix"
        )


def is_remote(location: str | Path) -> bool:
    """Whether a location lies in an object store.

    Raises:
        ValueError: the location is neither a path nor `s3://bucket/prefix`.
    """
    text = str(location)
    scheme, separator, rest = text.partition("://")
    if not separator:
        if text.startswith("s3:"):
            raise ValueError(f"{text}: an S3 location is s3://bucket/prefix, with two slashes")
        return False
    if scheme != "s3":
        host = re.split("[/?#]", rest)[0].rpartition("@")[2]
        raise ValueError(
            f"{scheme}://{host}…: {scheme}:// is not supported; give a local path or "
            "s3://bucket/prefix"
        )
    return True


def absolute(location: str | Path) -> str:
    """The location as an absolute path or S3 URL, which means the same in every process."""
    return open_store(location).location


def real_place(location: str | Path) -> str:
    """The location without symbolic links: two ways to name one folder give the same result."""
    return absolute(location) if is_remote(location) else os.path.realpath(location)


def name_of(location: str | Path) -> str:
    """The last part of a location, which serves as the name of what lies there."""
    return absolute(location).rpartition("/")[2]
