"""`twins plan`: what a training run would take on hardware that is not at hand."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from ..errors import TwinsError
from ..planning.assumptions import CORES, MTBF, NETWORK, SAVE_EVERY, Assumptions
from ..planning.hardware import GPUS, MOST_GPUS, Gpu, find_gpu
from ..recipes.durations import check_by, updates_or_seconds


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plan",
        usage="twins plan (--recipe NAME | RUN) [--gpus N ...] [--gpu NAME] [--FLAG VALUE ...]",
        description="Hours, cost, memory, reading and all-reduce of a training run on GPUs that are not at hand, which "
        "limit binds, and every assumption behind it. Needs no GPU: operators are counted, not run.",
    )
    parser.add_argument("folder", nargs="?", metavar="RUN", help="the folder of a run, as runs/classify/flowers, for "
                        "its data and its global batch")  # fmt: skip
    parser.add_argument("--recipe", metavar="NAME|FILE", help="a recipe of twins train, or a JSON file of one")
    parser.add_argument("--task", help="of a recipe that several tasks have, as `pictures`")
    parser.add_argument("--images", type=int, metavar="N", help="training images, for a recipe of data of your own")
    parser.add_argument("--classes", type=int, metavar="N", help="classes of such data")
    parser.add_argument("--gpus", type=int, nargs="+", metavar="N", help="how many (default: 8); several make a column "
                        "each")  # fmt: skip
    parser.add_argument("--gpu", metavar="NAME", help=f"which: {', '.join(GPUS)} (default: the one that RUN ran on, or "
                        "h100)")  # fmt: skip
    parser.add_argument("--images-per-second", type=float, metavar="X",
                        help="what one GPU trains on, as `twins train` or `twins bench` printed")  # fmt: skip
    parser.add_argument("--mfu", type=float, metavar="X", help="share of the GPU's peak that products reach, as 0.1")
    parser.add_argument("--price", type=float, metavar="X", help="dollars an hour and GPU (default: a round number)")
    parser.add_argument("--network-gbps", type=float, default=NETWORK, metavar="X", help="network of a node of 8 GPUs")
    parser.add_argument("--cores", type=float, default=CORES, metavar="X", help="CPU cores a GPU")
    parser.add_argument("--save-every", default=f"{SAVE_EVERY // 60}m", metavar="TIME|N",
                        help="between two checkpoints: a time as 30s, 10m, 1h, or a number of updates")  # fmt: skip
    parser.add_argument(
        "--mtbf", type=float, default=MTBF, metavar="HOURS", help="between two failures that a GPU causes"
    )
    parser.add_argument("--json", metavar="FILE", help="write the plan as JSON into this file, or to stdout with -")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the plan, or write it as JSON."""
    assumed = _assumptions(args)
    gpu = None if args.gpu is None else find_gpu(args.gpu)
    _check_counts(args)
    from ..planning.plan_text import plan_lines, plan_record  # heavy, so after all that can be wrong with the flags
    from ..planning.planned import plan_run
    from ..planning.subject import subject_of_recipe, subject_of_run

    if args.recipe is not None:
        subject = subject_of_recipe(args.recipe, args.task, args.images, args.classes)
        gpu = gpu or GPUS["h100"]
    else:
        subject = subject_of_run(Path(args.folder))
        gpu = gpu or _gpu_of_run(args.folder, subject.measured)
    plans = [plan_run(subject, gpus, gpu, assumed) for gpus in args.gpus or [8]]
    if args.json != "-":
        print("\n".join(plan_lines(subject, gpu, assumed, plans)))
    if args.json is not None:
        _write_json(args.json, plan_record(subject, gpu, assumed, plans))
    return 0


def _assumptions(args: argparse.Namespace) -> Assumptions:
    """The settings of the flags. Raises TwinsError for a value that none of them takes."""
    for flag in ("images_per_second", "mfu", "network_gbps", "cores", "mtbf", "price"):
        value = getattr(args, flag)
        least = "0 or more" if flag == "price" else "a number above 0"
        if value is not None and not (0 < value < math.inf or (flag == "price" and value == 0)):
            raise TwinsError(f"--{flag.replace('_', '-')} must be {least}, not {value:g}")
    if args.mfu is not None and args.mfu > 1:
        raise TwinsError(f"--mfu is a share of the peak, at most 1, not {args.mfu:g}")
    if args.mfu is not None and args.images_per_second is not None:
        raise TwinsError("--mfu and --images-per-second both say how fast a GPU is: pass one of them")
    check_by(updates_or_seconds, "--save-every")(args.save_every)
    updates, seconds = updates_or_seconds(args.save_every)
    return Assumptions(
        mfu=args.mfu,
        images_per_second=args.images_per_second,
        price=args.price,
        network=args.network_gbps,
        cores=args.cores,
        mtbf=args.mtbf,
        save_every=SAVE_EVERY if seconds is None else seconds,
        save_updates=updates,
    )


def _check_counts(args: argparse.Namespace) -> None:
    if (args.recipe is None) == (args.folder is None):
        raise TwinsError("twins plan takes --recipe NAME or the folder of a run, as runs/classify/flowers")
    for flag, values in (("gpus", args.gpus or []), ("images", [args.images]), ("classes", [args.classes])):
        for value in values:
            if value is not None and value < 1:
                raise TwinsError(f"--{flag} must be 1 or more, not {value}")
            if flag == "gpus" and value > MOST_GPUS:
                raise TwinsError(f"--gpus must be {MOST_GPUS} or less, not {value}")


def _gpu_of_run(folder: str, measured: Any) -> Gpu:
    if measured is None or measured.gpu is None:
        where = f"ran on {measured.device}" if measured is not None and measured.device else "says of no GPU"
        raise TwinsError(f"{folder}: {where}; pass --gpu with one of {', '.join(GPUS)}")
    gpu: Gpu = measured.gpu
    return gpu


def _write_json(file: str, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=1)
    if file == "-":
        print(text)
        return
    from ..atomic_write import atomic_file

    with atomic_file(Path(file)) as beside:
        beside.write_text(text + "\n", encoding="utf-8")
