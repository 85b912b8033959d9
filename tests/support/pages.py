"""Report pages as tests read them: their tags and text, and a visit in a browser."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as BrowserPage

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
"""(width, height) of windows, px"""
LOOK_HERE = os.environ.get("SIMGAN_SCREENSHOTS")
"""a folder to leave screenshots in, to be looked at"""


class Page(HTMLParser):
    """Tags, attributes and text of a page; checks that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.prose: list[str] = []
        """what is no code"""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
            if not {"code", "pre"} & set(self.open):
                self.prose.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words).replace("\N{NO-BREAK SPACE}", " "))

    def codes(self) -> list[str]:
        """Names with an underscore or a colon in them that stand among the words for people."""
        return re.findall(r"\b\w+_\w+\b|\b[a-z]+:[a-z_]+\b", " ".join(self.prose))

    def images(self) -> list[str]:
        return [
            address
            for tag, attrs in self.tags
            if tag in ("img", "image") and (address := attrs.get("src") or attrs.get("href"))
        ]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A browser of this machine, without a window."""
    api = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visiting(browser: "Browser", size: str, address: str, *also: str) -> Iterator["BrowserPage"]:
    """An empty page. At its end, nothing that it showed went wrong, and only addresses that begin
    with the given ones were asked for."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, has_touch=size == "phone")
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    page.close()
    assert said == []
    assert all(url.startswith((address, *also)) for url in asked)


class Visit:
    """A page opened at a size, with what it said and asked for."""

    def __init__(self, browser: "Browser", path: Path, size: tuple[int, int]) -> None:
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri(), wait_until="load")
