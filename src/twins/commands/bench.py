"""`twins bench`: its flags, and what they have measured. Its help needs no PyTorch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..bench.plan import (
    DATA_SIZES,
    DTYPES,
    PEERS,
    Case,
    choose_backends,
    choose_quantised,
    choose_training,
    data_cases,
    every_case,
    full_set,
    products_case,
)
from ..errors import TwinsError
from ..model_names import model_name
from ..timing import Pace
from . import INTERRUPTED

NEWEST = "newest"
WORKLOADS = (  # flag, workload, help
    ("--backbone", "backbone", "the four feature maps instead of a classifier"),
    ("--train", "training", "training steps, ours and timm's: forward, backward and AdamW's update"),
    ("--memory", "memory", "memory, each backend in a process of its own"),
    ("--products", "products", "products of matrices by each instruction set of this CPU, a few seconds"),
    ("--loading", "data", "from JPEG files to normalised batches, ours and the original's way, on one core"),
)


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags."""
    bench: argparse.ArgumentParser = commands.add_parser(
        "bench",
        usage="twins bench [--full | --models NAME ... | --weights CHECKPOINT] [--batch-sizes N ...] "
        "[--img-size SIZE ...] [--FLAG VALUE ...]",
        description="Measure forward passes, or with --train or --memory those, of every backend by turns in one "
        "process, with the same weights. No backend gets a result if its outputs differ from our plain network's.",
    )  # fmt: skip
    bench.add_argument("--full", action="store_true", help="the whole set that `make bench` measures, in about 35 "
                       "minutes on two cores, instead of what the flags of networks and sizes say")  # fmt: skip
    bench.add_argument("--models", nargs="+", metavar="NAME", help="networks, by any name (default: twins_svt_small)")
    bench.add_argument("--weights", metavar="CHECKPOINT", help="forward passes of this classifier instead; timm takes "
                       "part where its network of that name has the same parameters; an exported file is "
                       "measured alone")  # fmt: skip
    bench.add_argument("--batch-sizes", "-b", nargs="+", type=_at_least(int, 1), metavar="N", default=[1, 16],
                       help="images a call")  # fmt: skip
    bench.add_argument("--img-size", "--imgsz", nargs="+", type=_image_size, metavar="SIZE",
                       help="pixels: a side, or HEIGHTxWIDTH (default: 224, or the checkpoint's own)")  # fmt: skip
    bench.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES),
                       help="precisions of those backends that support them")  # fmt: skip
    bench.add_argument("--against", nargs="+", choices=(*PEERS, "none"), metavar="PEER", default=list(PEERS),
                       help=f"other backends, if installed: {', '.join(PEERS)}; or none")  # fmt: skip
    workload = bench.add_mutually_exclusive_group()
    for flag, name, help_text in WORKLOADS:
        workload.add_argument(flag, dest="workload", action="store_const", const=name, help=help_text)
    workload.add_argument("--accuracy", nargs="?", const=NEWEST, metavar="WEIGHTS", help="top-1 and logits of a "
                          "trained classifier in every precision, on its validation images; without WEIGHTS, of the "
                          "newest finished run of the digits, or of a short one that it trains")  # fmt: skip
    bench.add_argument("--amp", action="store_true", help="with --train: under bfloat16 autocast")
    bench.add_argument("--blocks", type=_at_least(int, 1), metavar="N", default=Pace().blocks,
                       help="timed blocks of each backend, by turns")  # fmt: skip
    bench.add_argument("--seconds", type=_at_least(float, 0), metavar="X", default=Pace().seconds,
                       help="least length of a block")  # fmt: skip
    bench.add_argument("--threads", type=_at_least(int, 1), metavar="N",
                       help="of each backend; PyTorch's number if not given")  # fmt: skip
    bench.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: inference, training, batch 1 "
                       "and dense maps of --models in bfloat16, beside timm, compiled and not; no other flag of "
                       "what to measure applies; writes gpu-DATE.json")  # fmt: skip
    bench.add_argument("--limit", type=_at_least(float, 1), metavar="SECONDS", default=300.0, help="with --device "
                       "cuda: no backend begins after that; another call goes on")  # fmt: skip
    bench.add_argument(
        "--out", default="benchmarks", metavar="FOLDER", help="where cpu-DATE.json (data-, gpu-) and its chart go"
    )
    bench.add_argument("--json", action="store_true", help="print JSON instead of tables")
    bench.set_defaults(parser=bench, workload="classifier")
    return bench


def measure(args: argparse.Namespace) -> bool:
    """Do what the flags say; False if Ctrl-C stopped it. Raises TwinsError for flags that do not fit together."""
    from ..bench.run import run_cases

    if args.amp and args.workload != "training":
        raise TwinsError("--amp is for training steps; add --train")
    _check_weights(args)
    try:
        networks = [model_name(name) for name in args.models or ["twins_svt_small"]]
    except TwinsError as error:
        raise TwinsError(f"--models: {error}") from error
    if args.device == "cuda":
        return _on_gpu(networks, Path(args.out), args.limit)
    threads = args.threads or (1 if args.workload == "data" else None)
    return run_cases(_cases(args, networks), Pace(args.blocks, args.seconds), Path(args.out), threads, args.json)


def _cases(args: argparse.Namespace, networks: list[str]) -> list[Case]:
    against = [] if "none" in args.against else args.against
    if args.accuracy:
        return [_accuracy_case(None if args.accuracy is NEWEST else Path(args.accuracy), against)]
    if args.workload == "products":
        return [products_case()]
    if args.workload == "data":
        return data_cases(DATA_SIZES)
    if args.full:
        return [*full_set(against), _accuracy_case(None, against)]
    if args.weights:
        return _checkpoint_cases(args, against)
    train = args.workload == "training"
    backends = choose_training(against, args.amp) if train else choose_backends(args.dtype, against)
    return every_case(args.workload, networks, args.img_size or [(224, 224)], args.batch_sizes, backends)


def _check_weights(args: argparse.Namespace) -> None:
    """Raises TwinsError for flags of another workload or network beside --weights."""
    others = {
        "--models": args.models,
        "--full": args.full,
        "--accuracy": args.accuracy,
        "--device cuda": args.device == "cuda",
        **{flag: args.workload == name for flag, name, _ in WORKLOADS},
    }
    if args.weights and (flag := next((flag for flag, given in others.items() if given), None)):
        raise TwinsError(f"--weights measures the forward passes of a checkpoint's classifier: leave {flag} out")


def _checkpoint_cases(args: argparse.Namespace, against: list[str]) -> list[Case]:
    from ..bench.exported_file import exported_cases  # these import torch
    from ..bench.networks import classifier_size
    from ..runtimes.opening import is_exported

    if is_exported(args.weights):
        for flag, given in {"--dtype": args.dtype != [*DTYPES], "--against": against not in ([], [*PEERS])}.items():
            if given:
                raise TwinsError(f"{args.weights}: is measured alone, as it was exported: leave {flag} out")
        return exported_cases(args.weights, args.img_size, args.batch_sizes)
    own_size = classifier_size(args.weights)
    backends = choose_backends(args.dtype, against)
    path = args.weights if Path(args.weights).name != args.weights else f"./{args.weights}"  # none of the six names
    return every_case("classifier", [path], args.img_size or [own_size], args.batch_sizes, backends)


def _accuracy_case(weights: Path | None, against: list[str]) -> Case:
    from ..bench.accuracy import accuracy_case  # which imports the training loop

    return accuracy_case(weights, choose_quantised(against))


def _on_gpu(networks: list[str], out: Path, limit: float) -> bool:
    from ..bench.gpu import bench_gpu

    deadline = time.perf_counter() + limit
    for network in networks:
        if not bench_gpu(network, out, deadline, print):
            break
    return True


def run(args: argparse.Namespace) -> int:
    """Measure; 130 if Ctrl-C stopped it before the end."""
    return 0 if measure(args) else INTERRUPTED


def _at_least(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    """Reads a number that has a lower bound."""

    def read(text: str) -> Any:
        if (value := kind(text)) < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more, not {text}")
        return value

    read.__name__ = getattr(kind, "__name__", "number")  # what argparse calls a value that cannot be read
    return read


def _image_size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a side, as 224, nor HEIGHTxWIDTH, as 800x1216")
    return int(sides[0]), int(sides[-1])
