"""Single requests to a server that fails: bounded attempts, exact answers, errors that say why."""

import random
import threading
import time

import pytest

from factory.dataset.dataset import Dataset
from factory.store import s3_requests
from factory.store.open import open_store
from factory.store.s3 import PROBE_BYTES
from factory.store.s3_errors import StoreSetupError, StoreUnavailableError
from factory.store.s3_requests import Patience
from support import s3_proxy
from support.s3_proxy import FaultyProxy, answer_with, lose_answer, lose_request
from support.s3_servers import BUCKET, PASSING, SHORT, SLOW_S, new_location, use

TAR = "shards/000000.tar"
LARGE = bytes(PROBE_BYTES + 1)
"""once per process, a put below this size is repeated to see that the server refuses it"""


@pytest.fixture
def store(proxy):
    """A store behind the proxy."""
    return open_store(new_location())


# --- one operation ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", PASSING)
def test_a_new_name_is_ours_whatever_became_of_the_answer(store, proxy, fault) -> None:
    proxy.spoil(PASSING[fault], "PUT")
    store.put_new(TAR, b"ours")
    assert store.read(TAR) == b"ours"
    with pytest.raises(FileExistsError):
        store.put_new(TAR, b"theirs")


def test_a_put_that_arrived_is_not_sent_again(store, proxy) -> None:
    proxy.spoil(lose_answer, "PUT")
    store.put_new(TAR, LARGE)
    assert (proxy.count("PUT"), proxy.count("HEAD")) == (1, 1)
    assert store.read(TAR) == LARGE


def test_a_412_earned_against_ourselves_counts_as_won(store, proxy) -> None:
    """Something on the way sent our request twice, and we hear the second answer."""
    proxy.spoil(s3_proxy.send_twice, "PUT")
    store.put_new(TAR, b"ours")
    assert store.read(TAR) == b"ours"


def test_a_put_that_arrives_after_its_retry_counts_as_won(store, proxy) -> None:
    proxy.spoil(s3_proxy.arrive_after(SLOW_S), "PUT")
    store.put_new(TAR, b"ours")
    time.sleep(SLOW_S)
    assert store.read(TAR) == b"ours"


@pytest.mark.parametrize("fault", PASSING)
def test_a_name_that_another_took_meanwhile_is_not_ours(store, proxy, s3_server, fault) -> None:
    other = open_store(store.location)

    def overtaken(exchange: s3_proxy.Exchange) -> None:
        other.put_new(TAR, b"theirs")
        PASSING[fault](exchange)

    proxy.spoil(overtaken, "PUT", TAR)
    with pytest.raises(FileExistsError):
        store.put_new(TAR, b"ours")
    assert store.read(TAR) == b"theirs"


def test_even_the_same_content_of_another_writer_is_not_ours(store, proxy) -> None:
    open_store(store.location).put_new(TAR, b"same")
    with pytest.raises(FileExistsError):
        store.put_new(TAR, b"same")


@pytest.mark.parametrize("fault", PASSING)
def test_every_operation_outlives_a_passing_fault(store, proxy, fault) -> None:
    content = bytes(range(200))
    store.put_new(TAR, content)

    def spoiled(operation, *arguments):
        before = len(proxy.requests)
        proxy.spoil(PASSING[fault])
        result = getattr(store, operation)(*arguments)
        result = list(result) if operation == "entries" else result
        assert len(proxy.requests) - before <= 4, "the SDK and we may ask what a bare 400 means"
        return result

    assert spoiled("read", TAR) == content
    assert spoiled("read_range", TAR, 10, 50) == content[10:60]
    assert spoiled("size", TAR) == 200
    assert [(entry.name, entry.size) for entry in spoiled("entries", "shards")] == [(TAR, 200)]
    spoiled("put", TAR, b"new")
    assert store.read(TAR) == b"new"
    spoiled("delete", TAR)
    assert store.size(TAR) is None


@pytest.mark.parametrize(
    ("operation", "fault", "reason"),
    [
        ("read", answer_with(503, "SlowDown"), "HTTP 503 SlowDown"),
        ("read", s3_proxy.cut_short, "cut short"),
        ("put", lose_request, "closed without an answer"),
        ("put_new", lose_request, "closed without an answer"),
        ("put_new", answer_with(409, "ConditionalRequestConflict"), "HTTP 409 Conditional"),
    ],
)
def test_a_fault_that_stays_is_reported_after_bounded_attempts(
    store, proxy, operation, fault, reason
) -> None:
    if operation != "put_new":
        store.put(TAR, b"content")
    method = "GET" if operation == "read" else "PUT"
    before, started = proxy.count(method), time.monotonic()
    proxy.spoil(fault, method, times=1000)
    arguments = (TAR,) if operation == "read" else (TAR, b"new")
    with pytest.raises(StoreUnavailableError, match=reason) as caught:
        getattr(store, operation)(*arguments)
    assert time.monotonic() - started < 10
    assert proxy.count(method) - before == SHORT.attempts
    message = str(caught.value)
    assert f"{store.location}/{TAR}" in message
    assert f"given up after {SHORT.attempts} attempts" in message


def test_the_total_time_is_bounded_too(store, proxy, monkeypatch) -> None:
    monkeypatch.setattr(
        s3_requests, "PATIENCE", Patience(silence_s=0.3, attempts=1000, total_s=1, first_pause_s=0)
    )
    proxy.spoil(s3_proxy.answer_after(0.6), times=1000)
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="no answer in time"):
        open_store(store.location).read(TAR)
    assert 0.9 < time.monotonic() - started < 30  # 1,000 attempts would take five minutes


def test_a_body_that_trickles_is_dropped_and_read_again(store, proxy) -> None:
    content = random.Random(0).randbytes(5_000)
    store.put_new(TAR, content)
    proxy.spoil(s3_proxy.trickle, "GET")
    started = time.monotonic()
    assert store.read(TAR) == content
    assert time.monotonic() - started < 3, "the trickle alone takes 5 s"
    assert proxy.count("GET") == 2


@pytest.mark.s3
def test_an_upload_that_trickles_is_dropped(moto_server, monkeypatch) -> None:
    """A server that takes the body in drops, so that no single send takes long."""
    use(moto_server, monkeypatch)
    patience = Patience(silence_s=0.5, slowest_bytes_per_s=100e6, attempts=2, first_pause_s=0.01)
    with SlowReader() as reader:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{reader.port}")
        monkeypatch.setattr(s3_requests, "PATIENCE", patience)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="slower than is allowed"):
            open_store(new_location()).put(TAR, bytes(30_000_000))
        assert time.monotonic() - started < 10


class SlowReader:
    """Accepts connections and reads 64 kB every 20 ms: 30 MB would take ten seconds."""

    def __enter__(self):
        import socket

        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                try:
                    while connection.recv(1 << 16):
                        time.sleep(0.02)
                except ConnectionError:
                    continue

    def __exit__(self, *error) -> None:
        self.listener.close()


def test_a_listing_of_many_pages_outlives_faults(proxy, s3_server, monkeypatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")
    store = open_store(new_location())
    names = [f"index/{number:06d}.parquet" for number in range(30)]
    for name in names:
        store.put(name, b"x")
    proxy.spoil(answer_with(503, "SlowDown"), "GET", times=3)
    assert [entry.name for entry in store.entries("index")] == names
    assert sorted(entry.name for entry in store.walk()) == names
    assert store.folders("") == ["index"]


# --- what only a person can mend --------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, "AccessDenied"), "s3:ListBucket"),
        ((403, "InvalidAccessKeyId"), "does not know this access key"),
        ((403, "SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY"),
        ((400, "ExpiredToken"), "get new credentials"),
        ((403, "RequestTimeTooSkewed"), "clock"),
        ((301, "PermanentRedirect"), "AWS_REGION"),
        ((501, "NotImplemented"), "docs/stores.md"),
        ((404, "NoSuchBucket"), "no such bucket"),
    ],
)
def test_a_refusal_is_not_retried_and_says_what_to_do(store, proxy, answer, says) -> None:
    proxy.spoil(answer_with(*answer), times=100)
    for operation in (lambda: store.read(TAR), lambda: store.put_new(TAR, b"x")):
        before = len(proxy.requests)
        with pytest.raises(StoreSetupError, match=says) as caught:
            operation()
        message = str(caught.value)
        assert f"{store.location}/{TAR}" in message
        assert answer[1] in message or "redirected" in message
        assert len(proxy.requests) - before <= 2, "the SDK may follow a redirect"


def test_a_bucket_that_is_not_there(s3_server) -> None:
    store = open_store("s3://no-such-bucket/eyes")
    for operation in (
        lambda: store.read("dataset.json"),
        lambda: store.put_new("dataset.json", b""),
        lambda: list(store.entries("index")),
    ):
        with pytest.raises(StoreSetupError, match=r"no-such-bucket.*there is no such bucket"):
            operation()
    with pytest.raises(StoreSetupError):
        Dataset.open("s3://no-such-bucket/eyes")


@pytest.mark.s3
@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", "NOBODYSKEY", "does not know this access key"),
        ("AWS_SECRET_ACCESS_KEY", "not-the-secret", "secret key is not that of the access key"),
    ],
)
def test_wrong_credentials(rgw, monkeypatch, variable, value, says) -> None:
    use(rgw, monkeypatch)
    monkeypatch.setenv(variable, value)
    store = open_store(f"s3://{BUCKET}/eyes")
    for operation in (
        lambda: store.read("dataset.json"),
        lambda: store.size("dataset.json"),
        lambda: store.put_new("dataset.json", b""),
        lambda: list(store.entries("index")),
    ):
        with pytest.raises(StoreSetupError, match=says) as caught:
            operation()
        assert value not in str(caught.value)


def test_no_credentials_at_all(s3_server, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreSetupError, match=r"no credentials.*AWS_PROFILE"):
        open_store(f"s3://{BUCKET}/eyes").read("dataset.json")


@pytest.mark.s3
def test_nobody_at_the_endpoint(moto_server, monkeypatch) -> None:
    use(moto_server, monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3_requests, "PATIENCE", SHORT)
    with pytest.raises(StoreUnavailableError, match=r"cannot connect .*127\.0\.0\.1:9"):
        open_store(f"s3://{BUCKET}/eyes").read("dataset.json")


@pytest.mark.s3
@pytest.mark.parametrize("first", [b"", LARGE])
def test_a_server_that_ignores_the_condition_is_refused(moto_server, monkeypatch, first) -> None:
    """As rclone's and s3rver do. A large first object is not sent twice: the next small one tells.

    moto alone: a real server rejects a request whose signed headers were changed on the way.
    """
    use(moto_server, monkeypatch)
    with FaultyProxy(moto_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        proxy.spoil(s3_proxy.without_condition, "PUT", times=100)
        store = open_store(new_location())
        if first:
            store.put_new(TAR, first)
            assert proxy.count("PUT") == 1
        with pytest.raises(StoreSetupError, match="ignores If-None-Match"):
            store.put_new("index/000000.parquet", b"index")


def test_an_object_that_one_put_cannot_hold_is_refused(s3_server, monkeypatch) -> None:
    monkeypatch.setattr("factory.store.s3.LARGEST_PUT_BYTES", 1000)
    store = open_store(new_location())
    for put in (store.put, store.put_new):
        with pytest.raises(ValueError, match=r"1001 bytes.*--shard-size"):
            put(TAR, bytes(1001))
    assert list(store.walk()) == []
