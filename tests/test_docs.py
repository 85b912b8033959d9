"""What the pages name is there: files, functions, options of commands, and links between pages."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from factory.dataset.kinds import known_kinds
from factory.domains.registry import known_domains
from support.coins import COIN_DOMAIN
from support.commands import commands_in, parsed
from support.places import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
    ),
    *sorted(DOCS.rglob("*.md")),
]
TOP = "schemas|factory|cluster|jobs|configs|gates|docs|tests|benchmarks|examples"
"""folders of the repository that a page may name"""
PATH = re.compile(rf"(?<![\w./@-])(?:{TOP}|simgan_factory)/[\w./*{{}},-]*[\w*/}}]")
DOTTED = re.compile(rf"(?<![\w./@-])(?:{TOP})(?:\.\w+)+")
HOP = re.compile(r"`([\w./]+\.py): ([\w.]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
OF_THE_READER = {"gates/coin.toml"}
"""files that a page tells its reader to write"""


def text_of(page: Path) -> str:
    """With `*` for what a page leaves open: `schemas/<domain>/`."""
    return re.sub(r"<\w+>", "*", page.read_text())


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=page_id)


def alternatives(path: str) -> Iterator[str]:
    """`a.{b,c}` as a shell expands it."""
    match = re.search(r"\{([\w,-]+)\}", path)
    if match is None:
        yield path
        return
    for part in match[1].split(","):
        yield from alternatives(path[: match.start()] + part + path[match.end() :])


@cache
def definitions(path: Path) -> frozenset[str]:
    """Names that a module defines at its top, and `Class.name` of what its classes define."""
    return frozenset(_defined(ast.parse(path.read_text()).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef():
                yield prefix + node.name
                yield from _defined(node.body, f"{prefix}{node.name}.")
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield prefix + node.name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name
            case ast.Assign():
                yield from (prefix + t.id for t in node.targets if isinstance(t, ast.Name))


def is_defined(dotted: str) -> bool:
    """Whether `factory.package.module.name` is a package, a module or a definition in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:end])
        name = ".".join(parts[end:])
        for module in (base.with_suffix(".py"), base / "__init__.py"):
            if module.is_file():
                return not name or name in definitions(module)
    return False


@every_page
def test_every_path_that_a_page_names_exists(page) -> None:
    named = set(PATH.findall(text_of(page))) - OF_THE_READER
    expanded = {each for path in named for each in alternatives(path)}
    assert [path for path in sorted(expanded) if not any(ROOT.glob(path))] == []


@every_page
def test_every_dotted_name_of_a_page_is_defined(page) -> None:
    named = sorted(set(DOTTED.findall(page.read_text())))
    assert [name for name in named if not is_defined(name)] == []


@every_page
def test_every_hop_of_a_page_names_a_definition_in_its_file(page) -> None:
    hops = HOP.findall(page.read_text())
    wrong = [
        f"{path}: {name}"
        for path, name in hops
        if not (ROOT / path).is_file() or name not in definitions(ROOT / path)
    ]
    assert wrong == []


def test_the_architecture_follows_a_render_hop_by_hop() -> None:
    hops = {path for path, _ in HOP.findall((DOCS / "architecture.md").read_text())}
    assert {"jobs/ingest.py", "jobs/refine.py", "jobs/validate.py"} <= hops
    assert "factory/dataset/commit.py" in hops


def test_what_is_not_there_is_found() -> None:
    """The checks above can fail."""
    assert PATH.findall("see `factory/labels/drift.py`.") == ["factory/labels/drift.py"]
    assert list(alternatives("x.{a,b}")) == ["x.a", "x.b"]
    assert is_defined("factory.dataset.dataset.Dataset.open")
    assert is_defined("factory.validation.report") and is_defined("schemas.base")
    assert not is_defined("factory.dataset.dataset.Datasets")
    assert not is_defined("factory.labels.drift")
    assert HOP.findall("`jobs/refine.py: main`") == [("jobs/refine.py", "main")]


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_link_of_a_page_leads_somewhere(page) -> None:
    wrong = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
        if page.is_relative_to(DOCS) and not target.resolve().is_relative_to(DOCS):
            wrong.append(f"{link}: `make docs` makes a site of docs/ alone; name the file as code")
    assert wrong == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    next_ones = [ROOT / "README.md"]
    while next_ones:
        page = next_ones.pop()
        reached.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(page.read_text()))
        pages = {(page.parent / link).resolve() for link in links if link.endswith(".md")}
        next_ones += [page for page in pages & set(PAGES) if page not in reached]
    assert set(PAGES) - reached == set()


def pages_in(nav: object) -> Iterator[str]:
    """Every page that a `nav` of zensical.toml names, at any depth."""
    match nav:
        case str():
            yield nav
        case list():
            for entry in nav:
                yield from pages_in(entry)
        case dict():
            yield from pages_in(list(nav.values()))


def test_the_site_leads_to_every_page() -> None:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    named = list(pages_in(nav))
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_pages_of_reports_call_a_render_a_render() -> None:
    """In their sentences and headings; `synthetic` is what the kind of its dataset is called."""
    for page in sorted((ROOT / "factory" / "domains").glob("*/page.html")):
        code = re.compile(r"{{.*?}}|{%.*?%}|<[^>]*>", re.DOTALL)
        assert "synthetic" not in code.sub("", page.read_text()), page


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 700


@every_page
def test_every_list_begins_after_a_blank_line(page) -> None:
    """GitHub sees a list without it as well; the site shows one paragraph."""
    lines = FENCE.sub("", page.read_text()).splitlines()
    items = re.compile(r"(- |\d+\. |  |#)")
    assert [
        line
        for before, line in pairwise(lines)
        if re.match(r"(- |\d+\. )", line) and before.strip() and not items.match(before)
    ] == []


def commands_of(page: Path) -> list[list[str]]:
    """Every `python jobs/…` and `simgan-factory …` of a page, in blocks and in running text;
    `[--option]` as given."""
    text = re.sub(r"simgan-factory (?=\w)(\w+) ", r"python jobs/\1.py ", page.read_text())
    blocks = FENCE.findall(text)
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [
        command
        for part in (*blocks, *spans)
        for command in commands_in(re.sub(r"[\[\]]", "", part))
        if "--help" not in command  # which any job takes, and which ends the program
    ]


@pytest.fixture
def at_the_reader(tmp_path, monkeypatch) -> None:
    """A checkout in which a reader has followed docs/new-domain.md."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "coin.toml").write_text("[train]\nsteps = 10\n")
    (tmp_path / "gates").mkdir()
    for name in (*OF_THE_READER, "FILE.toml", "SETUP.toml"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(known_domains(), "coin", COIN_DOMAIN)
    monkeypatch.setitem(known_kinds(), "coin", COIN_DOMAIN.sample_kind)


WITH_COMMANDS = [page for page in PAGES if page.stem != "deploy" and commands_of(page)]
"""the commands of docs/deploy.md are in tests/deploy"""


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=page_id)
def test_every_command_of_a_page_is_one_that_the_job_takes(page, at_the_reader) -> None:
    for command in commands_of(page):
        parsed(command)


@every_page
def test_every_code_block_of_a_page_is_closed(page) -> None:
    assert len(re.findall(r"^```", page.read_text(), re.MULTILINE)) % 2 == 0
