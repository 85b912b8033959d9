"""Datasets in an object store that speaks S3.

`put_new` is a conditional PutObject in one part, because some servers ignore the condition when a
multipart upload is completed. Each put carries a unique token as metadata. Thus one can see which
put holds a name even where the answer to that put was lost.
"""

import errno
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from factory.store import s3_requests
from factory.store.base import Entry
from factory.store.s3_answers import after_page
from factory.store.s3_errors import NOT_S3_FIX, RequestError, StoreSetupError
from factory.store.s3_requests import Bucket

Result = TypeVar("Result")
LARGEST_PUT_BYTES = 5 * 1024**3
"""the largest object that S3 takes in one part"""
_TOKEN = "writer-token"  # sent as x-amz-meta-writer-token
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PROBE_BYTES = 1 << 18
"""bytes of the largest put that is repeated to check that the server refuses it"""
_proven: set[tuple[int, str]] = set()
"""(id of the client, bucket) for which the server was seen to honour If-None-Match"""


class EmptyRangeError(OSError):
    """The object has no byte in the requested range."""


def split_location(location: str) -> tuple[str, str]:
    """The bucket and prefix of `s3://bucket/prefix`.

    Raises:
        ValueError: the location is not of that form. The message quotes no part of it that may be
            a secret.
    """
    rest = location.removeprefix("s3://").rstrip("/")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket:
        raise ValueError(
            "s3://…@…: keys do not belong into a location; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if "?" in rest or "#" in rest:
        shown = re.split("[?#]", location)[0]
        raise ValueError(f"{shown}?…: a location is s3://bucket/prefix, without ? or #")
    if ":" in bucket:
        raise ValueError(
            f"{location}: a location names a bucket, not a server; set "
            "AWS_ENDPOINT_URL=http://host:port to name the server"
        )
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,255}", bucket):
        raise ValueError(f"{location}: {bucket!r} is not the name of a bucket")
    if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
        raise ValueError(f"{location}: the prefix has an empty part, a . or a .. in it")
    return bucket, prefix


class S3Store:
    """Objects below `s3://bucket/prefix`, with the AWS environment of the process that uses it."""

    def __init__(self, location: str):
        bucket, prefix = split_location(location)
        self.location = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._below = f"{prefix}/" if prefix else ""
        self._bucket = Bucket(bucket, s3_requests.PATIENCE)

    def __repr__(self) -> str:
        return f"S3Store({self.location!r})"

    def read(self, name: str) -> bytes:
        content: bytes = self._request("get_object", name)["Body"]
        return content

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        last = offset + length - 1
        content: bytes = self._request("get_object", name, Range=f"bytes={offset}-{last}")["Body"]
        if len(content) != length:
            end = offset + len(content)
            raise OSError(errno.EIO, f"ends at byte {end}", f"{self.location}/{name}")
        return content

    def read_tail(self, name: str, length: int) -> bytes:
        try:
            content: bytes = self._request("get_object", name, Range=f"bytes=-{length}")["Body"]
        except EmptyRangeError:  # the object is empty
            return b""
        return content

    def size(self, name: str) -> int | None:
        try:
            return int(self._request("head_object", name)["ContentLength"])
        except FileNotFoundError:
            return None

    def entries(self, prefix: str) -> Iterator[Entry]:
        for page in self._pages(prefix, Delimiter="/"):
            yield from self._entries_of(page)

    def walk(self, prefix: str = "") -> Iterator[Entry]:
        for page in self._pages(prefix):
            yield from self._entries_of(page)

    def folders(self, prefix: str) -> list[str]:
        return [
            folder["Prefix"].rstrip("/").rpartition("/")[2]
            for page in self._pages(prefix, Delimiter="/")
            for folder in page.get("CommonPrefixes", ())
        ]

    def put_new(self, name: str, content: bytes) -> None:
        self._check_length(name, content)
        token, key = uuid.uuid4().hex, self._below + name
        given = {"Key": key, "IfNoneMatch": "*", "Metadata": {_TOKEN: token}}
        in_doubt = False

        def attempt() -> None:
            nonlocal in_doubt
            if in_doubt and self._is_own(name, token):
                return
            try:
                self._bucket.request("put_object", content, **given)
            except RequestError as error:
                in_doubt = True
                if error.status != 412:
                    raise
                failure = RequestError("HTTP 412 for a name that nobody holds", passing=True)
            else:
                return
            # This can be our own object even on the first attempt: a proxy may repeat a request.
            if not self._is_own(name, token):
                raise failure

        self._persist("put_object (new)", name, attempt)
        self._prove_exclusive(name, content, given)

    def put(self, name: str, content: bytes, *, durable: bool = True) -> None:
        self._check_length(name, content)
        self._request("put_object", name, body=content)

    def delete(self, name: str) -> None:
        self._request("delete_object", name)

    def _is_own(self, name: str, token: str) -> bool:
        """Whether the put that carried this token holds a name; False while nobody holds it.

        Raises:
            FileExistsError: another put holds it.
        """
        try:
            head = self._bucket.request("head_object", Key=self._below + name)
        except RequestError as error:
            if error.status != 404:
                raise
            return False
        if head.get("Metadata", {}).get(_TOKEN) == token:
            return True
        raise FileExistsError(errno.EEXIST, "the name is taken", f"{self.location}/{name}")

    def _prove_exclusive(self, name: str, content: bytes, given: dict[str, Any]) -> None:
        """Once per process, repeat a small put that succeeded: the server now has to refuse it.

        Raises:
            StoreSetupError: it succeeds again, so racing writers would overwrite each other.
        """
        bucket = self._bucket
        pair = id(bucket.client()), bucket.name
        if pair in _proven or len(content) > PROBE_BYTES:
            return
        try:
            bucket.request("put_object", content, **given)
        except RequestError as error:
            if error.status == 412:
                _proven.add(pair)
            return  # after another failure, the next small put repeats this check
        raise StoreSetupError(
            f"{self.location}/{name}: this server ignores If-None-Match, so two writers would "
            "overwrite each other's shards; docs/stores.md names servers that honour it"
        )

    def _check_length(self, name: str, content: bytes) -> None:
        if len(content) > LARGEST_PUT_BYTES:
            raise ValueError(
                f"{self.location}/{name}: {len(content)} bytes, but S3 takes at most "
                f"{LARGEST_PUT_BYTES} in one part; choose a smaller --shard-size"
            )

    def _pages(self, prefix: str, **given: Any) -> Iterator[dict[str, Any]]:
        given["Prefix"] = f"{self._below}{prefix}/" if prefix else self._below
        operation = "list_objects_v2"
        while True:
            attempt = partial(self._bucket.request, operation, **given)
            page = self._persist(operation, prefix, attempt)
            yield page
            if not page["IsTruncated"]:
                return
            before, (operation, given) = given, after_page(page, given)
            if given == before:
                raise StoreSetupError(
                    f"{self.location}/{prefix}: {operation}: {self._bucket.endpoint} says that the "
                    f"listing goes on, and repeats itself: {NOT_S3_FIX}"
                )

    def _entries_of(self, page: dict[str, Any]) -> Iterator[Entry]:
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):  # some tools write such an object for a folder
                yield Entry(
                    item["Key"][len(self._below) :],
                    item["Size"],
                    (item["LastModified"] - _EPOCH) // timedelta(microseconds=1) * 1000,
                    item["ETag"].strip('"'),
                )

    def _request(self, operation: str, name: str, body: bytes | None = None, **given: Any) -> Any:
        given["Key"] = self._below + name
        attempt = lambda: self._bucket.request(operation, body, **given)  # noqa: E731
        return self._persist(operation, name, attempt)

    def _persist(self, what: str, name: str, attempt: Callable[[], Result]) -> Result:
        where = f"{self.location}/{name}"
        try:
            return self._bucket.persist(f"{where}: {what}", attempt)
        except RequestError as error:
            failure = error
        if failure.status == 404:
            raise FileNotFoundError(errno.ENOENT, "no such object", where)
        if failure.status == 416:
            raise EmptyRangeError(errno.EIO, "ends before the requested range", where)
        raise OSError(errno.EIO, f"{what} failed: {failure.reason}", where)
