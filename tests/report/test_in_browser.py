"""The pages in headless Chromium: they fit, sort, and ask for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.chromium import DESKTOP, PHONE, launched
from helpers.run_folders import write_csv, write_mistakes, write_noise, write_run
from twins.report.comparison import read_comparison, write_comparison
from twins.report.run_report import write_report

LONG = "a-class-with-a-name-that-has-no-spaces-" * 8


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report and a comparison, with names that would run, turn or widen a page that let them."""
    root = tmp_path_factory.mktemp("runs")
    classes = {"<script>document.title = 'run'</script>": 50.0, "\u202eturned": 100.0, LONG: 7.5, "\u718a\u732b": 9.0}
    first = write_run(root / "first", classes=classes, notes=[LONG, '"><img src="https://example.org/a.png">'])
    second = write_run(root / f"second-{'x' * 120}", [40.0, 90.0], classes=dict(reversed(classes.items())), lr=0.01)
    write_csv(first / "confusion.csv", ["truth", "predicted", "images"], [[a, b, 9] for a in classes for b in classes])
    write_mistakes(first, [f"{LONG} (93 %), not <b>"] * 3, file=f"{LONG}.png")
    write_noise(first / "train_batch.png", 300, 200)
    write_comparison(read_comparison([first, second]), root / "comparison.html")
    return {"report": write_report(first), "comparison": root / "comparison.html"}


class Opened:
    """A page in the browser, and what it did there."""

    def __init__(self, browser: Any, path: Path, viewport: dict[str, int], scheme: str) -> None:
        self.page = browser.new_page(viewport=viewport, color_scheme=scheme)
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)

    def requests_elsewhere(self, path: Path) -> list[str]:
        return [url for url in self.requests if url != path.as_uri() and not url.startswith("data:")]


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_a_page_fits_and_asks_for_nothing(
    browser: Any, pages: dict[str, Path], name: str, viewport: dict[str, int], scheme: str
) -> None:
    opened = Opened(browser, pages[name], viewport, scheme)
    assert opened.messages == []
    assert opened.requests_elsewhere(pages[name]) == []
    assert opened.run("document.documentElement.scrollWidth") == viewport["width"]
    assert opened.run("document.title") != "run"
    assert opened.run("document.scripts.length") == 1
    assert opened.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    images = opened.run("document.images.length")
    assert images == (4 if name == "report" else 0)
    paper, ink = (
        opened.run(f"getComputedStyle(document.body).{part}.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)")
        for part in ("backgroundColor", "color")
    )
    assert (paper > 700 and ink < 100) if scheme == "light" else (paper < 100 and ink > 700)
    opened.page.close()


def test_tables_sort(browser: Any, pages: dict[str, Path]) -> None:
    """Numbers largest first, names from A to Z, and the other way at the second click."""
    opened = Opened(browser, pages["report"], DESKTOP, "light")
    table = opened.page.locator("table", has=opened.page.locator("th button")).first

    def values() -> list[str]:
        return [text.strip() for text in table.locator("tbody tr td:last-child").all_inner_texts()]

    assert values() == ["7.50", "9.00", "50.00", "100.00"]  # the worst class first
    accuracy = table.get_by_role("button", name="accuracy")
    accuracy.click()
    assert values() == ["100.00", "50.00", "9.00", "7.50"]
    accuracy.click()
    assert values() == ["7.50", "9.00", "50.00", "100.00"]
    table.get_by_role("button", name="class").click()
    assert table.locator("tbody th").first.inner_text().startswith("\\u202e")
    assert table.locator("thead th").first.get_attribute("aria-sort") == "ascending"
    assert opened.messages == []
    opened.page.close()
