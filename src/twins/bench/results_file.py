"""Results in a dated JSON file of one machine: {"machine": ..., "rows": [...]}.

Files that earlier versions wrote, with other keys, are read as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ..atomic_write import atomic_file
from ..errors import TwinsError
from .rows import Row

_KEY = ("workload", "network", "size", "batch", "backend")
_OLD_MACHINE_KEYS = {"processor": "cpu"}
_OLD_ROW_KEYS = {
    "what": "workload",
    "contender": "backend",
    "ran": "actual_dtype",
    "times_timm": "speedup_over_timm",
    "times_openvino": "speedup_over_openvino",
    "times_onnxruntime": "speedup_over_onnxruntime",
    "times_anchor": "speedup_over_baseline",
}


def todays_file(machine: Mapping[str, Any], folder: Path, kind: str = "cpu") -> Path:
    """Today's file of this machine: KIND-DATE.json, or KIND-DATE-2.json ... where that one is of another machine.

    Another number of threads is another machine. Makes the folder; raises TwinsError where it cannot, or for a file of
    that name that holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TwinsError(f"--out {folder}: cannot write there ({error.strerror})") from error
    date = time.strftime("%Y-%m-%d")
    names = (f"{kind}-{date}{f'-{number}' if number > 1 else ''}.json" for number in count(1))
    return next(path for path in map(folder.joinpath, names) if not path.exists() or read_results(path)[0] == machine)


def read_results(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """The machine and the rows of a file, under today's keys. Raises TwinsError for a file of something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        machine, rows = content["machine"], content["rows"]
        return _renamed(machine, _OLD_MACHINE_KEYS), [_renamed(row, _OLD_ROW_KEYS) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TwinsError(f"{path}: not a file of results; move it, or choose another --out") from error


def write_rows(rows: Sequence[Row], machine: Mapping[str, Any], versions: Mapping[str, str], path: Path) -> None:
    """Merge rows into a file of results: a row replaces the one of the same work and backend.

    Every row keeps the versions that it was measured with. Raises TwinsError where nothing can be written.
    """
    before = read_results(path)[1] if path.exists() else []
    fresh = [row | {"versions": dict(versions)} for row in rows]
    merged = {tuple(row[key] for key in _KEY): row for row in [*before, *fresh]}
    text = json.dumps({"machine": machine, "rows": list(merged.values())}, indent=1) + "\n"
    with atomic_file(path, remedy="choose another --out") as beside:
        beside.write_text(text, encoding="utf-8")


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}
