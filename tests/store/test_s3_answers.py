"""Servers that answer with status 200 and not as S3 does: never an empty listing, never a page of
HTML for an object."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from factory.store import s3_requests
from factory.store.open import open_store
from factory.store.s3 import S3Store
from factory.store.s3_errors import StoreSetupError, StoreUnavailableError
from factory.store.s3_requests import Patience

pytestmark = pytest.mark.slow

Answer = tuple[bytes, dict[str, str]]
"""body and headers"""
XML = {"Content-Type": "application/xml"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
OBJECT = {"ETag": '"5d41"', "Last-Modified": "Sat, 01 Aug 2026 00:00:00 GMT"}
ITEM = (
    "<Contents><Key>{key}</Key><LastModified>2026-08-01T00:00:00.000Z</LastModified>"
    '<ETag>"5d41"</ETag><Size>5</Size></Contents>'
)
NAMES = [f"eyes/index/{number:06d}.parquet" for number in range(7)] + ["eyes/plan/a", "eyes/z"]


class Server(ThreadingHTTPServer):
    """Gives every request the answer that a function makes of its query."""

    daemon_threads = True
    answer: Callable[[dict[str, str]], Answer]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        body, headers = self.server.answer({name: values[0] for name, values in query.items()})
        self.send_response_only(200)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = reply  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr(s3_requests, "PATIENCE", Patience(attempts=2, first_pause_s=0.01))
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(server) -> S3Store:
    return open_store("s3://renders/eyes")


def listing(inner: str, *, name: str = "<Name>renders</Name>") -> Answer:
    return f'<?xml version="1.0"?><ListBucketResult>{name}{inner}</ListBucketResult>'.encode(), XML


def first_protocol(query: dict[str, str], *, page: int = 3, next_marker: bool = True) -> Answer:
    """A page of `NAMES` as a server gives it that has never heard of list-type=2."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    shown = []
    for name in NAMES:
        if name.startswith(prefix):
            head, separator, _ = name[len(prefix) :].partition(delimiter or "no delimiter")
            shown.append(prefix + head + separator)
    left = [name for name in dict.fromkeys(shown) if name > query.get("marker", "")]
    inner = f"<IsTruncated>{str(len(left) > page).lower()}</IsTruncated>"
    if len(left) > page and delimiter and next_marker:
        inner += f"<NextMarker>{left[page - 1]}</NextMarker>"
    for name in left[:page]:
        is_folder = delimiter and name.endswith("/")
        folder = f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"
        inner += folder if is_folder else ITEM.format(key=name)
    return listing(inner)


@pytest.mark.parametrize("next_marker", [True, False])
@pytest.mark.parametrize("page", [1, 3, 100])
def test_a_server_of_the_first_listing_protocol_is_listed_whole(
    server, store, page, next_marker
) -> None:
    server.answer = lambda query: first_protocol(query, page=page, next_marker=next_marker)
    assert sorted(entry.name for entry in store.walk()) == [n.removeprefix("eyes/") for n in NAMES]
    assert [entry.name for entry in store.entries("index")] == [
        f"index/{number:06d}.parquet" for number in range(7)
    ]
    assert [entry.name for entry in store.entries("")] == ["z"]
    assert store.folders("") == ["index", "plan"]


TRUNCATED, WHOLE = "<IsTruncated>true</IsTruncated>", "<IsTruncated>false</IsTruncated>"


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ((b"<html><body>Please log in</body></html>", HTML), "status 200 and a web page"),
        ((b"<!DOCTYPE html><br><p>Welcome to the guest network", HTML), "status 200 and a web"),
        ((b'<?xml version="1.0"?>\n<!doctype HTML><br>', XML), "status 200 and a web page"),
        ((b'{"message": "log in"}', {}), "status 200 and a text that is not XML"),
        ((b"", HTML), "a web page without Name, IsTruncated"),
        ((b"<ok/>", XML), "without Name, IsTruncated"),
        (listing(""), "without IsTruncated"),
        (listing(WHOLE, name=""), "without Name"),
        (listing(WHOLE + ITEM.replace("<Size>5</Size>", "")), "without Contents/Size"),
        (listing(WHOLE + "<Contents><Size>5</Size></Contents>"), "without Contents/Key"),
        (listing(WHOLE + "<CommonPrefixes></CommonPrefixes>"), "without CommonPrefixes/Prefix"),
        (listing(WHOLE + ITEM.replace("5</Size>", "five</Size>")), "values of no known form"),
        (listing(WHOLE + ITEM.replace("2026-08-01T", "long ago ")), "values of no known form"),
        (listing(TRUNCATED), "the listing goes on, and repeats itself"),
        (listing(TRUNCATED + ITEM.format(key="eyes/a")), "goes on, and repeats itself"),
    ],
)
def test_a_listing_that_is_none_is_an_error_that_names_server_and_bucket(
    server, store, answer, missing
) -> None:
    server.answer = lambda query: answer
    for look in (lambda: list(store.entries("")), lambda: list(store.walk())):
        with pytest.raises(StoreSetupError, match=missing) as caught:
            look()
        message = str(caught.value)
        assert f"http://127.0.0.1:{server.server_address[1]}" in message
        assert "s3://renders/eyes" in message and "AWS_ENDPOINT_URL" in message


def test_a_page_is_reported_at_once_and_an_answer_that_was_cut_short_is_tried_again(
    server, store
) -> None:
    asked = []
    complete, headers = listing(WHOLE + ITEM.format(key="eyes/a"))

    def answer(query: dict[str, str]) -> Answer:
        asked.append(query)
        return (complete[:-20] if len(asked) == 1 else complete), headers

    server.answer = answer
    assert [entry.name for entry in store.entries("")] == ["a"] and len(asked) == 2
    server.answer = lambda query: (complete[:-20], headers)
    with pytest.raises(StoreUnavailableError, match=r"perhaps a web page.*AWS_ENDPOINT_URL"):
        list(store.entries(""))
    asked.clear()

    def page(query: dict[str, str]) -> Answer:
        asked.append(query)
        return b"<!DOCTYPE html><br>", HTML

    server.answer = page
    for look in (lambda: list(store.entries("")), lambda: store.put("a", b"content")):
        with pytest.raises(StoreSetupError, match="a web page"):
            look()
    assert len(asked) == 2, "one request each"


@pytest.mark.parametrize(
    ("headers", "missing"),
    [
        (HTML, "a web page without ETag, LastModified"),
        ({"ETag": '"5d41"'}, "without LastModified"),
        (OBJECT | {"Last-Modified": "lately"}, "values of no known form"),
    ],
)
def test_a_page_is_not_taken_for_an_object(server, store, headers, missing) -> None:
    server.answer = lambda query: (b"hello", headers)
    for look in (lambda: store.read("a"), lambda: store.size("a")):
        with pytest.raises(StoreSetupError, match=missing):
            look()


def test_an_answer_without_the_range_that_was_asked_for_is_refused(server, store) -> None:
    server.answer = lambda query: (b"hello", OBJECT)
    assert store.read("a") == b"hello"
    for look in (lambda: store.read_range("a", 1, 5), lambda: store.read_tail("a", 2)):
        with pytest.raises(StoreSetupError, match="without ContentRange"):
            look()


def test_a_put_that_only_a_page_answered_is_not_believed(server, store) -> None:
    server.answer = lambda query: (b"<html/>", HTML)
    for put in (store.put, store.put_new):
        with pytest.raises(StoreSetupError, match="a web page"):
            put("a", b"content")
