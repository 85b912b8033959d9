"""Check a built site: every link of its pages leads somewhere, and no page asks another host.

    python tests/support/built_site.py FOLDER

`make docs` calls it. The builder itself checks links between Markdown pages alone; this looks at
the HTML, so it sees pictures, links in docstrings and anchors that were made from code too.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""tag -> the attribute whose address a browser fetches without being asked"""
NOT_FETCHED = {"canonical", "alternate", "next", "prev"}
"""kinds of `<link>` that only state an address"""
TOP = {"", "__top"}
"""anchors that every page has"""
IMPORTED = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\s\"')]+)")


class SitePage(HTMLParser):
    """The ids of a page, and the addresses in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        """that a reader may follow"""
        self.loaded: list[str] = []
        """that the browser fetches by itself"""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.ids |= {name for name in (of.get("id"), of.get("name")) if name}
        if tag == "a" and (address := of.get("href")):
            self.links.append(address)
        is_stated = tag == "link" and set((of.get("rel") or "").split()) & NOT_FETCHED
        if not is_stated and (address := of.get(LOADED.get(tag, ""))):
            self.loaded.append(address)


def faults_of(site: Path) -> Iterator[str]:
    """What is wrong with the pages and style sheets of a site, in words.

    Raises:
        ValueError: the folder holds no page.
    """
    pages = {path: SitePage(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    if not pages:
        raise ValueError(f"{site} holds no page")
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loaded:
            if urlsplit(address).netloc:
                yield f"{name} asks another host for {address}"
        for address in {*page.links, *page.loaded}:
            split = urlsplit(address)
            # 404.html is served in place of pages at any depth, so its addresses begin at the root.
            if split.scheme or split.netloc or name.name == "404.html":
                continue
            target = (path.parent / unquote(split.path)).resolve() if split.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{name}: {address} leads nowhere"
            elif target in pages and unquote(split.fragment) not in pages[target].ids | TOP:
                yield f"{name}: {address} has no such anchor"
    for style in sorted(site.rglob("*.css")):
        for address in IMPORTED.findall(style.read_text("utf-8")):
            yield f"{style.relative_to(site)} asks another host for {address}"


def main() -> None:
    (folder,) = sys.argv[1:]
    site = Path(folder).resolve()
    faults = list(faults_of(site))
    for fault in faults:
        print(fault)
    num_pages = len(list(site.rglob("*.html")))
    print(f"{site}: {num_pages} pages, {len(faults)} faults; open {site / 'index.html'}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
