"""What every page that is served to a browser of this machine, and to nothing else, has to check.

A server at 127.0.0.1 can be reached by every page that the browser shows: another site can ask for
its addresses, or give itself a name that leads to 127.0.0.1 (DNS rebinding). So only requests that
name the server as their host are answered, and of those only the ones that no other site made.
"""

from collections.abc import Mapping, Set

HOST = "127.0.0.1"
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""of every answer, beside its Content-Security-Policy"""


def origins_at(port: int) -> frozenset[str]:
    """The origins that a server on a port of this machine has in a browser."""
    return frozenset(f"http://{name}:{port}" for name in (HOST, "localhost"))


def url_at(port: int) -> str:
    """Where the page of a server on a port of this machine is."""
    return f"http://{HOST}:{port}/"


def port_error(port: int, error: OSError) -> OSError:
    """What is said of a port that cannot be bound."""
    return OSError(
        f"port {port} of {HOST} cannot be used ({error.strerror}); give another --port, or leave "
        "it out"
    )


def is_foreign(
    origins: Set[str],
    *,
    host: str | None,
    origin: str | None,
    site: str | None,
    needs_origin: bool = False,
) -> str | None:
    """Why a request is refused; None where it came from a page of this server, or from the address
    line.

    Args:
        origins: of the server, as `origins_at` gives them.
        host: the header `Host`; None where there is none. So are the next two.
        origin: `Origin`.
        site: `Sec-Fetch-Site`.
        needs_origin: whether an origin has to be named, as browsers do when something changes.
    """
    if f"http://{host}" not in origins:
        return "this server is asked for by a name that is not its own"
    if (origin is not None or needs_origin) and origin not in origins:
        return "this request is of another site"
    if site not in (None, "same-origin", "none"):
        return "this request is of another site"
    return None
