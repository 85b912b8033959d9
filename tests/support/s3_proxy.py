"""An HTTP proxy that stands between a client and a server, and misbehaves on demand."""

import http.client
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import unquote, urlsplit

XML = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    key: str
    """of the object, without its bucket; of a listing, empty"""


class Exchange(BaseHTTPRequestHandler):
    """One request, and the means to answer it well or badly."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        key = path.lstrip("/").partition("/")[2]
        request = Request(self.command, key)
        fault = self.server.proxy.note(request)
        try:
            fault(self) if fault is not None else self.reply(self.forward())
        except (ConnectionError, TimeoutError):
            self.drop()  # the client has gone, or the server is down

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_request  # noqa: N815

    def forward(self, without: str = "") -> Answer:
        """What the server answers to this request, one header left out."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=30)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("expect", "connection", without.lower())
        }
        try:
            upstream.request(self.command, self.path, self.body or None, headers)
            answer = upstream.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            upstream.close()

    def reply(self, answer: Answer, *, cut: int | None = None, pause_s: float = 0.0) -> None:
        """Hand an answer on, of its body only the first `cut` bytes, or in pieces with pauses."""
        self.send_response_only(answer.status)
        length = str(len(answer.body))
        for name, value in answer.headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if pause_s:
            for start in range(0, len(answer.body), 100):
                self.wfile.write(answer.body[start : start + 100])
                time.sleep(pause_s)
        else:
            self.wfile.write(answer.body[:cut])
        if cut is not None:
            self.drop()

    def drop(self) -> None:
        """Close the connection without another word."""
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # closed already

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


Fault = Callable[[Exchange], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    proxy: "FaultyProxy"

    def handle_error(self, *arguments: object) -> None:
        """A client that gives up half way is what these tests are about."""


class FaultyProxy:
    """Hands requests on to a server on this machine, and counts them.

    Faults are told beforehand; each spoils the next requests that it fits.
    """

    def __init__(self, upstream: int):
        self.upstream = upstream
        self.requests: list[Request] = []
        self._faults: list[tuple[Fault, str, str, int]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), Exchange)
        self._server.proxy = self
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spoil(self, fault: Fault, method: str = "", key: str = "", times: int = 1) -> None:
        """Let the next `times` requests of a method (of any) meet a fault.

        Args:
            key: a regular expression to be found in the key.
        """
        with self._lock:
            self._faults.append((fault, method, key, times))

    def mend(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def note(self, request: Request) -> Fault | None:
        """Count a request, and take the fault that is meant for it."""
        with self._lock:
            self.requests.append(request)
            for index, (fault, method, key, times) in enumerate(self._faults):
                if method in ("", request.method) and re.search(key, request.key):
                    self._faults[index : index + 1] = (
                        [(fault, method, key, times - 1)] if times > 1 else []
                    )
                    return fault
        return None

    def count(self, method: str) -> int:
        """How many requests of a method came."""
        return sum(r.method == method for r in self.requests)


# --- faults -----------------------------------------------------------------------------------


def answer_with(status: int, code: str) -> Fault:
    """An error instead of the answer; the server never hears of the request."""
    error = Answer(status, [("Content-Type", "application/xml")], XML.format(code=code).encode())

    def fault(exchange: Exchange) -> None:
        exchange.reply(error if exchange.command != "HEAD" else Answer(status, [], b""))

    return fault


def lose_request(exchange: Exchange) -> None:
    """The connection drops before the server hears of it."""
    exchange.drop()


def lose_answer(exchange: Exchange) -> None:
    """The server does it, and the connection drops before its answer arrives."""
    exchange.forward()
    exchange.drop()


def send_twice(exchange: Exchange) -> None:
    """Something on the way sends the request again, and hands on the second answer."""
    exchange.forward()
    exchange.reply(exchange.forward())


def error_after(exchange: Exchange) -> None:
    """The server does it, and something on the way answers 500."""
    exchange.forward()
    answer_with(500, "InternalError")(exchange)


def cut_short(exchange: Exchange) -> None:
    """The answer's body ends half way."""
    answer = exchange.forward()
    exchange.reply(answer, cut=len(answer.body) // 2)


def answer_after(seconds: float) -> Fault:
    """The server does it at once, and its answer takes long."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        time.sleep(seconds)
        exchange.reply(answer)

    return fault


def arrive_after(seconds: float) -> Fault:
    """The request takes long to reach the server."""

    def fault(exchange: Exchange) -> None:
        time.sleep(seconds)
        exchange.reply(exchange.forward())

    return fault


def trickle(exchange: Exchange) -> None:
    """The body comes in small pieces, never long silent, and takes for ever."""
    exchange.reply(exchange.forward(), pause_s=0.1)


def without_condition(exchange: Exchange) -> None:
    """The server ignores If-None-Match."""
    exchange.reply(exchange.forward(without="If-None-Match"))
