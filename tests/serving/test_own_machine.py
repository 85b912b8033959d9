"""Which requests a server of this machine answers."""

import pytest

from factory.serving.own_machine import is_foreign, origins_at

ORIGINS = origins_at(8000)
ANSWERED = [
    {"host": "127.0.0.1:8000"},
    {"host": "localhost:8000", "site": "none"},
    {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000", "site": "same-origin"},
    {"host": "127.0.0.1:8000", "origin": "http://localhost:8000", "needs_origin": True},
]
REFUSED = [
    {"host": None},
    {"host": "evil.example:8000"},
    {"host": "127.0.0.1"},
    {"host": "127.0.0.1:8001"},
    {"host": "127.0.0.1:8000", "origin": "http://evil.example"},
    {"host": "127.0.0.1:8000", "origin": "null"},
    {"host": "127.0.0.1:8000", "site": "cross-site"},
    {"host": "127.0.0.1:8000", "site": "same-site"},
    {"host": "127.0.0.1:8000", "needs_origin": True},
]
NOTHING = {"origin": None, "site": None}


@pytest.mark.parametrize("request_", ANSWERED)
def test_what_the_own_page_or_the_address_line_asks_for_is_answered(request_) -> None:
    assert is_foreign(ORIGINS, **(NOTHING | request_)) is None


@pytest.mark.parametrize("request_", REFUSED)
def test_what_another_site_asks_for_is_refused_with_a_reason(request_) -> None:
    why = is_foreign(ORIGINS, **(NOTHING | request_))
    assert why is not None and "this" in why
