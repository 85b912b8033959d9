"""The page of a visual Turing test, served to a browser of this machine and to nothing else.

`factory.serving.own_machine` says which requests are answered. Nothing that the page is given
before the test is over says what a picture is: pictures are named by their position, and their PNGs
hold pixels alone.
"""

import logging
import re
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar, cast

import orjson
from pydantic import Field

from factory.evaluation.turing.trial import OutOfTurnError, Trial
from factory.serving.own_machine import HEADERS, HOST, is_foreign, origins_at, port_error, url_at
from schemas.base import Float, FormatError, Model
from schemas.turing import Truth

log = logging.getLogger(__name__)
MAX_BODY_BYTES = 1024
_OF_THE_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OF_THE_RESULT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""the analysis is one file, whose style and pictures are in it"""
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_PICTURE = re.compile(r"/pictures/(\d{1,6})\.png")
_EXAMPLE = re.compile(r"/examples/(\d{1,2})/(real|synthetic)/(\d{1,4})\.png")
_LENGTH = re.compile(r"\d{1,9}")


class GivenAnswer(Model):
    """What the page sends for an answer."""

    position: Annotated[int, Field(ge=0)]
    answer: Truth
    seconds: Annotated[Float, Field(ge=0, le=86400)]


class GivenUndo(Model):
    """What the page sends to take the last answer back."""

    position: Annotated[int, Field(ge=0)]


Given = TypeVar("Given", bound=Model)


class _Refused(Exception):  # noqa: N818
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Reply(NamedTuple):
    content: bytes
    kind: str
    status: HTTPStatus = HTTPStatus.OK
    policy: str = _OF_THE_PAGE


class TuringServer(ThreadingHTTPServer):
    """Shows a trial; `serve_forever` returns when the observer ends a test that is done."""

    daemon_threads = True

    def __init__(self, trial: Trial, port: int, write_result: Callable[[], str]) -> None:
        """
        Args:
            port: 0 for any that is free.
            write_result: writes the analysis and gives its page; called when all is answered.

        Raises:
            OSError: the port is taken.
        """
        self.trial, self._write_result = trial, write_result
        self._writing = threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise port_error(port, error) from error
        self.origins = origins_at(self.server_port)

    @property
    def url(self) -> str:
        """Where the page is."""
        return url_at(self.server_port)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # without asking for the name of the machine
        self.server_name, self.server_port = HOST, cast("tuple[str, int]", self.server_address)[1]

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError | TimeoutError):
            log.debug("a browser left: %s", error)
        else:
            log.error("a request failed", exc_info=error)

    def result(self) -> str:
        """The analysis, written anew."""
        with self._writing:
            return self._write_result()


class _Handler(BaseHTTPRequestHandler):
    server: TuringServer
    timeout = 30
    """seconds after which a silent browser is left"""

    def do_GET(self) -> None:
        self._reply_with(self._got)

    def do_POST(self) -> None:
        self._reply_with(self._posted)

    def _reply_with(self, make: Callable[[], _Reply]) -> None:
        try:
            self._check_sender()
            reply = make()
        except _Refused as refused:
            reply = _error(refused.status, str(refused))
        except OSError as error:
            log.error("%s %s failed: %s", self.command, self.path, error)
            reply = _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"not saved: {error}")
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("Content-Length", str(len(reply.content)))
        self.send_header("Content-Security-Policy", reply.policy)
        self.end_headers()
        self.wfile.write(reply.content)

    def _check_sender(self) -> None:
        """Refuse what did not come from the page of this server, or from its address line."""
        why = is_foreign(
            self.server.origins,
            host=self.headers.get("Host"),
            origin=self.headers.get("Origin"),
            site=self.headers.get("Sec-Fetch-Site"),
            needs_origin=self.command != "GET",
        )
        if why is not None:
            raise _Refused(HTTPStatus.FORBIDDEN, f"{why}; this test is at {self.server.url}")

    def _got(self) -> _Reply:
        trial = self.server.trial
        if self.path in _FILES:
            name, kind = _FILES[self.path]
            return _Reply((Path(__file__).parent / "served" / name).read_bytes(), kind)
        if self.path == "/state":
            return self._state()
        if self.path == "/result" and trial.is_done:
            page = self.server.result().encode()
            return _Reply(page, "text/html; charset=utf-8", policy=_OF_THE_RESULT)
        try:
            if match := _PICTURE.fullmatch(self.path):
                return _Reply(trial.picture(int(match[1])), "image/png")
            if match := _EXAMPLE.fullmatch(self.path):
                truth = cast("Truth", match[2])
                png = trial.example(int(match[1]), truth, int(match[3]))
                return _Reply(png, "image/png")
        except KeyError as error:
            raise _Refused(HTTPStatus.NOT_FOUND, "it is not yet its turn") from error
        raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _posted(self) -> _Reply:
        trial = self.server.trial
        try:
            if self.path == "/answer":
                given = self._body(GivenAnswer)
                trial.answer(given.position, given.answer, given.seconds)
                if trial.is_done:
                    self.server.result()
            elif self.path == "/undo":
                trial.undo(self._body(GivenUndo).position)
            elif self.path == "/end" and trial.is_done:
                threading.Thread(target=self.server.shutdown, daemon=True).start()
            else:
                raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        except OutOfTurnError as error:
            raise _Refused(HTTPStatus.CONFLICT, str(error)) from error
        return self._state()

    def _state(self) -> _Reply:
        return _Reply(self.server.trial.state().to_json(), "application/json")

    def _body(self, kind: type[Given]) -> Given:
        if self.headers.get("Content-Type") != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not _LENGTH.fullmatch(length):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        if int(length) > MAX_BODY_BYTES:
            reason = f"{length} bytes, at most {MAX_BODY_BYTES} are read"
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        try:
            return kind.from_json(self.rfile.read(int(length)), where=self.path)
        except FormatError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from error

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        return "simgan-factory"

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def _error(status: HTTPStatus, reason: str) -> _Reply:
    return _Reply(orjson.dumps({"error": reason}), "application/json", status)
