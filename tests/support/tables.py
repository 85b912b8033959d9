"""Tables of pages as tests read them: whether every number in them has its unit."""

import re
from html.parser import HTMLParser

UNIT = re.compile(
    r"\b(px|mm|dB|sd|s|grey levels|samples?|images?|pictures?|share|ratio|no unit)\b"
    r"|[°%]|on \[−1, 1\]|standard deviations"
)
"""in a cell, or in the head of its row or column"""
UNITLESS = {
    "samples", "images", "pictures", "seeds", "shard", "sha256 of the tar", "rank correlation",
    "verdict", "limit on", "because", "why", "witnesses", "witness", "look", "right",
    "taken for real", "taken for synthetic", "p, two-sided", "p, one-sided",
}  # fmt: skip
"""heads of columns of counts, names and words, and of numbers that have no unit"""


class Tables(HTMLParser):
    """The tables of a page: rows of (tag, text) cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[tuple[str, str]]]] = []
        self.cell: list[str] | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            text = re.sub(r"\s+", " ", "".join(self.cell)).strip()
            self.tables[-1][-1].append((tag, text))
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell.append(data)


def without_unit(html: str) -> list[str]:
    """The cells with a number whose unit is said nowhere: neither in the cell, nor in the head of
    its column or row, nor in a column of units.

    A row that begins with a cell of several rows has one cell less below it, so columns are counted
    from the right.
    """
    bare = []
    for heads, *rows in (table for table in Tables(html).tables if table):
        names = [text for _, text in heads]
        for row in rows:
            row_head = " ".join(text for tag, text in row if tag == "th")
            row_head += " ".join(row[k][1] for k, name in enumerate(names) if name == "limit on")
            has_unit_column = "unit" in names
            for (tag, text), name in zip(row[::-1], names[::-1], strict=False):
                has_unit = name in UNITLESS or any(map(UNIT.search, (text, name, row_head)))
                if tag == "td" and re.search(r"\d", text) and not (has_unit or has_unit_column):
                    bare.append(f"{row_head} / {name}: {text}")
    return bare
