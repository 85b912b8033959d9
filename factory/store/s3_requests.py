"""Requests to an S3 server, limited in number and time.

botocore's own retries are off, for two reasons. A retry that this module does not see could make a
conditional put fail with 412 because of the same put's first attempt; and botocore limits the
number of its attempts but not their total time.
"""

import io
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from botocore import exceptions as sdk

from factory.store.s3_answers import check_answer
from factory.store.s3_client import client_of_this_process
from factory.store.s3_errors import (
    SDK_ERRORS,
    RequestError,
    StoreSetupError,
    StoreUnavailableError,
    TooSlowError,
    failure_of,
)

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long an operation is tried again while the server fails."""

    connect_s: float = 10.0
    """time limit for one connection, and for the server to take the next 16 kB of an upload"""
    silence_s: float = 30.0
    """time limit between two pieces of an answer"""
    slowest_bytes_per_s: float = 200_000.0
    """a transfer that is slower than this, after `silence_s`, is stopped and tried again"""
    attempts: int = 10
    total_s: float = 120.0
    """no attempt starts later than this after the first one"""
    first_pause_s: float = 0.2
    """pause before the second attempt; it doubles with every attempt, and every pause is shortened
    at random by up to a half"""
    longest_pause_s: float = 10.0

    def transfer_s(self, num_bytes: int) -> float:
        """The time limit, in seconds, for one attempt to transfer a body."""
        return self.silence_s + num_bytes / self.slowest_bytes_per_s

    def pause_s(self, attempt: int) -> float:
        """The pause, in seconds, after an attempt; the first attempt is number 1."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1)


PATIENCE = Patience()


class _TimedBody(io.BytesIO):
    """A body that is sent piece by piece, and within a time limit.

    The SDK would hand bytes to a single `send`, to which only the limit for connecting applies.
    """

    def __init__(self, content: bytes, limit_s: float):
        super().__init__(content)
        self._limit_s = limit_s
        self._started: float | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        if now - self._started > self._limit_s:
            raise TooSlowError
        return super().read(size)


class Bucket:
    """One bucket, through the client that this process shares."""

    def __init__(self, name: str, patience: Patience):
        self.name = name
        self.patience = patience

    def client(self) -> Any:
        """The boto3 client that this process shares."""
        return client_of_this_process(self.patience.connect_s, self.patience.silence_s)

    @property
    def endpoint(self) -> str:
        """The URL of the server, without secrets."""
        return str(self.client().meta.endpoint_url)

    def request(self, operation: str, body: bytes | None = None, **given: Any) -> Any:
        """Make one request, once.

        Args:
            operation: a method of boto3's S3 client; `given` holds its arguments.
            body: the content to upload.

        Returns:
            boto3's answer, with its `Body` read into bytes.

        Raises:
            RequestError: the request failed.
        """
        client = self.client()
        if body is not None:
            given["Body"] = _TimedBody(body, self.patience.transfer_s(len(body)))
        try:
            answer = getattr(client, operation)(Bucket=self.name, **given)
            check_answer(operation, given, answer, client.meta.endpoint_url)
            if "Body" in answer:
                answer["Body"] = self._read(answer["Body"], answer["ContentLength"])
            return answer
        except SDK_ERRORS as error:
            failure = failure_of(error, client.meta.endpoint_url)
        if operation == "head_object" and failure.status in (400, 403):
            # The answer to a HEAD has no body that says why it failed; that to a GET has one.
            self.request("get_object", **given, Range="bytes=0-0")
        raise failure

    def _read(self, body: Any, length: int) -> bytes:
        started, limit_s = time.monotonic(), self.patience.transfer_s(length)
        pieces = []
        with body as stream:
            while piece := stream.read1(1 << 17):  # what has arrived, without waiting for more
                pieces.append(piece)
                if time.monotonic() - started > limit_s:
                    raise TooSlowError
        content = b"".join(pieces)
        if len(content) != length:
            raise sdk.IncompleteReadError(actual_bytes=len(content), expected_bytes=length)
        return content

    def persist(self, what: str, attempt: Callable[[], Result]) -> Result:
        """The result of an attempt, which is repeated while its failures are passing ones.

        Args:
            what: the operation and its object, for messages.

        Raises:
            StoreUnavailableError: every attempt that `Patience` allows failed.
            StoreSetupError: it cannot succeed before a person has changed something.
            RequestError: it failed for another reason.
        """
        started = time.monotonic()
        for number in range(1, self.patience.attempts + 1):
            try:
                return attempt()
            except RequestError as error:
                failure = error
            if not failure.passing:
                break
            pause_s = self.patience.pause_s(number)
            spent_s = time.monotonic() - started
            if number == self.patience.attempts or spent_s + pause_s > self.patience.total_s:
                raise StoreUnavailableError(
                    f"{what}: given up after {number} attempts in {spent_s:.1f} s, the last one: "
                    f"{failure.reason}. Run the same command again once the server answers"
                )
            log.info("%s: %s; attempt %d in %.1f s", what, failure.reason, number + 1, pause_s)
            time.sleep(pause_s)
        if failure.fix is not None:
            raise StoreSetupError(f"{what}: {failure.reason}: {failure.fix}")
        raise failure
