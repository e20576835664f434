"""Pages from templates: what stands in them is escaped, and nothing in them asks for anything from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..atomic_write import atomic_file
from ..optional_dependencies import need
from ..shown_text import shown

TEMPLATES = Path(__file__).with_name("templates")


def write_page(path: Path, template: str, **values: Any) -> None:
    """Replace a file by a template's page. Raises TwinsError where it cannot be written."""
    page = render(template, **values)
    with atomic_file(path, remedy="choose another place, or make room") as beside:
        beside.write_text(page, encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """A template with these values as one self-contained HTML page.

    Every value is text: whatever the data called its files and classes, no tag, no turn of the direction of writing and
    no half of a character gets into the page. Its own script is the only one that the browser is allowed to run, and
    images are those within the page.
    """
    jinja2 = need("jinja2", extra="train")
    markup = need("markupsafe", extra="train").Markup

    def shown_value(value: Any) -> Any:
        return shown(value) if isinstance(value, str) and not isinstance(value, markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown_value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("page.css", "sorting.js"))
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    page: str = environment.get_template(template).render(
        style=style, script=script, allowed_script=markup(f"'sha256-{digest}'"), **values
    )
    return page
