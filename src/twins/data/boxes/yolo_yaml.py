"""YAML files of YOLO's trainers, of which nothing is taken but text as it is written, lists and fields."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

from ...errors import TwinsError
from ...optional_dependencies import need


def yaml_fields(file: Path) -> dict[str, Any]:
    """The fields of a YAML file: each None, text, a list or fields again.

    Names of classes are text: `no`, `1.0` and `2024-01-01` stay what they are. Aliases are refused, a few of which
    stand for gigabytes. Raises TwinsError for what cannot be read.
    """
    yaml = need("yaml", extra="detect")
    try:
        content = yaml.load(read_text(file), _plain_loader(yaml))  # a loader that knows no type but text
    except yaml.YAMLError as error:
        raise TwinsError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise TwinsError(f"{file}: not readable as YAML (lists in lists in lists ... without end)") from error
    if not isinstance(content, dict):
        raise TwinsError(f"{file}: holds no fields; expected `names`, `train` and `val`")
    return content


def top_fields(file: Path) -> set[str]:
    """The names of a YAML file's fields, without need of the library: a folder may hold YAML files of all kinds."""
    try:
        return set(re.findall(r"^(\w+)\s*:", read_text(file), re.MULTILINE))
    except TwinsError:
        return set()


def read_text(file: Path) -> str:
    """Raises TwinsError for a file that is missing or no UTF-8, and for a device or a pipe, which may have no end."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise OSError("not a regular file")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise TwinsError(f"{file}: cannot be read ({error})") from error


def _plain_loader(yaml: Any) -> Any:
    class PlainLoader(yaml.BaseLoader):
        """Without types but text and null, and without aliases."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                raise yaml.composer.ComposerError(None, None, f"alias *{event.anchor}: write it out", event.start_mark)
            return super().compose_node(parent, index)

        def construct_scalar(self, node: Any) -> str | None:
            text: str = super().construct_scalar(node)
            return None if node.style is None and text.lower() in ("", "~", "null") else text

    return PlainLoader
