"""Which installed fonts have the characters of a text: the plots' own lacks Chinese, Japanese, Korean and more."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..optional_dependencies import need

STANDARD = "DejaVu Sans"  # which Matplotlib brings

# Packages of Debian and Ubuntu, by the first words of the Unicode names of what they have.
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "KANGXI")
_noticed: set[str] = set()  # packages that were named already


class Font(NamedTuple):
    """A font of an installed file."""

    family: str
    file: str
    face: int  # of several in one file


def families(texts: Iterable[str]) -> tuple[str, ...]:
    """The plots' font family, and others for what it lacks of `texts`, in the order in which they are to be asked.

    Where no installed font has a character, a line on standard error says, once, which package brings one.
    """
    fonts, lacking = _fonts_for(_lacking(texts))
    _notice(lacking)
    return (STANDARD, *(font.family for font in fonts))


def font_of(text: str) -> Font:
    """The one font that has most of the text; the plots' own if no other has more. Notices as `families`."""
    fonts, lacking = _fonts_for(_lacking([text]))
    _notice(lacking)
    return max((_standard(), *fonts), key=lambda font: len(_characters(font).intersection(text)))


def _lacking(texts: Iterable[str]) -> frozenset[str]:
    """The characters that the plots' own font does not have."""
    standard = _characters(_standard())
    return frozenset(c for c in set().union(*texts) if c not in standard and unicodedata.category(c)[0] not in "CZ")


@cache
def _fonts_for(missing: frozenset[str]) -> tuple[tuple[Font, ...], frozenset[str]]:
    """As few fonts as have these characters, those that have most of them first; and what none has."""
    chosen: list[Font] = []
    candidates = _installed() if missing else []
    if missing - frozenset().union(*map(_characters, candidates)):
        _look_for_new_fonts()
        candidates = _installed()
    while missing and candidates:
        best = max(candidates, key=lambda font: len(missing & _characters(font)))
        if not missing & _characters(best):
            break
        chosen.append(best)
        missing -= _characters(best)
    return tuple(chosen), missing


def _installed() -> list[Font]:
    """Upright fonts of normal weight, by name: those without serifs, which suit the plots, come before the others."""
    manager = need("matplotlib.font_manager", extra="train").fontManager
    fonts = {
        Font(entry.name, entry.fname, getattr(entry, "index", 0))  # before 3.11 Matplotlib read one font a file
        for entry in manager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular") and "Last Resort" not in entry.name
    }
    return sorted(fonts, key=lambda font: ("sans" not in font.family.lower(), font))


def _look_for_new_fonts() -> None:
    """Matplotlib remembers which fonts there were when it was first used: add those that have been installed since."""
    fonts = need("matplotlib.font_manager", extra="train")
    known = {entry.fname for entry in fonts.fontManager.ttflist}
    for file in sorted(set(fonts.findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # of many kinds: broken files, and fonts made of images
            fonts.fontManager.addfont(file)


def _standard() -> Font:
    data = need("matplotlib", extra="train").get_data_path()
    return Font(STANDARD, str(Path(data, "fonts", "ttf", "DejaVuSans.ttf")), 0)


@cache
def _characters(font: Font) -> frozenset[str]:
    """Those that a font has; none where its file is gone or broken."""
    ft2font: Any = need("matplotlib.ft2font", extra="train")
    which = {"face_index": font.face} if font.face else {}
    try:
        return frozenset(map(chr, ft2font.FT2Font(font.file, **which).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


def _notice(lacking: Iterable[str]) -> None:
    """Say once for each package that it would help."""
    by_package: dict[str, list[str]] = {}
    for character in sorted(lacking):
        by_package.setdefault(_package(character), []).append(character)
    for package in by_package.keys() - _noticed:
        _noticed.add(package)
        some = "".join(by_package[package][:8])
        print(
            f"plots: no installed font has {some}, which is drawn as a box; a font such as Debian's and Ubuntu's "
            f"package {package} helps",
            file=sys.stderr,
        )


def _package(character: str) -> str:
    first_word = unicodedata.name(character, "UNKNOWN").replace("-", " ").split()[0]
    if first_word in _CJK:
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(character) == "So" else "fonts-noto-core"
