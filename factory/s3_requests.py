"""Requests to an S3 server: bounded in number and time, with errors that never tell a secret.

botocore's own retries are off. A retry that this module does not see could earn a conditional put
a 412 against itself, and botocore bounds the number of its attempts but not their total time.

Its exceptions stay here too: some quote the endpoint, the access key or a whole signed request.
What leaves this module is worded here, and carries no cause or context.
"""

import io
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import botocore.session
import urllib3.exceptions
from boto3.session import Session
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long an operation goes on against a server that fails."""

    connect_s: float = 10.0
    """for one connection, and for the server to take the next 16 kB of an upload"""
    silence_s: float = 30.0
    """between two pieces of an answer"""
    slowest_bytes_per_s: float = 200_000.0
    """a transfer that is slower than this, after `silence_s`, is dropped and tried again"""
    attempts: int = 10
    total_s: float = 120.0
    """no attempt starts later than this after the first"""
    first_pause_s: float = 0.2
    """before the second attempt; doubles from attempt to attempt, less up to half at random"""
    longest_pause_s: float = 10.0

    def transfer_s(self, num_bytes: int) -> float:
        """The time limit of one attempt to move a body."""
        return self.silence_s + num_bytes / self.slowest_bytes_per_s

    def pause_s(self, attempt: int) -> float:
        """The pause after an attempt, counted from 1."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (attempt - 1))
        return longest * random.uniform(0.5, 1)


PATIENCE = Patience()
MAX_CONNECTIONS = 16
"""of one process to one server"""


class StoreSetupError(PermissionError):
    """Bucket, credentials, endpoint or server cannot be used so: a person has to change it.

    A `PermissionError`, so that nobody takes it for a shard that is missing or a passing fault.
    """


class StoreUnavailableError(ConnectionError):
    """The server failed, or could not be reached, for as long as `Patience` allows."""


class TooSlowError(Exception):
    """A body moved slower than `Patience` allows."""


class _TimedBody(io.BytesIO):
    """A body that is sent piece by piece, and not for ever.

    The SDK would hand bytes to one `send`, whose time limit is then that of connecting.
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


_SDK_ERRORS = (
    sdk.ClientError,
    sdk.BotoCoreError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    TooSlowError,
    OSError,
)


class RequestError(Exception):
    """One request failed."""

    def __init__(
        self, reason: str, status: int = 0, *, passing: bool = False, fix: str | None = None
    ):
        super().__init__(reason)
        self.reason = reason
        self.status = status
        """HTTP status; 0: no answer"""
        self.passing = passing
        """trying again may help"""
        self.fix = fix
        """what a person has to do before it can succeed, where only that helps"""


_KEYS_FIX = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for this server, and check "
    "that AWS_ENDPOINT_URL names the right one"
)
_REGION_FIX = (
    "the bucket is in another region, set AWS_REGION to its; or AWS_ENDPOINT_URL should say https"
)
_RIGHTS_FIX = (
    "these credentials may not do this; allow s3:GetObject, s3:PutObject, s3:DeleteObject and "
    "s3:ListBucket (without the last, an object that is missing reads as forbidden)"
)
_SERVER_FIX = "this server lacks what a dataset needs; docs/stores.md names servers that have it"
_FIXES: dict[str | int, str] = {
    "NoSuchBucket": "there is no such bucket; make it, or correct its name or AWS_ENDPOINT_URL",
    "InvalidBucketName": "not a valid bucket name; correct the location",
    "InvalidAccessKeyId": f"the server does not know this access key; {_KEYS_FIX}",
    "SignatureDoesNotMatch": f"the secret key is not that of the access key; {_KEYS_FIX}",
    "InvalidToken": f"the session token is not valid; {_KEYS_FIX}",
    "ExpiredToken": "the session token has expired; get new credentials",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "AuthorizationHeaderMalformed": _REGION_FIX,
    301: _REGION_FIX,
    403: _RIGHTS_FIX,
    501: _SERVER_FIX,
}
"""by S3's error code, else by HTTP status"""
_PASSING_CODES = {
    *("SlowDown", "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
    *("Throttling", "ThrottlingException", "RequestLimitExceeded"),
}
_PASSING_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504}
_LOST = {
    sdk.ConnectTimeoutError: "connecting took too long",
    sdk.EndpointConnectionError: "cannot connect",
    sdk.ProxyConnectionError: "cannot connect to the HTTP proxy",
    sdk.ReadTimeoutError: "no answer in time",
    sdk.ConnectionClosedError: "the connection was closed without an answer",
    sdk.IncompleteReadError: "the answer was cut short",
    sdk.ResponseStreamingError: "the answer was cut short",
    ResponseParserError: "the answer was not S3's",
    urllib3.exceptions.TimeoutError: "the answer stopped",
    urllib3.exceptions.ProtocolError: "the answer was cut short",
    TooSlowError: "slower than a transfer may be",
}
"""failures of one connection, to be tried again"""


def _failure_of(error: Exception, endpoint: str) -> RequestError:
    """What an exception of the SDK means, in words of our own.

    Args:
        endpoint: the server's URL, without secrets.
    """
    if isinstance(error, sdk.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))  # some put anything there
        code = code if re.fullmatch("[A-Z][A-Za-z]*[a-z][A-Za-z0-9]*", code) else ""
        unexplained = status == 400 and not code  # to a HEAD
        passing = code in _PASSING_CODES or status in _PASSING_STATUSES or unexplained
        fix = None if passing else _FIXES.get(code) or _FIXES.get(status)
        return RequestError(f"HTTP {status} {code}".rstrip(), status, passing=passing, fix=fix)
    if isinstance(error, sdk.SSLError):
        fix = "its certificate is not trusted here; set AWS_CA_BUNDLE to its authority's"
        return RequestError("TLS failed", fix=fix)
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
        return RequestError("no credentials, or half of them", fix=_KEYS_FIX)
    if isinstance(error, sdk.ParamValidationError):
        return RequestError("refused by the SDK", fix="not a valid bucket or object name")
    inner = error.kwargs.get("error") if isinstance(error, sdk.HTTPClientError) else None
    for kind, reason in _LOST.items():
        if isinstance(error, kind) or isinstance(inner, kind):
            return RequestError(f"{reason} ({endpoint})", passing=True)
    name = type(error).__name__
    if isinstance(error, sdk.HTTPClientError | urllib3.exceptions.HTTPError | OSError):
        return RequestError(name, passing=True)
    return RequestError(name, fix="the AWS configuration does not work; `aws sts` tells more")


class Bucket:
    """One bucket, through the client that this process shares."""

    def __init__(self, name: str, patience: Patience):
        self.name = name
        self.patience = patience

    def request(self, operation: str, body: bytes | None = None, **given: Any) -> Any:
        """One request, tried once.

        Args:
            operation: a method of boto3's S3 client, with its arguments in `given`.
            body: what to upload.

        Returns:
            What boto3 answers, its `Body` read into bytes.

        Raises:
            RequestError: it failed.
        """
        client = client_of_this_process(self.patience)
        if body is not None:
            given["Body"] = _TimedBody(body, self.patience.transfer_s(len(body)))
        try:
            answer = getattr(client, operation)(Bucket=self.name, **given)
            if "Body" in answer:
                answer["Body"] = self._read(answer["Body"], answer["ContentLength"])
            return answer
        except _SDK_ERRORS as error:
            failure = _failure_of(error, client.meta.endpoint_url)
        if operation == "head_object" and failure.status in (400, 403):
            # The answer to a HEAD has no body that says why: ask in a way that has one.
            self.request("get_object", **given, Range="bytes=0-0")
        raise failure

    def _read(self, body: Any, length: int) -> bytes:
        started, limit_s = time.monotonic(), self.patience.transfer_s(length)
        pieces = []
        with body as stream:
            while piece := stream.read1(1 << 17):  # what has come: never waits for more than that
                pieces.append(piece)
                if time.monotonic() - started > limit_s:
                    raise TooSlowError
        content = b"".join(pieces)
        if len(content) != length:
            raise sdk.IncompleteReadError(actual_bytes=len(content), expected_bytes=length)
        return content

    def persist(self, what: str, attempt: Callable[[], Result]) -> Result:
        """The result of an attempt, tried again while its failures are passing ones.

        Args:
            what: the operation and its object, for messages.

        Raises:
            StoreUnavailableError: it failed until patience ran out.
            StoreSetupError: it cannot succeed before a person has changed something.
            RequestError: it failed otherwise.
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
                    f"{failure.reason}. The same command goes on once the server answers"
                )
            log.info("%s: %s; attempt %d in %.1f s", what, failure.reason, number + 1, pause_s)
            time.sleep(pause_s)
        if failure.fix is not None:
            raise StoreSetupError(f"{what}: {failure.reason}: {failure.fix}")
        raise failure


class _Clients:
    """The clients of this process, one for each AWS environment that it has seen."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A forked process shares no connection with its parent, nor a lock that a thread held."""
        self._made: dict[tuple[Patience, int], Any] = {}
        self._lock = threading.Lock()

    def get(self, patience: Patience) -> Any:
        variables = frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))
        key = patience, hash(variables)
        with self._lock:
            if key not in self._made:
                self._made[key] = _make_client(patience)
            return self._made[key]


_clients = _Clients()
os.register_at_fork(after_in_child=_clients.forget)


def client_of_this_process(patience: Patience) -> Any:
    """The boto3 client for the present AWS environment: a thread-safe one for all stores.

    It takes a tenth of a second to make, and a store is made anew for every piece of work that
    is sent to a worker.

    Raises:
        StoreSetupError: the AWS environment or profile makes no sense.
    """
    return _clients.get(patience)


def _make_client(patience: Patience) -> Any:
    # At DEBUG, botocore logs session tokens and signatures; at INFO, where it found the keys.
    for chatty in ("botocore", "boto3", "urllib3"):
        if logging.getLogger(chatty).level == logging.NOTSET:
            logging.getLogger(chatty).setLevel(logging.WARNING)
    problem = None
    try:
        session = Session(botocore_session=_sdk_session())
        client = session.client("s3", config=_config(patience))
        if not client.meta.endpoint_url.endswith(("amazonaws.com", "amazonaws.com.cn")):
            problem = _problem_of(client.meta.endpoint_url)
            if "addressing_style" not in (getattr(client.meta.config, "s3", None) or {}):
                by_path = Config(s3={"addressing_style": "path"})
                client = session.client("s3", config=_config(patience).merge(by_path))
        client.meta.events.register_first("needs-retry.s3.HeadBucket", _stop_blind_redirect)
    except sdk.BotoCoreError as error:
        problem = f"the AWS configuration does not work ({type(error).__name__})"
    except ValueError:
        problem = _problem_of("")
    if problem is not None:
        raise StoreSetupError(
            f"S3: {problem}; see AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_PROFILE and ~/.aws"
        )
    return client


def _sdk_session() -> botocore.session.Session:
    """botocore's session, with a parser of times that makes listings five times as fast."""
    session = botocore.session.get_session()
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_parse_time)
    return session


def _parse_time(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # of a header, not of a listing
        return parse_timestamp(value)


def _stop_blind_redirect(response: Any, **_: object) -> None:
    """botocore asks where a bucket is that it was redirected from, and so on without an end."""
    if response is None:
        return
    headers = {name.lower() for name in response[0].headers}
    if response[0].status_code in (301, 302, 307) and "x-amz-bucket-region" not in headers:
        raise RequestError("redirected", response[0].status_code, fix=_REGION_FIX)


def _config(patience: Patience) -> Config:
    return Config(
        connect_timeout=patience.connect_s,
        read_timeout=patience.silence_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=MAX_CONNECTIONS,
        # Servers older than the SDK take its newer checksums for part of the object.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _problem_of(endpoint: str) -> str | None:
    """What is wrong with the URL of an endpoint."""
    url = urlsplit(endpoint)
    if "@" in url.netloc or url.query:
        return (
            "the endpoint URL holds a user name, password or query, which S3 has no use for: give "
            "it as http://host:port, and the keys by themselves"
        )
    if url.scheme not in ("http", "https") or not url.hostname:
        return "the endpoint is not a URL like http://host:port"
    return None
