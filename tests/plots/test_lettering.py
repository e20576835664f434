"""Texts in plots: any string can be drawn, none is a formula, and fonts are found for what DejaVu Sans lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from PIL import Image

from twins.data.palette import class_colours
from twins.plots import fonts
from twins.plots.class_bars import draw_class_bars
from twins.plots.confusion import draw_confusion
from twins.plots.image_grid import draw_image_grid
from twins.plots.lettering import load_font, printable, shortened
from twins.plots.masks import Masked, draw_mask, draw_masks

NAMES = (
    *("$a_$", "US$_new", r"\frac{1}{2}", "^_^", "_under", "#", "\u732b", "\uace0\uc591\uc774", "\u0642\u0637\u0629"),
    *("\U0001f600 smile", "x" * 300, "", "two\nlines", "\x00\x07\x1b[31mred", "caf\udce9", "e\u0301tude", "\u202egnp"),
)
N = len(NAMES)


@pytest.fixture(autouse=True)
def nothing_noticed_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(fonts, "_noticed", set())
    fonts._fonts_for.cache_clear()
    yield
    fonts._fonts_for.cache_clear()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The texts that Matplotlib drew."""
    texts: set[str] = set()
    draw = Text.draw

    def noting(self: Text, renderer: object) -> None:
        texts.add(self.get_text())
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", noting)
    monkeypatch.setattr(MathTextParser, "parse", lambda *_, **__: pytest.fail("a name is drawn as a formula"))
    return texts


SHOWN = {
    *("$a_$", "US$_new", r"\frac{1}{2}", "^_^", "_under", "#", "\u732b", "\uace0\uc591\uc774", "\u0642\u0637\u0629"),
    *("\U0001f600 smile", "xxxxxxxxxxxxxx\u2026xxxxxxx", "", "two lines", "[31mred", "caf\ufffd", "\u00e9tude", "gnp"),
}


def test_every_plot_draws_names_of_every_kind(drawn: set[str], tmp_path: Path) -> None:
    path, colours = tmp_path / "plot.png", class_colours(N)
    confusion = torch.eye(N, dtype=torch.int64) + 1
    draw_confusion(confusion, NAMES, path)
    assert drawn >= SHOWN
    drawn.clear()
    draw_class_bars(torch.arange(N).float(), NAMES, colours, path, "IoU of $x$")
    assert drawn >= SHOWN | {"IoU of $x$"}
    drawn.clear()
    draw_class_bars(torch.tensor([50.0, torch.nan]), ["cat", "dog"], colours, path, "AP", torch.tensor([7, 0]))
    assert {"cat (7)", "AP"} <= drawn
    drawn.clear()
    everything = torch.arange(N).byte().reshape(1, -1)
    draw_masks([Masked(torch.ones(3, 1, N), {"truth": everything})], NAMES, path, "a folder\nof $5 and $10")
    assert drawn >= SHOWN | {"a folder\nof $5 and $10"}
    assert draw_mask(Image.new("RGB", (10 * N, 4000)), everything.repeat(4000, 10), NAMES).size == (10 * N, 4000)


def test_titles_of_images_are_lines_of_any_text(drawn: set[str], tmp_path: Path) -> None:
    titles = [(name, f"not {name}") for name in NAMES]
    draw_image_grid(torch.ones(N, 3, 8, 8), titles, tmp_path / "grid.png", "runs/$5 and $10")
    assert {"$a_$\nnot $a_$", "two lines\nnot two lines", "runs/$5 and $10"} <= drawn
    assert max(len(line) for text in drawn for line in text.split("\n")) == 24


def test_printable_text_keeps_what_has_a_shape() -> None:
    assert printable("a\tb\x00c\nd") == "a b c\nd"
    assert printable("caf\udce9") == "caf\ufffd"
    assert printable("e\u0301") == "\u00e9"
    assert shortened("abcdefgh" * 4) == "abcdefghabcdef\u2026bcdefgh"
    assert shortened("abc" * 10, 12) == "abca\u2026cabcabc"


def test_a_missing_font_is_told_in_a_line_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_: [])
    monkeypatch.setattr(fonts, "_installed", lambda: [])
    for _ in range(2):
        draw_confusion(torch.eye(2), ["\u732b", "\u72ac \u0915"], tmp_path / "plot.png")
    lines = sorted(capsys.readouterr().err.splitlines(), reverse=True)
    assert len(lines) == 2
    assert re.fullmatch(r"plots: no installed font has \u72ac\u732b, .* package fonts-noto-cjk helps", lines[0])
    assert re.fullmatch(r"plots: no installed font has \u0915, .* package fonts-noto-core helps", lines[1])


def test_a_font_installed_since_is_found(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Matplotlib's own list of fonts is as old as its first use."""
    cats = "\u5587\u5588"  # two characters that no font of the list need have
    file = font_with(cats, tmp_path / "Cats.ttf")
    (tmp_path / "Broken.ttf").write_bytes(b"no font")
    before = font_manager.fontManager.ttflist
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [f for f in before if f.name.startswith("DejaVu")])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda *_: [str(tmp_path / "Broken.ttf"), str(file)])
    assert fonts.families(["dog", cats]) == ("DejaVu Sans", "Cats Sans")
    assert fonts.families(["dog"]) == ("DejaVu Sans",)
    assert load_font(14, cats).path == str(file)
    assert Path(load_font(14, "dog").path).name == "DejaVuSans.ttf"
    assert capsys.readouterr().err == ""


def font_with(characters: str, path: Path) -> Path:
    """A font whose characters are squares."""
    names = [".notdef", *(f"uni{ord(character):04X}" for character in characters)]
    pen = TTGlyphPen(None)
    for move, corner in zip((pen.moveTo, pen.lineTo, pen.lineTo), ((0, 0), (0, 500), (500, 500)), strict=True):
        move(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): f"uni{ord(character):04X}" for character in characters})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cats Sans", "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return path
