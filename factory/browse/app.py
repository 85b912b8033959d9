"""The page as a Flask application: which requests are answered, and what every answer carries."""

import logging
from collections.abc import Sequence
from http import HTTPStatus

from flask import Flask, Response, render_template, request
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException

from factory.browse import dataset_pages, sample_pages, training_pages
from factory.browse.opened import Library
from factory.browse.places import Places
from factory.browse.shown import FILTERS
from factory.reading.selection import LONGEST_EXPRESSION
from factory.release.publish import NotReleasableError
from factory.serving.own_machine import HEADERS, is_foreign, origins_at
from schemas.base import FormatError

log = logging.getLogger(__name__)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
READING = ("GET", "HEAD")
"""the only methods: nothing can be changed"""


def make_app(places: Sequence[str], *, port: int) -> Flask:
    """The application for some places.

    Args:
        places: what `Places` takes.
        port: of the server at 127.0.0.1, by whose name alone it answers.
    """
    app = Flask(__name__, static_folder="static", template_folder="templates")
    app.jinja_env.autoescape = True
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(FILTERS)
    library = Library(Places(places))
    origins = origins_at(port)

    @app.before_request
    def only_from_here() -> Response | None:
        if request.method not in READING:
            return _plain(
                "This page can be read and changes nothing.", HTTPStatus.METHOD_NOT_ALLOWED
            )
        why = is_foreign(
            origins,
            host=request.headers.get("Host"),
            origin=request.headers.get("Origin"),
            site=request.headers.get("Sec-Fetch-Site"),
        )
        if why is not None:
            return _plain(f"{why}.", HTTPStatus.FORBIDDEN)
        if any(len(value) > LONGEST_EXPRESSION for value in request.args.values()):
            return _plain(
                f"A field of this address is longer than {LONGEST_EXPRESSION:,} characters.",
                HTTPStatus.REQUEST_URI_TOO_LONG,
            )
        return None

    @app.after_request
    def with_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    @app.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> tuple[str, int]:
        return _error_page(error.description or error.name, error.code or 500)

    @app.errorhandler(FileNotFoundError)
    @app.errorhandler(NotReleasableError)
    def gone(error: Exception) -> tuple[str, int]:
        return _error_page(str(error), HTTPStatus.NOT_FOUND)

    @app.errorhandler(FormatError)
    @app.errorhandler(OSError)
    @app.errorhandler(ValueError)
    def unreadable(error: Exception) -> tuple[str, int]:
        log.warning("%s: %s", request.path, error)
        return _error_page(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)

    dataset_pages.add_to(app, library)
    sample_pages.add_to(app, library)
    training_pages.add_to(app, library)
    return app


def _plain(text: str, status: HTTPStatus) -> Response:
    return Response(text, status, mimetype="text/plain")


def _error_page(why: str, status: int) -> tuple[str, int]:
    return render_template("error.html", why=why, status=int(status)), int(status)
