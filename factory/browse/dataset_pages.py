"""The first page, the page of a dataset or a release, its reports and its rejects."""

from collections.abc import Sequence
from typing import NamedTuple

from flask import Flask, Response, abort, render_template, request, url_for

from factory.browse.opened import Damage, Latest, Library, OpenedDataset, ReleaseLine, ReportLine
from factory.browse.places import Item
from factory.browse.rejects import NoPictureError, Rejected, read_rejects, rejected_png
from factory.browse.trainings import Strip, Training, newest_strip, read_training
from schemas.base import FormatError

NUM_LOOKS = 8
"""pictures of a dataset on the first page"""
REJECTS_OF_PAGE = 24
OF_A_REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'; sandbox"
)
"""a report is one file, whose style and pictures are in it; it may run nothing"""


class Card(NamedTuple):
    """A dataset or a training on the first page."""

    item: Item
    problem: str = ""
    """why it cannot be read; empty where it can"""
    training: Training | None = None
    strip: Strip | None = None
    opened: OpenedDataset | None = None
    num_samples: int = 0
    damage: Sequence[Damage] = ()
    keys: Sequence[str] = ()
    """of some samples, to be shown"""
    releases: Sequence[ReleaseLine] = ()
    reports: Sequence[ReportLine] = ()
    """the newest first"""
    latest: Latest | None = None


def add_to(app: Flask, library: Library) -> None:
    """Add these pages to an application."""

    @app.get("/")
    def home() -> str:
        items = library.places.all().values()
        cards = [_card(library, item) for item in items]
        return render_template(
            "home.html",
            cards=cards,
            places=library.places.places,
            problems=library.places.problems(),
        )

    @app.get("/datasets/<name>/", defaults={"release": None})
    @app.get("/datasets/<name>/releases/<release>/")
    def overview(name: str, release: str | None) -> str:
        opened = dataset_or_404(library, name)
        table = opened.joined(release).table
        return render_template(
            "dataset.html",
            opened=opened,
            release=release,
            manifest=None if release is None else opened.manifest(release),
            table=table,
            keys=_some_keys(opened, release),
            facts=_sums(opened),
            ancestors=opened.ancestors(library.places),
            children=opened.children(library.places),
            latest=opened.latest(library.places),
        )

    @app.get("/datasets/<name>/rejects")
    def rejects(name: str) -> str:
        opened = dataset_or_404(library, name)
        read = read_rejects(opened.dataset, opened.own_table().facts)
        counts = read.counts()
        kind, reason = request.args.get("kind"), request.args.get("reason")
        if (kind is None or reason is None) and counts:
            kind, reason = counts[0][:2]
        rows = read.of(kind or "", reason or "")
        page = page_in(request.args.get("page"), len(rows), REJECTS_OF_PAGE)
        first = (page - 1) * REJECTS_OF_PAGE
        shown = rows[first : first + REJECTS_OF_PAGE]
        return render_template(
            "rejects.html",
            opened=opened,
            rejects=read,
            counts=counts,
            chosen=(kind, reason),
            rows=shown,
            num_rows=len(rows),
            page=page,
            num_pages=num_pages(len(rows), REJECTS_OF_PAGE),
            why_not={row.key: _why_no_picture(opened, row) for row in shown},
        )

    @app.get("/datasets/<name>/rejects/<int:shard>/<key>.png")
    def reject_picture(name: str, shard: int, key: str) -> Response:
        opened = dataset_or_404(library, name)
        try:
            return Response(rejected_png(opened.dataset, shard, key), mimetype="image/png")
        except NoPictureError as error:
            abort(404, str(error))

    @app.get("/datasets/<name>/reports/")
    def reports(name: str) -> str:
        opened = dataset_or_404(library, name)
        return render_template("reports.html", opened=opened, lines=opened.reports())

    @app.get("/datasets/<name>/reports/<report_id>/")
    def report(name: str, report_id: str) -> str:
        opened = dataset_or_404(library, name)
        has_page = opened.dataset.store.size(_page_name(opened, report_id)) is not None
        line = next((line for line in opened.reports() if line.id == report_id), None)
        if line is None:
            abort(404, f"The report {report_id} is not complete yet.")
        return render_template("report.html", opened=opened, line=line, has_page=has_page)

    @app.get("/datasets/<name>/reports/<report_id>/report.html")
    def report_page(name: str, report_id: str) -> Response:
        opened = dataset_or_404(library, name)
        content = opened.dataset.store.read(_page_name(opened, report_id))
        reply = Response(content, mimetype="text/html")
        reply.headers["Content-Security-Policy"] = OF_A_REPORT
        return reply


def dataset_or_404(library: Library, name: str) -> OpenedDataset:
    """A dataset by its name in addresses; ends the request where there is none."""
    opened = library.dataset(name)
    if opened is None:
        abort(404, f"There is no dataset {name} at the places that are shown.")
    return opened


def num_pages(num: int, of_page: int) -> int:
    """Pages that hold some rows; at least one."""
    return max(1, -(-num // of_page))


def page_in(given: str | None, num: int, of_page: int) -> int:
    """The number of a page from an address, from 1; the nearest where there is no such page."""
    asked = int(given) if given is not None and given.isdecimal() and len(given) < 10 else 1
    return min(max(1, asked), num_pages(num, of_page))


def picture_url(opened: OpenedDataset, release: str | None, key: str, which: str = "own") -> str:
    """The address of a sample's picture.

    Args:
        which: `own`, `origin` for what it was refined from, or `change` for the difference.
    """
    name = opened.item.name
    return url_for("picture", name=name, release=release, key=key, which=which)


def _page_name(opened: OpenedDataset, report_id: str) -> str:
    if report_id not in opened.dataset.store.folders("reports"):
        abort(404, f"{opened.item.shown} has no report {report_id}.")
    return f"reports/{report_id}/report.html"


def _card(library: Library, item: Item) -> Card:
    try:
        if item.kind == "training":
            return Card(item, training=read_training(item), strip=newest_strip(item))
        opened = library.dataset(item.name)
        if opened is None:
            raise FileNotFoundError(f"{item.location} is gone")
        return Card(
            item,
            opened=opened,
            num_samples=opened.own_table().num_samples,
            damage=opened.damage(),
            keys=_some_keys(opened, None),
            releases=opened.releases(),
            reports=opened.reports(),
            latest=opened.latest(library.places),
        )
    except (OSError, FormatError, ValueError) as error:
        return Card(item, problem=str(error))


def _some_keys(opened: OpenedDataset, release: str | None) -> tuple[str, ...]:
    """Keys of the first samples of some shards."""
    table = opened.joined(release).table
    rows = range(min(NUM_LOOKS, table.num_samples))
    return tuple(table.take(rows, ["key"])["key"].to_pylist())


def _sums(opened: OpenedDataset) -> dict[str, int]:
    facts = opened.own_table().facts.values()
    return {
        "shards": len(facts),
        "samples": sum(fact.num_samples for fact in facts),
        "rejected": sum(fact.num_rejected for fact in facts),
        "filtered": sum(fact.num_filtered for fact in facts),
        "bytes": sum(fact.tar_size for fact in facts),
    }


def _why_no_picture(opened: OpenedDataset, row: Rejected) -> str:
    """Why a rejected input has no picture; empty where it has one."""
    try:
        rejected_png(opened.dataset, row.shard, row.key)
    except NoPictureError as error:
        return str(error)
    return ""
