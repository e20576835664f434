"""Names of classes: read from a text file, numbered where nobody has named them, and compared with a network's."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from itertools import zip_longest
from pathlib import Path

from .errors import TwinsError, nearest

Colour = tuple[int, int, int]  # red, green, blue, from 0 to 255
Line = tuple[str, str]  # where it stands, as "classes.txt:3", and its text

_CHANNEL = re.compile(r"-?\d{1,9}")  # of a colour
_HEADING = re.compile(r"name\s*,\s*r\s*,\s*g\s*,\s*b", re.IGNORECASE)


def numbered(count: int) -> tuple[str, ...]:
    """The names of classes that nobody has named: "0", "1", "2" ..."""
    return tuple(str(label) for label in range(count))


def check_classes(here: Sequence[str], known: Sequence[str], source: str) -> None:
    """Raises TwinsError where `source` has other classes than the network knows, naming the first that differs."""
    for label, pair in enumerate(zip_longest(here, known)):
        if pair[0] != pair[1]:
            raise TwinsError(
                f"{source}: its {len(here)} classes are not the {len(known)} that the network knows: the one numbered "
                f"{label} is {pair[0]!r} here and {pair[1]!r} there"
            )


def indices_by_name(here: Sequence[str], known: Sequence[str], source: str) -> tuple[int, ...]:
    """The network's index of each class of `source`, by name, whatever their order; some may be missing there.

    Raises TwinsError for a class that the network does not know, with the nearest one that it does.
    """
    index = {name: label for label, name in enumerate(known)}
    for name in here:
        if name not in index:
            raise TwinsError(
                f"{source}: class {name!r} is none of the {len(known)} that the network knows{_nearest(name, known)}; "
                "call it as there, leave it out, or train a network for these classes"
            )
    return tuple(index[name] for name in here)


def _nearest(name: str, known: Sequence[str]) -> str:
    """A hint at names that are the same but for case and what parts their words, or else at similar ones."""
    alike = [other for other in known if _letters(other) == _letters(name)]
    return f" (did you mean {' or '.join(map(repr, alike))}?)" if alike else nearest(name, list(known))


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a text file with one a line; blank lines and spaces around names do not count.

    Raises TwinsError where the file cannot be read or holds no names.
    """
    names = tuple(text for _, text in numbered_lines(path))
    if not names:
        raise TwinsError(f"{path}: no names of classes in it; expected a text file with a name a line")
    return names


def read_names_and_colours(path: Path) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """(names, colours) in a file with a line for each class: `name`, or `name,R,G,B`; or in ADE20K's objectInfo150.txt.

    A first line `name,r,g,b`, as in the class_dict.csv of CamVid, is no class. Colours are empty where the file has
    none, and names as well where it has no lines. Raises TwinsError, with file and line, where it cannot be read, a
    line has another format than the first, or two classes share a name or a colour.
    """
    lines = numbered_lines(path)
    if lines and lines[0][1].split("\t")[0] == "Idx":
        lines = [(position, _first_synonym(position, text)) for position, text in lines[1:]]
    elif lines and _HEADING.fullmatch(lines[0][1]):
        lines = lines[1:]
    pairs = [_name_and_colour(position, text) for position, text in lines]
    for (position, _), (_, colour) in zip(lines, pairs, strict=True):
        if (colour is None) != (pairs[0][1] is None):
            raise TwinsError(f"{position}: expected `name,R,G,B` on every line or on none")
    names = tuple(name for name, _ in pairs)
    colours = tuple(colour for _, colour in pairs if colour is not None)
    refuse_repeated(lines, names)
    refuse_repeated(lines, colours)
    return names, colours


def numbered_lines(path: Path) -> list[Line]:
    """The lines of a text file that are not blank, without the spaces around them. Raises TwinsError if unreadable."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(
            f"{path}: cannot read names of classes ({error}); expected a text file with a name a line"
        ) from error
    return [(f"{path}:{number}", line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _first_synonym(position: str, line: str) -> str:
    """The class in a line of objectInfo150.txt: Idx, Ratio, Train, Val, Stuff, Name."""
    columns = line.split("\t")
    if len(columns) != 6:
        raise TwinsError(f"{position}: expected six columns, Idx Ratio Train Val Stuff Name, with tabs between them")
    return columns[5].split(",")[0].strip()


def _name_and_colour(position: str, line: str) -> tuple[str, Colour | None]:
    name, *channels = map(str.strip, line.rsplit(",", 3))
    if not name or len(channels) != 3 or not all(map(_CHANNEL.fullmatch, channels)):
        return line, None
    red, green, blue = map(int, channels)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise TwinsError(f"{position}: a colour is three numbers from 0 to 255, not {red},{green},{blue}")
    return name, (red, green, blue)


def refuse_repeated(lines: Sequence[Line], values: Sequence[str | Colour | int]) -> None:
    """Raises TwinsError, with both lines, where two have the same value; there may be fewer values than lines."""
    first: dict[Hashable, str] = {}
    for (position, _), value in zip(lines, values, strict=False):  # there may be no colours
        if value in first:
            shown = "colour " + ",".join(map(str, value)) if isinstance(value, tuple) else repr(value)
            raise TwinsError(f"{position}: {shown} again, after {first[value]}; each class has its own")
        first[value] = position
