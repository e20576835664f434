"""`twins serve` under load: speed, right answers, stops, and what is malformed.

    python benchmarks/serving.py --throughput            # 20,000 requests of 32 clients, Twins-SVT-S; 15 minutes
    python benchmarks/serving.py --throughput-turbo      # the same with --decoder turbo
    python benchmarks/serving.py --mixed                 # 100,000 requests of every kind, each answer checked
    python benchmarks/serving.py --stops                 # 1,000 SIGTERMs under load; a start takes some seconds, each
    python benchmarks/serving.py --malformed             # 100,000 requests that are wrong
    python benchmarks/serving.py --mixed 500 --stops 3   # fewer

Each part starts servers of its own, on free ports of this machine, shows how far it is, and may be stopped with Ctrl-C,
upon which its row has what was done until then. Rows are merged into benchmarks/serving-DATE.json and printed. The exit
status is 1 where an answer was wrong or missing, an exit status other than 0, or memory grew by more than 50 MB.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from dated_results import merge
from loads import malformed, mixed, stops, throughput

PARTS = {
    "throughput": (partial(throughput.measure, decoder="pillow"), 20_000),
    "throughput-turbo": (partial(throughput.measure, decoder="turbo"), 20_000),
    "mixed": (mixed.measure, 100_000),
    "stops": (stops.measure, 1_000),
    "malformed": (malformed.measure, 100_000),
}
MOST_GROWN = 50.0  # megabytes


def passed(row: dict[str, Any]) -> bool:
    """Whether nothing was wrong in a row."""
    faults = sum({**row.get("faults", {}), **row.get("wrong", {}), **row.get("errors", {})}.values())
    grown = row.get("megabytes_grown", 0.0)
    if "megabytes_when_warm_and_after" in row:
        before, after = row["megabytes_when_warm_and_after"]
        grown = after - before
    return not faults and grown <= MOST_GROWN and row.get("exit_status", 0) == 0 and row.get("well_afterwards", True)


def main() -> int:
    parser = argparse.ArgumentParser(description="A server of predictions under load.")
    for name, (_, count) in PARTS.items():
        parser.add_argument(f"--{name}", nargs="?", type=int, const=count, metavar="N", help=f"default: {count:,}")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), metavar="FOLDER", help="of the results")
    args = parser.parse_args()
    given = {name: getattr(args, name.replace("-", "_")) for name in PARTS}
    wanted = {name: count for name, count in given.items() if count is not None}
    if not wanted:
        parser.error(f"name a part: {', '.join(f'--{name}' for name in PARTS)}")
    good = True
    for name, count in wanted.items():
        row = PARTS[name][0](count)
        good &= passed(row)
        merge(args.out, "serving", [{"part": name} | row | {"cpus": os.cpu_count()}], ("part",))
        print(json.dumps(row, indent=1), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
