"""Credentials appear in no exception, log, pickle or file of a run."""

import json
import logging
import pickle  # noqa: TID251  (what Ray would send to a worker)
import traceback

import pytest

from factory.domains.eye.sources.unityeyes import UnityEyesOptions
from factory.store import s3_requests
from factory.store.open import open_store
from factory.store.s3_errors import StoreSetupError, StoreUnavailableError
from support import fakes
from support.s3_proxy import FaultyProxy, answer_with
from support.s3_servers import BUCKET, SHORT, new_location, use

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+key",
    "AWS_SESSION_TOKEN": "planted-session-token",
}
PLANTED = {*SECRETS.values(), "planteduser", "plantedpassword", "X-Amz-Signature", "Signature="}


def leaks(*texts: str) -> set[str]:
    return {secret for secret in PLANTED for text in texts if secret in text}


def told_by(error: BaseException) -> list[str]:
    """All that a log, a terminal or another process may show of an exception."""
    texts = ["".join(traceback.format_exception(error)), str(pickle.dumps(error))]
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        error = pending.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        texts += [str(error), repr(error), repr(error.args), repr(vars(error))]
        pending += [error.__cause__, error.__context__]  # also where `from None` hides it
    return texts


@pytest.fixture
def planted(moto_server, monkeypatch, caplog) -> None:
    """Credentials that are easy to find, and everything logged."""
    use(moto_server, monkeypatch)
    monkeypatch.setattr(s3_requests, "PATIENCE", SHORT)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)


OPERATIONS = {
    "read": lambda store: store.read("dataset.json"),
    "size": lambda store: store.size("dataset.json"),
    "entries": lambda store: list(store.entries("index")),
    "put": lambda store: store.put("dataset.json", b"{}"),
    "put_new": lambda store: store.put_new("dataset.json", b"{}"),
}
ANSWERS = [
    *((403, code) for code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")),
    *((418, code) for code in ("ExpiredToken", "InvalidRequest", *SECRETS.values())),
    *((301, "PermanentRedirect"), (404, "NoSuchBucket"), (501, "NotImplemented")),
    *((503, "SlowDown"), (500, "InternalError"), (409, "OperationAborted")),
]


@pytest.mark.s3
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[1])
def test_no_refusal_or_failure_tells_a_secret(
    planted, moto_server, monkeypatch, caplog, answer
) -> None:
    with FaultyProxy(moto_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setattr(s3_requests, "PATIENCE", s3_requests.Patience(attempts=2))
        proxy.spoil(answer_with(*answer), times=1000)
        for name, operation in OPERATIONS.items():
            if name == "size" and answer[0] == 404:
                continue  # a HEAD cannot tell a missing bucket from a missing object
            with pytest.raises(OSError) as caught:
                operation(open_store(f"s3://{BUCKET}/eyes"))
            assert leaks(*told_by(caught.value), caplog.text) == set()


UNUSABLE = {
    "user and password": "http://planteduser:plantedpassword@127.0.0.1:9",
    "token alone": "http://planteduser@127.0.0.1:9",
    "query": "http://127.0.0.1:9/?X-Amz-Signature=plantedpassword",
    "no port": "http://planteduser:plantedpassword@127.0.0.1:port",
    "no URL": "planteduser:plantedpassword@127.0.0.1",
    "a space": "http://planteduser:planted password@127.0.0.1:9",
}


@pytest.mark.s3
@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_with_a_password_in_it_is_refused_untold(
    planted, monkeypatch, caplog, kind, variable
) -> None:
    monkeypatch.setenv(variable, UNUSABLE[kind])
    for operation in OPERATIONS.values():
        with pytest.raises(StoreSetupError, match="http://host:port") as caught:
            operation(open_store(f"s3://{BUCKET}/eyes"))
        assert leaks(*told_by(caught.value), caplog.text) == set()


@pytest.mark.s3
def test_nobody_at_the_endpoint_tells_no_secret(planted, monkeypatch, caplog) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3_requests, "PATIENCE", s3_requests.Patience(attempts=2))
    with pytest.raises(StoreUnavailableError) as caught:
        open_store(f"s3://{BUCKET}/eyes").read("dataset.json")
    assert leaks(*told_by(caught.value), caplog.text) == set()
    assert "attempt 2 in" in caplog.text, "retries are logged"


@pytest.mark.s3
def test_a_proxy_with_a_password_tells_no_secret(planted, monkeypatch, caplog) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://planteduser:plantedpassword@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:80")
    monkeypatch.setattr(s3_requests, "PATIENCE", s3_requests.Patience(attempts=2, connect_s=1))
    with pytest.raises(StoreUnavailableError, match="HTTP proxy") as caught:
        open_store(f"s3://{BUCKET}/eyes").read("dataset.json")
    assert leaks(*told_by(caught.value), caplog.text) == set()


@pytest.mark.s3
@pytest.mark.parametrize(
    "profile",
    [
        "[default]\naws_access_key_id = AKIAPLANTEDACCESSKEY\n",
        "[default]\ncredential_process = sh -c 'echo planted-session-token; exit 1'\n",
        "[default]\naws_access_key_id = AKIAPLANTEDACCESSKEY\nregion = planted-session-token/x\n"
        "aws_secret_access_key = planted/secret+key\n",
        "planted/secret+key without a section\n",
    ],
    ids=["half", "process", "region", "broken"],
)
def test_a_profile_that_does_not_work_tells_no_secret(
    planted, monkeypatch, caplog, tmp_path, profile
) -> None:
    for name in (*SECRETS, "AWS_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(profile)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(StoreSetupError) as caught:
        open_store(f"s3://{BUCKET}/eyes").read("dataset.json")
    assert leaks(*told_by(caught.value), caplog.text) == set()


@pytest.mark.s3
def test_a_profile_that_is_missing_is_named(planted, monkeypatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    with pytest.raises(StoreSetupError, match="AWS_PROFILE"):
        open_store(f"s3://{BUCKET}/eyes").read("dataset.json")


@pytest.mark.s3
def test_a_store_that_travels_carries_no_secret_and_works_on_arrival(planted, caplog) -> None:
    store = open_store(new_location())
    store.put("dataset.json", b"{}")
    packed = pickle.dumps(store)
    assert leaks(str(packed), repr(store), repr(vars(store)), caplog.text) == set()
    assert len(packed) < 1000
    assert pickle.loads(packed).read("dataset.json") == b"{}"  # noqa: S301  (ours)


@pytest.mark.s3
def test_no_file_of_a_dataset_holds_a_secret(planted, renders, caplog) -> None:
    location = new_location()
    fakes.ingest_here(renders, location, UnityEyesOptions(), shard_size=12)
    store = open_store(location)
    contents = {entry.name: store.read(entry.name) for entry in store.walk()}
    assert len(contents) == 9
    assert json.loads(contents["dataset.json"])["name"] == "eyes"
    assert leaks(*(raw.decode("latin-1") for raw in contents.values()), caplog.text) == set()
