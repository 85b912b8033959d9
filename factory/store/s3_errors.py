"""Errors of S3 requests, with messages that never contain a secret.

Some of the SDK's exceptions quote the endpoint, the access key or a whole signed request. So they
do not leave the module that makes the requests; the exceptions that are raised in their place
carry no cause or context.
"""

import re

import urllib3.exceptions
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError


class StoreSetupError(PermissionError):
    """A person has to change bucket, credentials, endpoint or server before requests can succeed.

    It is a `PermissionError`, so that no caller takes it for a missing shard or a passing fault.
    """


class StoreUnavailableError(ConnectionError):
    """The server failed, or could not be reached, for longer than `Patience` allows."""


class TooSlowError(Exception):
    """A body was transferred more slowly than `Patience` allows."""


SDK_ERRORS = (
    sdk.ClientError,
    sdk.BotoCoreError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    TooSlowError,
    OSError,
    ValueError,
)
"""everything that a request of the SDK may raise"""


class RequestError(Exception):
    """One request failed."""

    def __init__(
        self, reason: str, status: int = 0, *, passing: bool = False, fix: str | None = None
    ):
        super().__init__(reason)
        self.reason = reason
        self.status = status
        """HTTP status; 0 where there was no answer"""
        self.passing = passing
        """whether trying again may help"""
        self.fix = fix
        """what a person has to do before it can succeed; None where that is unknown"""


_KEYS_FIX = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for this server (on every "
    "node of a cluster, before `ray start`), and check that AWS_ENDPOINT_URL names the right server"
)
REGION_FIX = (
    "the bucket is in another region: set AWS_REGION to it; or AWS_ENDPOINT_URL must use https"
)
_RIGHTS_FIX = (
    "these credentials do not permit this; allow s3:GetObject, s3:PutObject, s3:DeleteObject and "
    "s3:ListBucket (without the last, an object that is missing reads as forbidden)"
)
_SERVER_FIX = "this server lacks what a dataset needs; docs/stores.md names suitable servers"
NOT_S3_FIX = (
    "that is no answer of S3; check AWS_ENDPOINT_URL, and whether a proxy or a login page answers "
    "in the server's place; docs/stores.md names suitable servers"
)
_FIXES: dict[str | int, str] = {
    "NoSuchBucket": "there is no such bucket; create it, or correct its name or AWS_ENDPOINT_URL",
    "InvalidBucketName": "not a valid bucket name; correct the location",
    "InvalidAccessKeyId": f"the server does not know this access key; {_KEYS_FIX}",
    "SignatureDoesNotMatch": f"the secret key is not that of the access key; {_KEYS_FIX}",
    "InvalidToken": f"the session token is not valid; {_KEYS_FIX}",
    "ExpiredToken": "the session token has expired; get new credentials",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
    "AuthorizationHeaderMalformed": REGION_FIX,
    301: REGION_FIX,
    403: _RIGHTS_FIX,
    501: _SERVER_FIX,
}
"""by S3's error code, else by HTTP status"""
_PASSING_CODES = {
    *("SlowDown", "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),
    *("Throttling", "ThrottlingException", "RequestLimitExceeded"),
}
_PASSING_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504}
_NO_S3 = (
    "an answer that is not in the form of S3, perhaps a web page: does AWS_ENDPOINT_URL name the "
    "right server?"
)
_LOST = {
    sdk.ConnectTimeoutError: "connecting took too long",
    sdk.EndpointConnectionError: "cannot connect",
    sdk.ProxyConnectionError: "cannot connect to the HTTP proxy",
    sdk.ReadTimeoutError: "no answer in time",
    sdk.ConnectionClosedError: "the connection was closed without an answer",
    sdk.IncompleteReadError: "the answer was cut short",
    sdk.ResponseStreamingError: "the answer was cut short",
    ResponseParserError: _NO_S3,
    urllib3.exceptions.TimeoutError: "the answer stopped",
    urllib3.exceptions.ProtocolError: "the answer was cut short",
    TooSlowError: "the transfer was slower than is allowed",
}
"""failures of one connection, after which a request is tried again"""


def failure_of(error: Exception, endpoint: str) -> RequestError:
    """The `RequestError` for an exception of the SDK.

    Args:
        endpoint: the server's URL, without secrets.
    """
    if isinstance(error, sdk.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))  # may hold any text
        code = code if re.fullmatch("[A-Z][A-Za-z]*[a-z][A-Za-z0-9]*", code) else ""
        unexplained = status == 400 and not code  # as the answer to a HEAD, which has no body
        passing = code in _PASSING_CODES or status in _PASSING_STATUSES or unexplained
        fix = None if passing else _FIXES.get(code) or _FIXES.get(status)
        reason = f"HTTP {status} {code}".rstrip()
        if (status, code) == (500, ""):  # what the SDK makes of a body that is no XML, too
            reason += f" without a code of S3, or {_NO_S3} ({endpoint})"
        return RequestError(reason, status, passing=passing, fix=fix)
    if isinstance(error, sdk.SSLError):
        fix = "the server's certificate is not trusted here; set AWS_CA_BUNDLE to its authority's"
        return RequestError("TLS failed", fix=fix)
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
        return RequestError("no credentials, or only a part of them", fix=_KEYS_FIX)
    if isinstance(error, sdk.ParamValidationError | UnicodeError):
        fix = "the name of the bucket or object is not valid; correct it"
        return RequestError("refused by the SDK", fix=fix)
    inner = error.kwargs.get("error") if isinstance(error, sdk.HTTPClientError) else None
    for kind, reason in _LOST.items():
        if isinstance(error, kind) or isinstance(inner, kind):
            return RequestError(f"{reason} ({endpoint})", passing=True)
    # One that is not the SDK's own comes from its parsers of numbers and times.
    if isinstance(error, ValueError) and not isinstance(error, sdk.BotoCoreError):
        return RequestError(f"{endpoint} answered with values of no known form", fix=NOT_S3_FIX)
    name = type(error).__name__
    if isinstance(error, sdk.HTTPClientError | urllib3.exceptions.HTTPError | OSError):
        return RequestError(name, passing=True)
    fix = "the AWS configuration does not work; `aws sts get-caller-identity` may say more"
    return RequestError(name, fix=fix)
