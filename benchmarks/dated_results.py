"""Files of results: rows with the versions that they were measured with, of one machine, a file a day."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twins.atomic_write import atomic_file
from twins.bench.machine import describe_machine, versions


def merge(folder: Path, name: str, rows: Sequence[dict[str, Any]], key: Sequence[str]) -> Path:
    """Add rows to FOLDER/NAME-DATE.json, in place of those with the same values under `key`."""
    path = folder / f"{name}-{time.strftime('%Y-%m-%d')}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    merged = {tuple(row[field] for field in key): row for row in [*before, *(row | _measured() for row in rows)]}
    with atomic_file(path) as beside:
        text = json.dumps({"machine": describe_machine(), "rows": list(merged.values())}, indent=1)
        beside.write_text(text + "\n", encoding="utf-8")
    return path


def _measured() -> dict[str, Any]:
    known = versions()
    return {"versions": {name: known[name] for name in ("twins", "git", "python", "torch")}}
