"""The documentation's site: it builds without a warning, asks for nothing outside, and names everything public."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import twins

ROOT = Path(__file__).parents[2]
# Attributes by which a browser fetches something of itself; what a reader may click is not among them.
_FETCHED = {
    *{("script", "src"), ("img", "src"), ("img", "srcset"), ("iframe", "src"), ("source", "src"), ("video", "src")},
    *{("link", "href"), ("object", "data")},
}
# Addresses that Material's script knows for browsers without ResizeObserver, and for diagrams, of which we have none.
_NEVER_LOADED = {"https://unpkg.com/resize-observer-polyfill", "https://unpkg.com/mermaid@11/dist/mermaid.min.js"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    pytest.importorskip("material", reason="mkdocs-material builds the site")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return folder


class Page(HTMLParser):
    """What a page fetches, and the ids in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self.fetched += [value for name, value in attrs if (tag, name) in _FETCHED and value]


def test_the_pages_ask_for_nothing_outside_and_for_nothing_that_is_not_there(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        fetched = Page(path).fetched
        assert fetched
        for address in fetched:
            assert not re.match(r"([a-z]+:)?//", address), f"{path.name} fetches {address}"
            base = site if path.name == "404.html" else path.parent
            assert (base / address.split("?")[0].lstrip("/")).exists(), f"{path.name}: {address}"


def test_styles_and_scripts_ask_for_nothing_outside(site: Path) -> None:
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8")), style.name
    for script in site.rglob("*.js"):
        loaded = re.findall(r"https?://(?:unpkg|cdn|cdnjs)[\w./@-]+", script.read_text(encoding="utf-8"))
        assert set(loaded) <= _NEVER_LOADED, script.name


def test_every_public_name_stands_in_the_reference(site: Path) -> None:
    ids = set().union(*(Page(path).ids for path in (site / "reference").glob("*.html")))
    public = {*twins.__all__, *twins._MODULE_OF, *twins._SUBMODULES}
    assert public <= set(dir(twins))
    assert sorted(name for name in public if f"twins.{name}" not in ids) == []


def test_shapes_units_and_errors_show(site: Path) -> None:
    page = (site / "reference" / "networks.html").read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<[^>]+>|\u2013", " ", page).split())
    assert "(B, in_chans, H, W) float images of any size -&gt; (B, num_classes) logits" in text
    assert "Raises:" in text
    assert "TwinsError for an unknown name, for values that make no network" in text


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_pages_beside_docs_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (ROOT / target.split("#")[0]).exists(), target
