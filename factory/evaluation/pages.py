"""The frame of the pages of evaluations: one HTML file each, which needs no other, runs no script
and asks for nothing."""

from pathlib import Path
from typing import Any

from factory.store.extras import require


def page_of(template: Path, name: str, **values: Any) -> str:
    """A page, with everything inside.

    Args:
        template: extends `frame.html`, which lies beside this module.
        name: of the page, for the message where jinja2 is missing.
        values: what the template knows.

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    require("jinja2", name)
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template.name).render(**values)
