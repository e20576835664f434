"""Hostile inputs of every kind that this package reads, fed to the code that reads them.

    python benchmarks/hostile_inputs.py                           # 12,000 of them, some 40 minutes of a core
    python benchmarks/hostile_inputs.py --kinds images coco --inputs 500 --seed 7

Each goes to a child process with bounded memory and time. It is read, or refused by an error of one line that the code
states; all else is a fault: a crash, a hang, memory beyond all measure, something executed, or a traceback. Prints a
table, and writes it to benchmarks/hostile-DATE.json with the machine. A fault is repeated by its kind, seed and number.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.dont_write_bytecode = True
warnings.simplefilter("ignore")  # of libraries, about the inputs

import torch  # noqa: E402

from hostile import (  # noqa: E402
    annotation_files,
    checkpoint_files,
    command_lines,
    exported_files,
    image_files,
    shard_files,
)
from hostile.sandbox import MEMORY, SECONDS, Kind, Outcome, outcomes  # noqa: E402
from twins.atomic_write import atomic_file  # noqa: E402
from twins.bench.machine import describe_machine, versions  # noqa: E402

KINDS: tuple[Kind, ...] = tuple(
    kind
    for module in (checkpoint_files, image_files, annotation_files, shard_files, command_lines, exported_files)
    for kind in module.KINDS
)
HARMLESS = ("read", "refused")
# What is otherwise imported by the first input that needs it, in each child anew.
LIBRARIES = (
    *("faster_coco_eval.core.mask", "onnxruntime", "openvino", "safetensors.torch", "simplejpeg", "timm"),
    *("torch.export", "yaml"),
)


def shares(kinds: list[Kind], inputs: int) -> dict[str, int]:
    """How many inputs each kind gets of all."""
    total = sum(kind.share for kind in kinds)
    return {kind.name: -(-inputs * kind.share // total) for kind in kinds}


def try_kind(kind: Kind, count: int, seed: int, first: int = 0) -> tuple[dict[str, Any], list[Outcome]]:
    """A row of the table, and the faults; says as it goes how far it is."""
    verdicts: Counter[str] = Counter()
    faults: list[Outcome] = []
    slowest, started = 0.0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        prepared = kind.prepare(Path(folder))
        for outcome in outcomes(kind, count, seed, prepared, first):
            verdicts[outcome.verdict] += 1
            slowest = max(slowest, outcome.seconds)
            if outcome.verdict not in HARMLESS:
                faults.append(outcome)
                print(f"  fault: {kind.name} {outcome.number}: {outcome.verdict}: {outcome.detail}", file=sys.stderr)
    row = {
        "kind": kind.name,
        "inputs": verdicts.total(),
        "read": verdicts["read"],
        "refused": verdicts["refused"],
        "faults": {name: number for name, number in sorted(verdicts.items()) if name not in HARMLESS},
        "slowest_seconds": slowest,
        "seconds": round(time.monotonic() - started, 1),
    }
    return row, faults


def line(row: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    faults = ", ".join(f"{number} {name}" for name, number in row["faults"].items()) or "none"
    return (
        f"| {row['kind']} | {row['inputs']:,} | {row['read']:,} | {row['refused']:,} | {faults} | "
        f"{row['slowest_seconds']:.1f} |"
    )


def sums(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last row of the table."""
    faults: Counter[str] = Counter()
    for row in rows:
        faults.update(row["faults"])
    counted = {name: sum(row[name] for row in rows) for name in ("inputs", "read", "refused", "seconds")}
    slowest = max(row["slowest_seconds"] for row in rows)
    return {"kind": "all", **counted, "faults": dict(faults), "slowest_seconds": slowest}


def main() -> int:
    parser = argparse.ArgumentParser(description="Hostile inputs, fed to the code that reads them.")
    parser.add_argument("--inputs", type=int, default=12_000, metavar="N", help="of all kinds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="inputs follow from it (%(default)s)")
    parser.add_argument(
        "--kinds", nargs="+", default=[""], metavar="WORD", help="those with one of these in their name"
    )
    parser.add_argument("--first", type=int, default=0, metavar="N", help="of each kind, to repeat one (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for library in LIBRARIES:
        import_module(library)
    kinds = [kind for kind in KINDS if any(word.lower() in kind.name.lower() for word in args.kinds)]
    if not kinds:
        parser.error(
            f"--kinds: none has {' or '.join(args.kinds)} in its name; there is {'; '.join(k.name for k in KINDS)}"
        )
    print("| kind | inputs | read | refused | faults | slowest, s |\n|---|--:|--:|--:|---|--:|")
    rows, faults = [], []
    for kind in kinds:
        row, of_kind = try_kind(kind, shares(kinds, args.inputs)[kind.name], args.seed, args.first)
        rows.append(row)
        faults += of_kind
        print(line(row), flush=True)
    print(line(sums(rows)))
    whole = args.kinds == [""] and args.first == 0
    if whole:
        content = {
            "machine": describe_machine() | {"versions": versions()},
            "settings": {"inputs": args.inputs, "seed": args.seed, "seconds": SECONDS, "bytes": MEMORY},
            "rows": [*rows, sums(rows)],
            "faults": [outcome._asdict() for outcome in faults],
        }
        with atomic_file(args.out / f"hostile-{time.strftime('%Y-%m-%d')}.json") as beside:
            beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
