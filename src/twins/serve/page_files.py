"""The page: its files, read once when the server starts, so that no path in a request ever reaches the disk."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

INDEX = "index.html"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


class PageFile(NamedTuple):
    """A file of the page."""

    content: bytes
    media_type: str


def read_page() -> dict[str, PageFile]:
    """The files beside this module in `page/`, by their names; none where the folder is missing."""
    folder = files(__package__) / "page"
    if not folder.is_dir():
        return {}
    known = {entry.name: entry for entry in folder.iterdir() if entry.is_file()}
    types = {name: _TYPES.get(name[name.rfind(".") :]) for name in known}
    return {name: PageFile(entry.read_bytes(), kind) for name, entry in known.items() if (kind := types[name])}
