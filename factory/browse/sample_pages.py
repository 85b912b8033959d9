"""The samples of a dataset or a release by query, and the page of one sample."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flask import Flask, Response, abort, render_template, request, url_for

from factory.browse.dataset_pages import dataset_or_404, num_pages, page_in, picture_url
from factory.browse.measured import Column, JoinedTable
from factory.browse.opened import Joined, Library, OpenedDataset
from factory.browse.pictures import Pictures, StoredSample
from factory.browse.query import MOST_SECONDS, SECONDS, Answer, Query, QueryError
from factory.images.png import decode_png, encode_png
from factory.reading.sample import NO_LABELS
from schemas.labels import LabelNote, Outline
from schemas.report import SampleCheck

OF_PAGE = 48
"""samples of a page"""
MOST_SHOWN = 12
"""columns of a table of samples that nobody asked for"""
LARGE_PX = 390
"""width that a picture on the page of a sample is magnified to, about"""
LEAST_WHOLE = 3
"""times that a small picture is magnified"""
WAITS_S = (SECONDS, 30.0, MOST_SECONDS)
"""how long somebody may be ready to wait for a query"""


class Asked(NamedTuple):
    """What the address of a list of samples, or of one of them, says."""

    query: Query
    view: str
    """`pictures` or `table`"""
    show: tuple[str, ...]
    """columns that are shown whatever the query names"""

    def arguments(self, **other: Any) -> dict[str, Any]:
        """The arguments of an address that asks the same, or something else in some of them."""
        query = self.query
        given = {
            "where": query.where,
            "sort": query.sort,
            "order": "desc" if query.descending else None,
            "view": self.view if self.view != "pictures" else None,
            "show": ",".join(self.show),
            "wait": f"{query.seconds:g}" if query.seconds != SECONDS else None,
        }
        return {name: value for name, value in (given | other).items() if value}


class Worst(NamedTuple):
    """An order that puts first what is worst by a measure."""

    measure: str
    descending: bool
    why: str


def add_to(app: Flask, library: Library) -> None:
    """Add these pages to an application."""

    @app.get("/datasets/<name>/samples", defaults={"release": None})
    @app.get("/datasets/<name>/releases/<release>/samples")
    def samples(name: str, release: str | None) -> str:
        opened = dataset_or_404(library, name)
        joined = opened.joined(release)
        table, asked = joined.table, asked_in(request.args)
        answer, problem = _answered(joined, asked.query)
        page = page_in(request.args.get("page"), answer.num_shown, OF_PAGE)
        worst = worst_first(opened, table)
        shown = _shown_columns(table, asked, answer, worst)
        rows = answer.page((page - 1) * OF_PAGE, OF_PAGE)
        names = list(dict.fromkeys(["key", *_flags(table), *(c.name for c in shown)]))
        return render_template(
            "samples.html",
            opened=opened,
            release=release,
            joined=joined,
            table=table,
            asked=asked,
            answer=answer,
            problem=problem,
            instead=_instead(asked, problem),
            rows=table.take(rows, names).to_pylist(),
            shown=shown,
            worst=worst,
            page=page,
            num_pages=num_pages(answer.num_shown, OF_PAGE),
            first=(page - 1) * OF_PAGE,
            picture_url=picture_url,
            sort_url=sort_url,
            example=_example(table, worst),
            waits=[wait for wait in WAITS_S if wait > asked.query.seconds],
        )

    @app.get("/datasets/<name>/samples/<key>", defaults={"release": None})
    @app.get("/datasets/<name>/releases/<release>/samples/<key>")
    def sample(name: str, release: str | None, key: str) -> str:
        opened = dataset_or_404(library, name)
        joined = opened.joined(release)
        stored = _stored_or_404(joined.pictures, key)
        asked = asked_in(request.args)
        answer, _ = _answered(joined, asked.query)
        position = answer.position_of(stored.row)
        table = joined.table
        (row,) = table.take([stored.row], [c.name for c in table.columns.values()]).to_pylist()
        record = joined.pictures.record(stored)
        return render_template(
            "sample.html",
            opened=opened,
            release=release,
            joined=joined,
            key=key,
            stored=stored,
            asked=asked,
            answer=answer,
            position=position,
            neighbours=_neighbours(table, answer, position),
            row=row,
            record=record,
            labels={n: v for n, v in record.items() if n not in NO_LABELS},
            notes={name: opened.guide.notes.get(name, LabelNote("", "", "")) for name in record},
            measured=_measured(table),
            limits=_limits(opened, table),
            has_origin=joined.origin is not None and joined.origin.stored(key) is not None,
            outline=_outline(opened, record),
            size=_large(opened),
            picture_url=picture_url,
        )

    @app.get("/datasets/<name>/samples/<key>/<which>.png", defaults={"release": None})
    @app.get("/datasets/<name>/releases/<release>/samples/<key>/<which>.png")
    def picture(name: str, release: str | None, key: str, which: str) -> Response:
        joined = dataset_or_404(library, name).joined(release)
        if which == "own":
            png = joined.pictures.shown(_stored_or_404(joined.pictures, key))
        elif which == "origin" and joined.origin is not None:
            png = joined.origin.shown(_stored_or_404(joined.origin, key))
        elif which == "change" and joined.origin is not None:
            png = _change_png(joined.pictures, joined.origin, key)
        else:
            abort(404, f"There is no picture {which!r} of {key}.")
        return Response(png, mimetype="image/png")


def asked_in(arguments: Mapping[str, str]) -> Asked:
    """What an address asks for; what it does not say, or not rightly, has its default."""
    wait = arguments.get("wait", "")
    seconds = float(wait) if wait.isdecimal() and len(wait) < 4 else SECONDS
    query = Query(
        where=arguments.get("where", "").strip(),
        sort=arguments.get("sort", "").strip(),
        descending=arguments.get("order") == "desc",
        seconds=min(max(SECONDS, seconds), MOST_SECONDS),
    )
    show = tuple(name for name in arguments.get("show", "").split(",") if name)
    view = "table" if arguments.get("view") == "table" else "pictures"
    return Asked(query, view, show)


def worst_first(opened: OpenedDataset, table: JoinedTable) -> list[Worst]:
    """The measures that samples are likely to be sorted by, with the direction that is worst: those
    that the newest report limits, else those whose names speak of drifts and errors."""
    worst: dict[str, Worst] = {}
    for check in _checks(opened, table):
        if check.measure in table.columns and check.measure not in worst:
            high = check.at_most is not None or check.at_least is None
            worst[check.measure] = Worst(check.measure, high, check.why)
    for column in table.columns.values():
        speaks = any(word in column.name for word in ("drift", "error", "registration", "change"))
        if column.group == "measure" and speaks and column.is_number and not column.is_empty:
            worst.setdefault(column.name, Worst(column.name, True, column.meaning))
    return list(worst.values())


def _measured(table: JoinedTable) -> list[Column]:
    """The measures, those first that somebody has explained."""
    columns = [c for c in table.columns.values() if c.group == "measure"]
    return sorted(columns, key=lambda column: not column.meaning)


def _degrees(table: JoinedTable) -> list[str]:
    """The labels that are angles in degrees."""
    return [c.name for c in table.columns.values() if c.group == "label" and c.unit == "°"]


def _example(table: JoinedTable, worst: Sequence[Worst]) -> str:
    """A query that fits these columns, to begin with."""
    degrees = sorted(_degrees(table), key=lambda name: "yaw" not in name)
    parts = [f"{name} > 20" for name in degrees[:1]]
    parts += [f"{one.measure} {'>' if one.descending else '<'} 0.1" for one in worst[:1]]
    return " and ".join(parts) or "shard = 0 and split = 'train'"


def _answered(joined: Joined, query: Query) -> tuple[Answer, QueryError | None]:
    """The answer, or one without rows and what is wrong with the query."""
    try:
        return joined.answers.of(query), None
    except QueryError as error:
        none = np.empty(0, np.int64)
        total = joined.table.num_samples
        return Answer(none, 0, total, total, seconds=0.0), error


def _checks(opened: OpenedDataset, table: JoinedTable) -> Sequence[SampleCheck]:
    """The limits on samples of the report whose verdicts are shown."""
    return () if table.report_id is None else opened.report(table.report_id).samples


def _limits(opened: OpenedDataset, table: JoinedTable) -> dict[str, list[SampleCheck]]:
    limits: dict[str, list[SampleCheck]] = {}
    for check in _checks(opened, table):
        limits.setdefault(check.measure, []).append(check)
    return limits


def _flags(table: JoinedTable) -> list[str]:
    """What is shown of every sample, where it is known."""
    return [name for name in ("keep", "reasons") if name in table.columns]


def _shown_columns(
    table: JoinedTable, asked: Asked, answer: Answer, worst: Sequence[Worst]
) -> list[Column]:
    """The columns beside the pictures: those that were asked for, those that the query names, and,
    where these are none or there is room in a table, some that say most."""
    names = [*asked.show, *answer.named]
    degrees = _degrees(table)
    usual = [*degrees[:2], *(one.measure for one in worst)]
    if asked.view == "table":
        names += ["split", "identity", *degrees, *(one.measure for one in worst)]
        names = list(dict.fromkeys(names))[: max(MOST_SHOWN, len(set(asked.show)))]
    said = ("key", *_flags(table))
    names = [name for name in dict.fromkeys(names) if name in table.columns and name not in said]
    return [table.columns[name] for name in names or usual[:3]]


def _instead(asked: Asked, problem: QueryError | None) -> list[tuple[str, dict[str, Any]]]:
    """(name, arguments of an address) of queries with another column in place of the wrong one."""
    if problem is None or problem.start is None or not problem.instead:
        return []
    text = asked.query.where
    wrong = text[problem.start :][: problem.length]
    word = next((w for w in wrong.replace("(", " ").split() if w.isidentifier()), "")
    if not word:
        return []
    start = problem.start + wrong.index(word)
    before, after = text[:start], text[start + len(word) :]
    return [(name, asked.arguments(where=f"{before}{name}{after}")) for name in problem.instead]


def _neighbours(
    table: JoinedTable, answer: Answer, position: int | None
) -> tuple[str | None, str | None]:
    """Keys of the samples before and after one, in the order of an answer."""
    if position is None:
        return None, None
    around = [answer.page(p, 1) if p >= 0 else [] for p in (position - 1, position + 1)]
    keys = [table.take(rows, ["key"])["key"][0].as_py() if rows else None for rows in around]
    return keys[0], keys[1]


def _stored_or_404(pictures: Pictures, key: str) -> StoredSample:
    stored = pictures.stored(key)
    if stored is None:
        abort(404, f"There is no sample {key} here.")
    return stored


def _outline(opened: OpenedDataset, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is drawn over the pictures of a sample: the points of its labels, joined by lines."""
    layout = opened.guide.keypoints
    if layout is None or not opened.card.labelled:
        return None
    outline: Outline | None = layout.outline(record)
    if outline is None:
        return None
    points = [(float(x), float(y)) if np.isfinite((x, y)).all() else None
              for x, y in outline.points_xy]  # fmt: skip
    lines = [(points[a], points[b]) for a, b in layout.skeleton if points[a] and points[b]]
    return {"points": [point for point in points if point], "lines": lines}


def _large(opened: OpenedDataset) -> dict[str, int]:
    """Width and height of a stored picture, and those that it is magnified to, small ones by a
    whole number, so that their pixels are all of one size."""
    image = opened.card.image
    whole_scale = LARGE_PX // image.width
    scale = whole_scale if whole_scale >= LEAST_WHOLE else LARGE_PX / image.width
    return {
        "width": image.width,
        "height": image.height,
        "shown_width": round(image.width * scale),
        "shown_height": round(image.height * scale),
    }


def _change_png(own: Pictures, origin: Pictures, key: str) -> bytes:
    """Refined less parent: grey where nothing changed, brighter where the refined one is."""
    after = decode_png(own.shown(_stored_or_404(own, key))).astype(np.int16)
    before = decode_png(origin.shown(_stored_or_404(origin, key))).astype(np.int16)
    change = (128 + (after - before) // 2).clip(0, 255).astype(np.uint8)
    return encode_png(change)


def sort_url(name: str, release: str | None, asked: Asked, column: str) -> str:
    """The address of the same samples sorted by a column: first the largest, then the smallest."""
    is_largest_first = asked.query.sort == column and asked.query.descending
    arguments = asked.arguments(sort=column, order=None if is_largest_first else "desc")
    return url_for("samples", name=name, release=release, **arguments)
