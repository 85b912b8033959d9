"""Serving the page to a browser of this machine, until the program is stopped."""

import logging
import threading
import webbrowser
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from factory.browse.places import Places
from factory.serving.own_machine import HOST, port_error, url_at
from factory.store.extras import require

if TYPE_CHECKING:
    from waitress.server import BaseWSGIServer

WAKES_S = 0.5
"""seconds after which the main thread looks whether the server is still at work"""
THREADS = 6
"""requests that are answered at once: browsers ask for six pictures at a time"""


def make_server(places: Sequence[str], port: int) -> "BaseWSGIServer":
    """A server of the page that does not run yet; `run` serves, and `close` ends it.

    Args:
        places: what `Places` takes.
        port: 0 for any that is free; `effective_port` is the one that was taken.

    Raises:
        MissingExtraError: Flask or waitress is not installed.
        OptionError: there is nothing to see at a place.
        OSError: the port is taken.
    """
    for module in ("flask", "waitress"):
        require(module, "the page to look around")
    from waitress.server import create_server

    from factory.browse.app import make_app

    Places(places).check()
    # A page asks for all its pictures at once, and some wait; that is no reason for a warning.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    try:
        server = create_server(
            _not_yet, host=HOST, port=port, threads=THREADS, ident="simgan-factory"
        )
    except OSError as error:
        raise port_error(port, error) from error
    server.application = make_app(places, port=server.effective_port)
    return server


def serve(
    places: Sequence[str], *, port: int, say: Callable[[str], None], open_page: bool = False
) -> None:
    """Serve the page until the program is stopped. Raises as `make_server`.

    Args:
        say: is told the address, once the page can be asked for.
        open_page: show it in the browser of this machine.
    """
    server = make_server(places, port)
    say(url_at(server.effective_port))
    if open_page:
        webbrowser.open(url_at(server.effective_port))
    # In a thread of its own, because `run` takes what a signal raises for a wish to end well.
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(WAKES_S)
    finally:
        server.close()


def _not_yet(environ: object, start_response: object) -> list[bytes]:
    raise AssertionError("a request before the application was set")
