"""What a file of a trained network says of itself, a line a fact: a checkpoint, or what `twins export` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shown_text import shown

if TYPE_CHECKING:
    from ..checkpoints.info import CheckpointInfo
    from ..runtimes.description import Description

Facts = dict[str, Any]

_MOST_NAMES = 8  # of classes that are listed


def print_file(path: str, as_json: bool = False) -> None:
    """Print `file_facts` for people, or as JSON. Raises TwinsError for a file that is neither."""
    facts = file_facts(path)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    width = max(map(len, facts))
    for name, fact in facts.items():
        if fact is not None:
            print(f"{name.ljust(width)}  {shown(_in_words(fact))}")


def file_facts(path: str) -> Facts:
    """The facts by name, None where one is not known; nothing of the file is run."""
    from ..runtimes.opening import is_exported, read_description

    if is_exported(path):
        return _of_exported(path, read_description(path))
    from ..checkpoints.info import read_info

    return _of_checkpoint(read_info(path))


def takes_and_gives(description: Description) -> tuple[str, str]:
    """The contract of an exported network: what it takes, and what it gives."""
    sides = " or ".join(f"{h}, {w}" for h, w in description.sizes) or f"H, W from {description.smallest_side} up"
    shape = f"{description.batch or 'B'}, {description.in_chans}, {sides}"
    colours = "RGB " if description.in_chans == 3 else ""
    return f"images ({shape}) float32, {colours}bytes / 255", ", ".join(description.outputs)


def _of_checkpoint(info: CheckpointInfo) -> Facts:
    from ..checkpoints.files import locate
    from ..checkpoints.integrity import checksum_inside
    from ..checkpoints.weights import state_dict_of

    weights = state_dict_of(info.checkpoint)
    file, _ = locate(info.source)
    epoch = info.checkpoint.get("epoch")
    return {
        "file": info.source,
        "network": _network(info.model, info.head),
        "task": info.task,
        "classes": _classes(info.classes, info.classes_named),
        "settings": dict(info.create_model),
        "preprocessing": None if info.preprocessing is None else info.preprocessing.to_dict(),
        "weights": f"{len(weights)} tensors, {sum(tensor.numel() for tensor in weights.values()):,} numbers"
        + (", and a moving average of them" if info.has_ema else ""),
        "written by": "twins" if info.ours else f"others ({info.dialect})",
        "epoch": epoch if info.ours and isinstance(epoch, int) else None,
        "recipe": (info.recipe or {}).get("name"),
        "megabytes": round(file.stat().st_size / 1e6, 1),
        "checksum": checksum_inside(file),
    }


def _of_exported(path: str, description: Description) -> Facts:
    file = Path(path)
    files = [file, *([file.with_suffix(".bin")] if file.suffix == ".xml" else [])]
    takes, gives = takes_and_gives(description)
    return {
        "file": path,
        "network": _network(description.name, description.head),
        "task": description.task,
        "classes": _classes(description.classes, description.classes_named),
        "takes": takes,
        "gives": gives,
        "settings": dict(description.create_model),
        "preprocessing": dict(description.preprocessing),
        "dtype": description.dtype,
        "quantisation": description.quantisation,
        "checked": description.checked,
        "written by": dict(description.versions) or None,
        "recipe": (description.recipe or {}).get("name"),
        "megabytes": round(sum(one.stat().st_size for one in files) / 1e6, 1),
    }


def _network(name: str | None, head: str | None) -> str:
    known = name or "none of the six, or several could be meant"
    return f"{head} on {known}" if head else known


def _classes(names: Sequence[str], named: bool) -> str:
    if not named:
        return f"{len(names)}, not named"
    some = ", ".join(names[:_MOST_NAMES]) + (" ..." if len(names) > _MOST_NAMES else "")
    return f"{len(names)}: {some}"


def _in_words(fact: Any) -> str:
    """Fields as name=value, lists with spaces between their items."""
    if isinstance(fact, Mapping):
        return "  ".join(f"{name}={_in_words(value)}" for name, value in fact.items()) or "as published"
    if isinstance(fact, list | tuple):
        return ",".join(map(_in_words, fact))
    return f"{fact:.6g}" if isinstance(fact, float) else str(fact)
