"""`twins predict`: the predictions of a trained network for images, drawn and as data."""

from __future__ import annotations

import argparse
import re
from dataclasses import Field
from pathlib import Path
from typing import Any

from ..errors import TwinsError, nearest
from ..recipes import NETWORK_OF_TASK, TASKS, Recipe, fields_of, recipe_class
from ..shown_text import shown
from .predict_job import add_job_flags, check_job_flags, run_job
from .recipe_flags import add_flag, given

EXPLANATIONS = ("gradcam", "layercam", "attention")


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Its flags, among them those fields of each task's recipe that prediction knows."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        usage="twins predict --weights FILE SOURCE ... [--out FOLDER] [--FLAG VALUE ...]",
        description="Classify, segment or detect, as the checkpoint was trained to. Its network, classes and "
        "preprocessing are as the checkpoint says; weights of others are taken for published ones.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="images, and folders with images in or below")
    parser.add_argument("--weights", required=True, metavar="FILE", help="a checkpoint, of any dialect, or a file "
                        "that `twins export` wrote")  # fmt: skip
    parser.add_argument("--out", metavar="FOLDER", help="where to write (default: runs/predict/NAME, and then NAME2, "
                        "NAME3 ... by the name of the checkpoint's run)")  # fmt: skip
    parser.add_argument("--exist-ok", action="store_true", help="write to the folder even if something is in it")
    parser.add_argument("--draw", action=argparse.BooleanOptionalAction,
                        help="draw on the images, beside the data (default: on); never with --format")  # fmt: skip
    parser.add_argument("--explain", nargs="?", const="gradcam", type=_explanation, metavar="KIND",
                        help="draw what each prediction rests on, as explain/NAME.png: gradcam (if no KIND is named), "
                        "layercam, or attention; name images before it")  # fmt: skip
    parser.add_argument("--explain-class", metavar="NAME", help="explain this class (default: what is predicted)")
    parser.add_argument("--explain-at", type=_pixel, metavar="X,Y", help="explain from this pixel, counted from 0 at "
                        "the top left: its attention, a segmenter's class there, a detection around it")  # fmt: skip
    parser.add_argument("--explain-stage", type=int, metavar="N", help="the stage whose map gradcam and layercam take, "
                        "0 to 3: the earlier, the finer (default: the last)")  # fmt: skip
    parser.add_argument("--bad-images", choices=("stop", "skip"), default="stop",
                        help="an unreadable image: stop, or skip and count it; rows of --format say why")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto (the best there is), cuda, cuda:N, mps or cpu")
    parser.add_argument("--dtype", metavar="NAME", help="fp32, bf16 or int8: the CPU engine computes the network "
                        "(default: PyTorch does)")  # fmt: skip
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction,
                        help="take the moving average of the weights (default: where there is one)")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="the network, where weights of others do not say which it is")
    parser.add_argument("--classes", metavar="FILE", help="names of the classes, one a line, for weights without")
    parser.add_argument("--topk", type=int, metavar="N", default=argparse.SUPPRESS,
                        help="classifiers: how many classes to name, the most probable first (default: 5)")  # fmt: skip
    for field in fields_of(Recipe, "predict"):
        add_flag(parser, Recipe, field, f"{field.metadata['help']} (default: {_default(field)})")
    for task in TASKS:
        for field in _fields_of_one(task):
            help_text = f"{NETWORK_OF_TASK[task]}s: {field.metadata['help']} (default: {_default(field)})"
            add_flag(parser, recipe_class(task), field, help_text)
    add_job_flags(parser)
    return parser


def _fields_of_one(task: str) -> list[Field[Any]]:
    """The fields that prediction knows of one task's recipe alone."""
    of_all = {field.name for field in fields_of(Recipe, "predict")}
    return [field for field in fields_of(recipe_class(task), "predict") if field.name not in of_all]


def _default(field: Field[Any]) -> str:
    default = "as in its run" + ("" if field.default is None else f", or {field.default}")
    return str(field.metadata["unless_given"].get("predict", default))


def run(args: argparse.Namespace) -> int:
    """Write a folder of predictions, or with --format the rows of a job."""
    settings = {"topk": args.topk} if "topk" in args else {}
    for task in TASKS:
        settings |= given(args, recipe_class(task), "predict")
    Recipe.check_field("device", args.device)
    _check_explanation(args)
    check_job_flags(args)
    if args.model is not None:
        Recipe.check_field("model", args.model)
    if args.format is not None:
        return run_job(args, settings)
    from ..predict import find_images, load_predictor, read_names, write_predictions  # heavy, so after the checks
    from ..training.run_folder import free_folder

    images = find_images(args.sources)
    for line in images.left_out:
        print(shown(line), flush=True)
    classes = read_names(Path(args.classes)) if args.classes else None
    predictor = load_predictor(args.weights, args.device, args.ema, args.model, classes, args.dtype, **settings)
    out = Path(args.out) if args.out else free_folder(Path("runs", "predict"), predictor.name)
    explainer = None if args.explain is None else _explainer(args, predictor, images, out / "explain")
    write_predictions(predictor, images, out, args.draw is not False, args.bad_images, args.exist_ok, explainer)
    return 0


def _explanation(text: str) -> str:
    if text not in EXPLANATIONS:
        known = ", ".join(EXPLANATIONS)
        raise argparse.ArgumentTypeError(
            f"there is {known}, not {text!r}{nearest(text, EXPLANATIONS)}; images stand before it"
        )
    return text


def _pixel(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+),(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"two whole numbers are needed, X,Y as in 120,45, not {text!r}")
    return int(match[1]), int(match[2])


def _check_explanation(args: argparse.Namespace) -> None:
    """Raises TwinsError for flags of an explanation that do not go with the others."""
    if args.explain is None:
        for name in ("explain_class", "explain_at", "explain_stage"):
            if getattr(args, name) is not None:
                raise TwinsError(f"--{name.replace('_', '-')} says what to explain: give --explain with it")
    elif args.dtype is not None:
        raise TwinsError(
            f"--explain looks into the network, which the engine of --dtype {args.dtype} hides: leave out one of them"
        )


def _explainer(args: argparse.Namespace, predictor: Any, images: Any, folder: Path) -> Any:
    """What draws the explanation of each prediction. Raises TwinsError for one that this network cannot have."""
    from ..explain.question import Question
    from ..explain.sheets import SheetWriter
    from ..runtimes.exported_info import ExportedInfo

    if isinstance(predictor.info, ExportedInfo):
        raise TwinsError(
            f"{predictor.info.source}: --explain looks into the network, which an exported file hides: take the "
            "checkpoint that it was made of"
        )
    stage = -1 if args.explain_stage is None else args.explain_stage
    question = Question(args.explain, args.explain_class, args.explain_at, stage)
    return SheetWriter(predictor, images, folder, question)
