"""What a run left that another one by the same recipe has to leave too, bit for bit."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

import twins

OF_TIME = ("time", "second")  # in the names of columns that differ between two runs of one recipe
# What a checkpoint says of how it was made, and generators as they happen to be: each sample and update seeds its own.
OF_MAKING = ("args", "meta", "rng")
PUT_ASIDE = re.compile(r"-\d{8}-\d{6}\.")  # logs of an attempt that ended before its first checkpoint


def contents(folder: Path) -> dict[str, str]:
    """What a run left, by name: text, or the digest of tensors; without what differs between two runs of one recipe."""
    names = (path.name for path in folder.iterdir() if not PUT_ASIDE.search(path.name))
    found = {"files": " ".join(sorted(names))}
    for name in ("checkpoint.pth", "checkpoint_best.pth"):
        checkpoint = twins.read_checkpoint(folder / name)
        found |= {f"{name} {key}": digest(value) for key, value in checkpoint.items() if key not in OF_MAKING}
    for line, row in enumerate(map(json.loads, (folder / "log.txt").read_text().splitlines())):
        found[f"log.txt line {line}"] = json.dumps(untimed(row))
    for table in ("metrics.csv", "steps.csv"):
        with (folder / table).open(encoding="utf-8", newline="") as file:
            found |= {f"{table} row {line}": json.dumps(untimed(row)) for line, row in enumerate(csv.DictReader(file))}
    return found


def differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    """The names under which two runs left something else, or one of them nothing."""
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not any(word in name for word in OF_TIME)}


def digest(value: Any) -> str:
    """Of nested dictionaries and lists of tensors and plain values: equal for equal bits alone."""
    state = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            state.update(f"{value.dtype} {tuple(value.shape)}".encode())
            state.update(value.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                state.update(repr(key).encode())
                feed(value[key])
        elif isinstance(value, list | tuple):
            state.update(f"{len(value)} items".encode())
            for item in value:
                feed(item)
        else:
            state.update(repr(value).encode())

    feed(value)
    return state.hexdigest()
