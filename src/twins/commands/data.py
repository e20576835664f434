"""`twins data`: look through a folder of images before hours are spent on it, or write shards, or sample data."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from .recipe_flags import FLAGS_OF_TASK, TASKS_HELP, add_recipe_flags

_DEEDS = {
    "check": "read every annotation and say what is wrong",
    "preview": "draw annotated samples",
    "shard": "write a classification data set into tar shards, as WebDataset reads them",
    "sample": "write embedded images into a folder, as a data set of your own would lie there",
}
_SHARD_HELP = (
    "OUT is there whole or not at all: train-000000.tar and so on, val-000000.tar, dataset.json with the names of the "
    "classes, and index.jsonl, by which samples are found. A sample is KEY.jpg (the file as it is), KEY.cls and "
    "KEY.json. Then: twins train --data OUT. Files are not decoded: `twins data check` finds broken ones first. "
)
_SAMPLE_HELP = (
    "classify: scans of digits, a folder a class; segment: synthetic scenes of digits and their masks; detect: the "
    "same scenes with boxes and masks in COCO's layout. They are always the same. "
)


def add_parser(commands: Any, recipe: Recipe) -> argparse.ArgumentParser:
    """What can be done with data, each with those fields of the task's recipe that say what the data is."""
    parser: argparse.ArgumentParser = commands.add_parser("data")
    parser.add_argument("--task", help=f"{TASKS_HELP} (default: classify)")
    deeds = parser.add_subparsers(dest="deed", required=True, metavar="|".join(_DEEDS))
    for name, help_text in _DEEDS.items():
        if name == "sample":
            _add_sample(deeds, help_text)
            continue
        nothing_written = "Nothing is written to the data folder. "
        deed = deeds.add_parser(
            name,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}. {nothing_written}"
            f"{_SHARD_HELP if name == 'shard' else ''}{FLAGS_OF_TASK}",
            usage=f"twins data {name} --data FOLDER {'--out FOLDER ' if name == 'shard' else ''}[--task TASK] "
            "[--FLAG VALUE ...]",
        )
        deed.add_argument("--task", help=f"{TASKS_HELP} (default: classify)")
        if name == "preview":
            deed.add_argument("--out", default="preview.png", metavar="FILE", help="the image to write")
        if name == "shard":
            _add_shard_flags(deed)
        add_recipe_flags(deed, recipe, "data")
        deed.set_defaults(parser=deed)
    return parser


def _add_shard_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder to make; empty or not there yet")
    parser.add_argument("--shard-size", type=_size, default="1GB", metavar="SIZE", help="a shard's size at most, as "
                        "500MB, 1GB or 1GiB, unless one image alone is larger")  # fmt: skip
    parser.add_argument("--images-per-shard", type=_count, metavar="N", help="images in a shard at most (default: as "
                        "many as its size allows)")  # fmt: skip


def _add_sample(deeds: Any, help_text: str) -> None:
    parser = deeds.add_parser(
        "sample",
        help=help_text,
        description=f"{help_text[0].upper()}{help_text[1:]}. {_SAMPLE_HELP}",
        usage="twins data sample --out FOLDER [--task TASK] [--images N]",
    )
    parser.add_argument("--task", help=f"{TASKS_HELP} (default: classify)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the folder to make; not there yet")
    parser.add_argument("--images", type=_count, default=500, metavar="N", help="training images, at most 1000; a "
                        "fifth as many more are for validation")  # fmt: skip
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Print what is found, draw samples, or write shards or sample data; 2 if the data cannot be trained on."""
    if args.deed == "sample":
        from .data_sample import write_sample

        write_sample(args.task, Path(args.out), args.images)
        return 0
    recipe = args.base_recipe.replace(**args.changes)
    if args.deed == "shard":
        from .data_shard import shard_data

        shard_data(recipe, Path(args.out), args.shard_size, args.images_per_shard)
        return 0
    from .data_check import check_data, preview_data

    if args.deed == "preview":
        preview_data(recipe, Path(args.out))
        return 0
    return 0 if check_data(recipe) else 2


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def _size(text: str) -> int:
    """Bytes: "1GB" -> 1000000000, "64KiB" -> 65536."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in _UNITS or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500MB, 1GB or 1GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images, 1 or more")
    return int(text)
