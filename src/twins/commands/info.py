"""`twins info`: the networks, and the segmenters and detectors on them, as tables; or what one file of a network is."""

from __future__ import annotations

import argparse
from typing import Any

from .recipe_flags import TASKS_HELP


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info",
        usage="twins info [FILE] [--task TASK] [--img-size N] [--json]",
        description="The networks of a task as a table; or, of a FILE, what it says of itself: a checkpoint of any "
        "dialect, or what `twins export` wrote. Nothing in it is run.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="a checkpoint, or an exported network")
    parser.add_argument("--task", choices=("classify", "detect", "segment"), default="classify", help=TASKS_HELP)
    parser.add_argument("--img-size", type=int, metavar="N", help="side of the square image that FLOPs are counted for "
                        "(default: 224, for segmenters 512)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print a table, or JSON."""
    if args.file is not None:
        from .file_info import print_file

        print_file(args.file, as_json=args.json)
        return 0
    from .model_tables import print_detectors, print_segmenters, print_zoo

    if args.task == "segment":
        print_segmenters(args.img_size or 512, as_json=args.json)
    elif args.task == "detect":
        print_detectors(as_json=args.json)
    else:
        print_zoo(args.img_size or 224, as_json=args.json)
    return 0
