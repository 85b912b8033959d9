"""The site of the pages: its check finds what is wrong, and the built site asks no other host."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from factory import MODULES
from jobs import GROUPS
from support.built_site import faults_of
from support.pages import LOOK_HERE, SIZES, browser
from support.places import ROOT

__all__ = ["browser"]
OF_ESTIMATORS = {"estimator", "gaze", "joints", "landmarks"}
"""jobs whose one class is elsewhere"""
GOOD = """<html><head><link rel="canonical" href="https://example.org/"><link rel="stylesheet"
href="a.css"></head><body><a href="two.html#there">two</a> <a href="https://example.org">out</a>
<img src="one.png"></body></html>"""


@pytest.fixture
def site(tmp_path) -> Path:
    """Two pages without a fault."""
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "two.html").write_text('<h2 id="there">There</h2><a href="index.html">back</a>')
    (tmp_path / "a.css").write_text("body { background: url(one.png) }")
    (tmp_path / "one.png").touch()
    return tmp_path


def test_a_good_site_has_no_faults(site) -> None:
    assert list(faults_of(site)) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('<a href="three.html">', "index.html: three.html leads nowhere"),
        ('<a href="two.html#here">', "index.html: two.html#here has no such anchor"),
        ('<a href="#here">', "index.html: #here has no such anchor"),
        ('<img src="two.png">', "index.html: two.png leads nowhere"),
        (
            '<script src="//cdn.example/a.js">',
            "index.html asks another host for //cdn.example/a.js",
        ),
        ('<link rel="stylesheet" href="https://f.example/c">', "index.html asks another host for"),
    ],
)
def test_each_fault_of_a_page_is_named(site, wrong, said) -> None:
    (site / "index.html").write_text(GOOD + wrong)
    (fault,) = faults_of(site)
    assert fault.startswith(said)


def test_a_style_that_fetches_a_font_is_named(site) -> None:
    (site / "a.css").write_text("@import url('https://fonts.example/css');")
    assert list(faults_of(site)) == ["a.css asks another host for https://fonts.example/css"]


def test_a_folder_without_pages_is_no_site(tmp_path) -> None:
    with pytest.raises(ValueError, match="holds no page"):
        list(faults_of(tmp_path))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The site as `make docs` builds it, from this checkout, in a folder of its own."""
    if find_spec("zensical") is None:
        pytest.skip("needs the extra docs, which `make docs` installs")
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", folder)
    for name in ("docs", "schemas", "factory", "cluster", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out" / "site"


def test_the_reference_asks_for_every_job() -> None:
    page = (ROOT / "docs" / "api" / "options.md").read_text()
    jobs = [name for names in GROUPS.values() for name in names]
    classes = [f"jobs.{name}.{name.capitalize()}Job" for name in jobs if name not in OF_ESTIMATORS]
    assert [name for name in classes if f"::: {name}\n" not in page] == []
    assert "::: cluster.job.estimators.EstimatorJob\n" in page


@pytest.mark.long
def test_the_built_site_has_no_faults(built) -> None:
    assert list(faults_of(built)) == []


@pytest.mark.long
def test_the_reference_has_every_name_of_the_library_and_its_arguments(built) -> None:
    page = (built / "api" / "library.html").read_text()
    for name, module in MODULES.items():
        assert f'id="{module}.{name}"' in page
    assert "noise_seed" in page and "for a refiner with noise" in page
    options = (built / "api" / "options.html").read_text()
    assert 'id="factory.training.config.TrainConfig.lambda_reg"' in options


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output is for failures."""


@pytest.fixture(scope="module")
def served(built) -> Iterator[str]:
    """Address of the built site on this machine."""

    def handler(*arguments: object) -> _Quiet:
        return _Quiet(*arguments, directory=str(built))  # type: ignore[arg-type]

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.long
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize(
    "name", ["index", "architecture", "training", "api/library", "api/options"]
)
def test_a_page_fits_its_window_and_asks_this_machine_alone(browser, served, name, size) -> None:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served}{name}.html", wait_until="networkidle")
    if LOOK_HERE:
        picture = Path(LOOK_HERE, f"site-{name.replace('/', '-')}-{size}.png")
        page.screenshot(path=str(picture))
    elsewhere = [url for url in asked if not url.startswith((served, "data:", "blob:"))]
    assert elsewhere == [] and said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.long
def test_search_finds_an_option(browser, served) -> None:
    page = browser.new_page()
    page.goto(f"{served}index.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
    page.locator("input:focus").fill("noise_seed")
    link = page.locator("a[href*='?h='][href*='#'][href*='api/']").first
    link.wait_for(timeout=20_000)
    assert "noise_seed" in link.inner_text()
    anchor = (link.get_attribute("href") or "").partition("#")[2]
    link.click()
    page.locator(f"[id='{anchor}']").wait_for()
    page.close()
