"""The server of the visual Turing test: what it answers, to whom, and what it keeps to itself."""

import json
import socket

import pytest

from factory.evaluation.turing.server import MAX_BODY_BYTES, TuringServer
from factory.images.png import png_chunks
from support.turing import serving

pytestmark = pytest.mark.slow

FEW = {"num_examples": 4, "num_refined": 3, "num_unrefined": 2}
ANSWER = {"position": 0, "answer": "real", "seconds": 1}


@pytest.fixture(scope="module")
def served(turing_eyes, tmp_path_factory):
    """A test that no answer reaches."""
    with serving(turing_eyes, tmp_path_factory.mktemp("served"), **FEW) as served:
        yield served
        assert served.state()["position"] == 0


def test_only_this_machine_is_served(served):
    assert served.server.server_address[0] == "127.0.0.1"
    for name in ("127.0.0.1", "localhost"):
        assert served.ask("/state", Host=f"{name}:{served.server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},  # a name that was made to lead here
        {"Host": "127.0.0.1:1"},
        {"Host": ""},
        {"Origin": "http://attacker.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_requests_of_other_sites_are_refused(served, headers):
    for path, body in (("/", None), ("/pictures/0.png", None), ("/answer", ANSWER)):
        status, content, replied = served.ask(path, body, **headers)
        assert status == 403 and "error" in json.loads(content)
        assert not any(name.lower().startswith("access-control") for name in replied)


def test_an_answer_without_origin_is_refused(served):
    request = (
        f"POST /answer HTTP/1.0\r\nHost: 127.0.0.1:{served.server.server_port}\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    with socket.create_connection(("127.0.0.1", served.server.server_port), 20) as connection:
        connection.sendall(request.encode())
        assert b" 403 " in connection.recv(100)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{" * (MAX_BODY_BYTES + 1), {}, 413),
        (b"{}", {"Content_Length": "99999999999"}, 411),
        (b"{}", {"Content_Length": "-1"}, 411),
        (b"{}", {"Content_Type": "text/plain"}, 415),
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        ({**ANSWER, "answer": "perhaps"}, {}, 400),
        ({**ANSWER, "seconds": -1}, {}, 400),
        ({**ANSWER, "seconds": 1e9}, {}, 400),
        (b'{"position": 0, "answer": "real", "seconds": NaN}', {}, 400),
        ({**ANSWER, "truth": "real"}, {}, 400),
        ({**ANSWER, "position": 1}, {}, 409),
        ({**ANSWER, "position": 99}, {}, 409),
    ],
)
def test_bodies_that_are_no_answer_are_refused_with_a_reason(served, body, headers, status):
    answered, content, _ = served.ask("/answer", body, **headers)
    assert answered == status and json.loads(content)["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/2.png", "/pictures/-1.png", "/pictures/99.png", "/pictures/0", "/result",
        "/examples/2/real/0.png", "/examples/0/real/2.png", "/examples/0/other/0.png",
        "/../test.json", "/page.html", "//etc/passwd", "/observers/one/pictures.json",
    ],
)  # fmt: skip
def test_nothing_else_is_served(served, path):
    assert served.ask(path)[0] == 404
    assert served.ask("/end", {})[0] == 404, "not before all is answered"


def test_nothing_says_what_a_picture_is_before_the_answer(served):
    """Neither the page, nor the state, nor the files; not even their lengths."""
    state = served.state()
    assert set(state) == {
        "observer", "position", "num_pictures", "part", "num_parts", "first_of_part",
        "num_examples", "is_done", "can_undo",
    }  # fmt: skip
    texts = [served.ask(path)[1] for path in ("/", "/page.js", "/page.css", "/state")]
    for picture in served.pictures.in_order:
        assert not any(picture.key.encode() in text for text in texts)
    replies = [served.ask(f"/pictures/{position}.png") for position in (0, 1)]
    for (_, png, headers), picture in zip(replies, served.pictures.in_order, strict=False):
        assert {kind for kind, _ in png_chunks(png)} == {b"IHDR", b"IDAT", b"IEND"}
        assert picture.key not in str(headers) and picture.origin not in str(headers).lower()
    (_, first, one), (_, second, two) = replies
    assert len(first) == len(second)
    varying = {"Date"}
    assert {n: v for n, v in one.items() if n not in varying} == {
        n: v for n, v in two.items() if n not in varying
    }


@pytest.mark.parametrize("path", ["/", "/page.js", "/state", "/pictures/0.png", "/nothing"])
def test_every_reply_says_what_a_browser_may_do_with_it(served, path):
    headers = served.ask(path)[2]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]


def test_a_port_that_is_taken_is_named(served):
    with pytest.raises(OSError, match=r"cannot be used .*give another --port"):
        TuringServer(served.server.trial, served.server.server_port, str)


def test_the_result_is_shown_when_all_is_answered_and_the_observer_ends_the_server(
    turing_eyes, tmp_path
):  # fmt: skip
    with serving(turing_eyes, tmp_path, **FEW) as served:
        served.let_answer(lambda _: "real")
        assert (tmp_path / "turing.json").is_file(), "written with the last answer"
        status, page, headers = served.ask("/result")
        assert status == 200 and b"Visual Turing test" in page
        assert page == (tmp_path / "turing.html").read_bytes()
        assert "img-src data:" in headers["Content-Security-Policy"]
        assert served.ask("/end", {})[0] == 200  # serve_forever returns, or the fixture hangs
