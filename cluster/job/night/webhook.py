"""Tell a webhook how a night went. What goes wrong here is logged, and changes nothing else."""

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from urllib.parse import urlsplit

from pydantic import SecretStr

from schemas.night import NightRecord
from schemas.version import WRITER

log = logging.getLogger(__name__)
LIMIT_S = 10.0
"""seconds in which a server has to be found and to answer, all of it"""
PAUSES_S = (1.0, 5.0)
"""seconds before the second and the third try"""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would come as a GET without its body."""

    def redirect_request(self, *_: object) -> None:
        return None


def call_webhook(
    url: SecretStr, record: NightRecord, *, pauses_s: Sequence[float] = PAUSES_S
) -> bool:
    """Send a record as a JSON object, with its words in the field `text`, which Slack and servers
    like it show.

    The URL may be a secret, so the log names its host alone.

    Args:
        pauses_s: seconds before each further try, after the server failed or did not answer.

    Returns:
        Whether the server took it.
    """
    host = urlsplit(url.get_secret_value()).hostname
    body = json.dumps({"text": record.text, **record.model_dump(mode="json")}).encode()
    for pause_s in (*pauses_s, None):
        reason, is_final = _post_in_time(url.get_secret_value(), body)
        if reason is None:
            log.info("the webhook at %s was told: %s", host, record.outcome)
            return True
        if is_final or pause_s is None:
            log.error("the webhook at %s could not be told: %s", host, reason)
            return False
        log.warning("the webhook at %s: %s; trying again in %g s", host, reason, pause_s)
        time.sleep(pause_s)
    raise AssertionError("the last try returns")


def _post_in_time(url: str, body: bytes) -> tuple[str | None, bool]:
    """As `_post`, in `LIMIT_S`: a socket's own limit begins anew with every byte that comes."""
    answer: SimpleQueue[tuple[str | None, bool]] = SimpleQueue()
    Thread(target=lambda: answer.put(_post(url, body)), daemon=True).start()
    try:
        return answer.get(timeout=LIMIT_S)
    except Empty:
        return "timed out", False


def _post(url: str, body: bytes) -> tuple[str | None, bool]:
    """(why a POST failed, None where it did not; whether another try would fail as well)."""
    headers = {"Content-Type": "application/json", "User-Agent": WRITER}
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=LIMIT_S):
            return None, False
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}", error.code < 500 and error.code != 429
    except urllib.error.URLError as error:
        return str(error.reason), False
    except OSError as error:
        return str(error), False
    except (http.client.HTTPException, ValueError) as error:  # its text may quote the URL
        return type(error).__name__, False
