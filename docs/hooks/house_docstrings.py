"""The docstrings of this package as numpydoc has them, for mkdocstrings.

They differ in four points, so that they read well as they are: what is returned is a paragraph, what is raised is a
sentence ("Raises TwinsError for ...") wherever it fits, text may follow the list of parameters, and several parameters
may share a description. Public names become links.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Extension, Object

import twins

_SECTION = re.compile(r"^(Parameters|Attributes|Returns)\n-+\n", re.MULTILINE)
# Up to the end of its paragraph; not in indented text, which belongs to a parameter or is an example.
_RAISES = re.compile(r"(?:^|(?<=[.)] ))Raises\s+(?=[A-Z]\w*Error\b)(\S(?:.|\n(?!\n|\s))*)", re.MULTILINE)
_NEXT_ERROR = re.compile(r";\s+(?=[A-Z]\w*Error\b)")
_SHARED = re.compile(r"^(\w+(?:, \w+)+):\n((?: .*\n?)+)", re.MULTILINE)
_AFTER_ITEMS = re.compile(r"\n\n(?=\S)(?!.*:\n )")
_PUBLIC = re.compile(rf"`(?:twins\.)?({'|'.join((*twins.__all__, 'load', 'export_model'))})`")


class HouseDocstrings(Extension):
    """Rewrites each docstring when its object has been read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_numpydoc(obj.docstring.value)


def as_numpydoc(text: str) -> str:
    """The docstring as text, parameters or attributes, what is returned, and what is raised."""
    errors = [error for sentence in _RAISES.findall(text) for error in _NEXT_ERROR.split(sentence)]
    description, *rest = _SECTION.split(_RAISES.sub("", text))
    sections = []
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        if title == "Returns":
            items = f":\n{_indented(body)}"
        else:
            items, *after = _AFTER_ITEMS.split(body.rstrip(), maxsplit=1)
            items = _SHARED.sub(_one_by_one, items + "\n")
            description = "\n\n".join([description.rstrip(), *after])
        sections.append(f"{title}\n{'-' * len(title)}\n{items}")
    if errors:
        sections.append("Raises\n------\n" + "\n".join(_error(sentence) for sentence in errors))
    return _PUBLIC.sub(r"[`\1`][twins.\1]", "\n\n".join([description.rstrip(), *sections]))


def _one_by_one(shared: re.Match[str]) -> str:
    return "".join(f"{name}:\n{shared[2]}" for name in shared[1].split(", "))


def _error(sentence: str) -> str:
    name, *when = sentence.split(maxsplit=1)
    return f"{name.rstrip(',.:')}\n{_indented(''.join(when))}"


def _indented(text: str) -> str:
    return textwrap.indent(text.strip(), "    ")
