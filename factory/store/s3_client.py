"""The boto3 client of a process, made for the AWS variables of its environment."""

import logging
import os
import threading
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from boto3.session import Session
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.utils import parse_timestamp

from factory.store.s3_answers import refuse_page
from factory.store.s3_errors import REGION_FIX, RequestError, StoreSetupError

MAX_CONNECTIONS = 16
"""connections of one process to one server"""
_ANSWERED_IN_XML = "ListObjectsV2", "ListObjects", "PutObject", "DeleteObject"
"""the operations whose answers botocore parses, or expects to be empty"""


class _Clients:
    """The clients of this process, one for each AWS environment that it has seen."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start with no clients, as a forked process does.

        It must not use its parent's connections, nor a lock that a thread of its parent held.
        """
        self._made: dict[tuple[float, float, int], Any] = {}
        self._lock = threading.Lock()

    def get(self, connect_s: float, silence_s: float) -> Any:
        variables = frozenset(item for item in os.environ.items() if item[0].startswith("AWS_"))
        key = connect_s, silence_s, hash(variables)
        with self._lock:
            if key not in self._made:
                self._made[key] = _make_client(_config(connect_s, silence_s))
            return self._made[key]


_clients = _Clients()
os.register_at_fork(after_in_child=_clients.forget)


def client_of_this_process(connect_s: float, silence_s: float) -> Any:
    """The boto3 client for the present AWS variables: one for all stores, safe to use in threads.

    It is shared because making one takes a tenth of a second, and every task that is sent to a
    worker makes its store anew.

    Args:
        connect_s: time limit for connecting, seconds.
        silence_s: time limit between two pieces of an answer, seconds.

    Raises:
        StoreSetupError: boto3 cannot work with the AWS variables or profile.
    """
    return _clients.get(connect_s, silence_s)


def _make_client(config: Config) -> Any:
    # At DEBUG, botocore logs session tokens and signatures; at INFO, where it found the keys.
    for chatty in ("botocore", "boto3", "urllib3"):
        if logging.getLogger(chatty).level == logging.NOTSET:
            logging.getLogger(chatty).setLevel(logging.WARNING)
    problem = None
    try:
        session = Session(botocore_session=_sdk_session())
        client = session.client("s3", config=config)
        if not client.meta.endpoint_url.endswith(("amazonaws.com", "amazonaws.com.cn")):
            problem = _problem_of(client.meta.endpoint_url)
            if "addressing_style" not in (getattr(client.meta.config, "s3", None) or {}):
                by_path = Config(s3={"addressing_style": "path"})
                client = session.client("s3", config=config.merge(by_path))
        client.meta.events.register_first("needs-retry.s3.HeadBucket", _stop_blind_redirect)
        refuse = partial(_refuse_page, client.meta.endpoint_url)
        for operation in _ANSWERED_IN_XML:
            client.meta.events.register_first(f"needs-retry.s3.{operation}", refuse)
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
    """A botocore session whose parser of times makes listings five times as fast."""
    session = botocore.session.get_session()
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_parse_time)
    return session


def _parse_time(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # headers hold times in another form than listings
        return parse_timestamp(value)


def _stop_blind_redirect(response: Any, **_: object) -> None:
    """Fail on a redirect without a region.

    botocore would ask for the bucket's region, be redirected again, and repeat this without end.
    """
    if response is None:
        return
    headers = {name.lower() for name in response[0].headers}
    if response[0].status_code in (301, 302, 307) and "x-amz-bucket-region" not in headers:
        raise RequestError("redirected", response[0].status_code, fix=REGION_FIX)


def _refuse_page(server: str, response: Any, **_: object) -> None:
    """Look at the status that the server sent: botocore makes 500 of it where a body is no XML."""
    if response is not None:
        refuse_page(response[0].raw.status, response[0].content, server)


def _config(connect_s: float, silence_s: float) -> Config:
    return Config(
        connect_timeout=connect_s,
        read_timeout=silence_s,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=MAX_CONNECTIONS,
        # Servers older than the SDK would store its newer checksums as part of the object.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _problem_of(endpoint: str) -> str | None:
    """What is wrong with the URL of an endpoint; None where it is fine."""
    url = urlsplit(endpoint)
    if "@" in url.netloc or url.query:
        return (
            "the endpoint URL holds a user name, password or query, which S3 does not use: give it "
            "as http://host:port, and the keys in variables of their own"
        )
    if url.scheme not in ("http", "https") or not url.hostname:
        return "the endpoint is not a URL like http://host:port"
    return None
