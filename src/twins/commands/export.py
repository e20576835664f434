"""`twins export`: a trained network as a file of another runtime, judged beside the original, or as a hub's folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TwinsError
from ..recipes import Recipe
from ..shown_text import shown
from .file_info import takes_and_gives

if TYPE_CHECKING:
    from ..runtimes.description import Description


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        usage="twins export [WEIGHTS] --to onnx|openvino|pt2|aoti|executorch|hub [--out FILE] [--FLAG VALUE ...]",
        description="Write a trained network, with its classes and preprocessing, into a file that another runtime "
        "runs without twins, load it there, and judge it on validation images before it is kept.",
    )
    parser.add_argument("weights", nargs="?", metavar="WEIGHTS", help="a checkpoint, of any dialect (default: the best "
                        "of the newest finished run below runs/)")  # fmt: skip
    parser.add_argument("--to", default="onnx", help="onnx, openvino, pt2 (torch.export), aoti (AOTInductor, "
                        "compiled for this CPU), executorch, or hub: a folder with a model card, for the Hugging Face "
                        "hub and timm")  # fmt: skip
    parser.add_argument("--out", metavar="FILE", help="where to write; of hub a folder (default: "
                        "runs/export/NAME, and then NAME2, NAME3 ... by the name of the run)")  # fmt: skip
    parser.add_argument("--img-size", "--imgsz", nargs="+", type=_whole_number, default=[None], metavar="N",
                        help="side, or height and width, in pixels; dynamic: any for onnx and openvino, else the size "
                        "of its run (default: dynamic)")  # fmt: skip
    parser.add_argument("-b", "--batch", type=_whole_number, metavar="N", help="images at once; dynamic: any number "
                        "(default: dynamic)")  # fmt: skip
    parser.add_argument("--dtype", default="fp32", help="of weights and computation: fp32, fp16, bf16 or int8, "
                        "which is calibrated on training images")  # fmt: skip
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction,
                        help="take the moving average of the weights (default: where there is one)")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="the network, where weights of others do not say which it is")
    parser.add_argument("--classes", metavar="FILE", help="names of the classes, one a line, for weights without")
    parser.add_argument("--data", metavar="FOLDER", help="judge the file on the validation images there, and calibrate "
                        "int8 on the training images; synthetic: judge it by its outputs on noise alone (default: the "
                        "data of the network's run)")  # fmt: skip
    parser.add_argument("--check-images", type=int, default=500, metavar="N", help="judge on so many images at most")
    parser.add_argument("--license", metavar="NAME", help="of hub's model card, as apache-2.0 (default: unknown)")
    parser.add_argument("--exist-ok", action="store_true", help="let hub replace a folder that holds a model")
    parser.add_argument("--calibration-images", type=int, default=300, metavar="N", help="calibrate int8 on so many")
    return parser


def run(args: argparse.Namespace) -> int:
    """Write the file and say how to use it; 1 where it computes something else than the network."""
    if len(args.img_size) > 2:
        raise TwinsError("--img-size takes one side, or height and width")
    if args.model is not None:
        Recipe.check_field("model", args.model)
    if args.to == "hub":
        return _write_hub_folder(args)
    if args.license is not None:
        raise TwinsError("--license is of the model card of --to hub: leave it out")
    from ..class_names import read_names
    from ..export.exporting import export_model  # heavy, so after the checks
    from ..export.gate import DiffersError
    from ..runtimes.opening import open_exported

    try:
        file = export_model(
            args.weights,
            to=args.to,
            out=args.out,
            img_size=None if args.img_size == [None] else (args.img_size[0], args.img_size[-1]),
            batch=args.batch,
            dtype=args.dtype,
            ema=args.ema,
            model=args.model,
            classes=read_names(Path(args.classes)) if args.classes else None,
            data=args.data,
            check_images=args.check_images,
            calibration_images=args.calibration_images,
            say=_say,
        )
    except DiffersError as error:
        print(f"twins: {shown(error)}", file=sys.stderr)
        return 1
    print("\n".join(map(shown, _summary(file, open_exported(file).description))))
    return 0


_OF_FILES = ("img_size", "batch", "dtype", "ema", "data", "check_images", "calibration_images")


def _write_hub_folder(args: argparse.Namespace) -> int:
    for name in _OF_FILES:
        if getattr(args, name) != args.parser.get_default(name):
            raise TwinsError(f"--{name.replace('_', '-')} is not for --to hub, which writes the weights as they are")
    from ..class_names import read_names
    from ..export.exporting import weights_or_newest
    from ..hub.saving import UNKNOWN_LICENSE, save_hub_folder
    from ..model_names import model_name
    from ..networks import info_of, run_name
    from ..training.run_folder import free_folder

    info = info_of(weights_or_newest(args.weights, _say))
    info = info.with_model(None if args.model is None else model_name(args.model))
    info = info.with_classes(read_names(Path(args.classes)) if args.classes else None)
    folder = args.out or free_folder(Path("runs", "export"), run_name(info))
    for line in save_hub_folder(info, folder, license=args.license or UNKNOWN_LICENSE, exist_ok=args.exist_ok):
        _say(line)
    return 0


def _say(line: str) -> None:
    print(shown(line), flush=True)


def _whole_number(text: str) -> int | None:
    """Of a flag; None for the word dynamic."""
    if text == "dynamic":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor the word dynamic") from None


def _summary(file: Path, description: Description) -> list[str]:
    """What was written, the contract of its input and outputs, and what to type next."""
    files = [file, *([file.with_suffix(".bin")] if file.suffix == ".xml" else [])]
    megabytes = sum(one.stat().st_size for one in files) / 1e6
    takes, gives = takes_and_gives(description)
    return [
        f"wrote {' and '.join(map(str, files))}, {megabytes:.1f} MB",
        f"in: {takes}",
        f"out: {gives}; {len(description.classes)} classes, named in the file",
        f"next: twins predict --weights {file} IMAGES   or, without twins, as docs/export.md shows",
    ]
