"""The console blocks of a page of docs/: its commands, run as they stand, and what it shows of their output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
# `ls` lists in columns, as it does in a terminal.
_TERMINAL = 'ls() { command ls -C --width=80 "$@"; }\n'
_VARIES = re.compile(r"(?<![\w])\d+(?:\\\.\d+)+(?:e(?:\\?[-+])\d+)?")  # as re.escape leaves a decimal number
_PROMPT, _PYTHON_PROMPT = "$ ", ">>> "


class Command(NamedTuple):
    """A command of a page, what is typed into the program that it starts, and the lines that are shown."""

    line: str
    typed: tuple[str, ...]
    shown: tuple[str, ...]


def commands_of(page: Path) -> Iterator[Command]:
    """The commands of a page, in order."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        assert block.startswith(_PROMPT), f"{page.name}: a console block begins with a command"
        for part in block.removeprefix(_PROMPT).split("\n" + _PROMPT):
            line, *rest = part.splitlines()
            typed = [text.removeprefix(_PYTHON_PROMPT) for text in rest if text.startswith(_PYTHON_PROMPT)]
            shown = [text for text in rest if text.strip() not in ("", "...") and not text.startswith(_PYTHON_PROMPT)]
            yield Command(line, tuple(typed), tuple(shown))


def run(command: Command, folder: Path) -> str:
    """What a command prints, in a folder, by this Python's programs; it must succeed."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    line = f"{command.line} -i -q" if command.line == "python" else command.line
    done = subprocess.run(
        ["bash", "-c", _TERMINAL + line],
        cwd=folder,
        env=os.environ | {"PATH": programs, "LC_ALL": "C.UTF-8", "COLUMNS": "200"},
        input="\n".join(command.typed) + "\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{command.line}\n{done.stdout}"
    return done.stdout


def missing(shown: tuple[str, ...], output: str) -> list[str]:
    """The shown lines that begin no line of the output, in order; spaces and decimal numbers may differ."""
    absent, rest = [], "\n" + output
    for line in shown:
        found = re.search(r"\n(?:>>> |\.\.\. )*[ \t]*" + _pattern(line), rest)
        if found is None:
            absent.append(line)
        else:
            rest = rest[found.end() :]
    return absent


def _pattern(line: str) -> str:
    words = [_VARIES.sub(r"[-+.e\\d]+", re.escape(word)) for word in re.split(r"\s+", line.strip())]
    return r"\s+".join(words)
