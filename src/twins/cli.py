"""The command `twins`: train, eval, predict, data, bench, info."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .errors import TwinsError, nearest
from .recipes import (
    Recipe,
    find_recipe,
    list_recipes,
    recipe_class,
    stored_recipe,
    task_of_recipe,
    tuples_for_lists,
)

INTERRUPTED = 130
TASKS = "classify: one label an image; detect: a box, and a mask, for each object; segment: a class for each pixel"
FLAGS_OF_TASK = "Flags differ by task: `--task detect --help` shows those of detection, and so on."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; answers its exit status: 0, 2 for what the user can fix, 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        argv = _with_run_to_resume(argv)
        args = make_parser(argv).parse_args(argv)
        return int(args.run(args))
    except TwinsError as error:
        print(f"twins: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake gets one line with the nearest right name instead of the whole help."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help, **settings})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            command = getattr(parsed, "parser", self)
            flags = [option for option in command._option_string_actions if option.startswith("--")]
            wrong = unknown[0].partition("=")[0]
            raise TwinsError(f"unknown argument {wrong}{nearest(wrong, flags)}; see {command.prog} --help")
        return parsed

    def error(self, message: str) -> NoReturn:
        raise TwinsError(f"{message}; see {self.prog} --help")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, argparse.SUPPRESS, False) or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


_DATA_FLAGS = (
    "data", "dataset", "inat_category", "val_split", "seed", "in_chans", "img_size", "bad_images", "workers", "output",
    "resize", "scale", "classes_file", "img_suffix", "mask_suffix", "reduce_zero_label", "ignore_index", "max_size",
)  # fmt: skip
_EVALUATION_FLAGS = (
    "data", "dataset", "inat_category", "model", "window_padding", "img_size", "crop_pct", "decoder", "bad_images",
    "workers", "device", "amp", "amp_dtype", "output", "name", "exist_ok",
    "head", "head_channels", "resize", "classes_file", "img_suffix", "mask_suffix", "reduce_zero_label",
    "ignore_index", "check", "slide", "slide_stride", "test_scales", "test_flip",
    "detector", "max_size", "conf", "iou", "max_det",
)  # fmt: skip
# Those that one kind of network alone knows; the others are added by name.
_PREDICTION_FLAGS: dict[str, tuple[type, str]] = {
    "topk": (int, "classifiers: how many classes to name, the likeliest first; 5 if not given"),
    "slide": (int, "segmenters: in overlapping squares of this side, for large images; as in its run if not given"),
    "slide_stride": (int, "segmenters: pixels between two squares; two thirds of SLIDE if not given"),
    "conf": (float, "detectors: least score of what is drawn and written; 0.3 if not given"),
    "iou": (float, "detectors: of two boxes of a class that overlap more, the better one stays; as in its run, or 0.5"),
    "max_det": (int, "detectors: most detections an image; as in its run, or 100"),
}


def make_parser(argv: Sequence[str]) -> Parser:
    """The whole command line; flags of `train` and `eval` are the fields of the task's recipe."""
    from . import __version__
    from .commands.bench import add_bench

    parser = Parser(prog="twins", description="Twins vision transformers: training, evaluation, and what they are.")
    parser.add_argument("--version", action="version", version=f"twins {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    task, recipe = _task_and_recipe(argv)

    train = commands.add_parser(
        "train", help="train on a folder of images, or on the embedded digits",
        usage="twins train [--task TASK] [--recipe NAME] [--data FOLDER] [--weights FILE] [--FLAG VALUE ...]",
        description="Train by a recipe. Flags change it; the defaults below are those of the recipe that is named, or "
        "of `digits`; `none` switches a setting off. With torchrun in front, several processes train together. "
        + FLAGS_OF_TASK,
    )  # fmt: skip
    train.add_argument("--task", default=task, help=TASKS)
    train.add_argument("--recipe", metavar="NAME|FILE", help=f"where to start from: {', '.join(list_recipes(task))}, "
                       "or a run's recipe.json; by default `digits` for --data digits and `pictures` else")  # fmt: skip
    train.add_argument("--resume", nargs="?", const="", metavar="CHECKPOINT",
                       help="go on from this file; without one from the newest unfinished run, of the name, data or "
                       "recipe if one is given")  # fmt: skip
    train.add_argument("--print-lr", action="store_true", help="print the rate of every epoch as JSON, and stop")
    add_recipe_flags(train, recipe)
    train.set_defaults(run=run_train, parser=train)

    evaluate = commands.add_parser(
        "eval", help="metrics of a checkpoint on validation images",
        usage="twins eval --weights CHECKPOINT [--data FOLDER] [--recipe NAME] [--FLAG VALUE ...]",
        description="Evaluate a checkpoint. What it tells of its network, classes, preprocessing and data holds "
        "unless a flag says otherwise; without --data the images are its run's validation images. " + FLAGS_OF_TASK,
    )  # fmt: skip
    evaluate.add_argument("--task", default=task, help=TASKS + "; by default what the checkpoint is for")
    evaluate.add_argument("--weights", required=True, metavar="CHECKPOINT", help="a checkpoint, of any dialect")
    evaluate.add_argument("--recipe", metavar="NAME|FILE", help="the published run that weights of others are from")
    evaluate.add_argument("--ema", action=argparse.BooleanOptionalAction, default=None,
                          help="take the moving average of the weights; by default where there is one")  # fmt: skip
    images_at_once = ("batch_size",) if task == "classify" else ()  # the others see whole images, one by one
    add_recipe_flags(evaluate, recipe, only=_EVALUATION_FLAGS + images_at_once, defaults=False)
    evaluate.set_defaults(run=run_eval, parser=evaluate)

    _add_predict(commands)

    data = commands.add_parser("data", help="look through a folder of images before training on it")
    looks = data.add_subparsers(dest="look", required=True, metavar="check|preview", parser_class=Parser)
    for look, told in (("check", "read every annotation and say what is wrong"), ("preview", "draw annotated samples")):
        parser_of_look = looks.add_parser(
            look, help=told,
            description=f"{told.capitalize()}. Nothing is written to the data folder. {FLAGS_OF_TASK}",
            usage=f"twins data {look} --data FOLDER [--task TASK] [--FLAG VALUE ...]",
        )  # fmt: skip
        parser_of_look.add_argument("--task", default=task, help=TASKS)
        if look == "preview":
            parser_of_look.add_argument("--out", default="preview.png", metavar="FILE", help="the image to write")
        add_recipe_flags(parser_of_look, recipe, only=_DATA_FLAGS)
        parser_of_look.set_defaults(run=run_data, parser=parser_of_look, recipe=None)

    add_bench(commands).set_defaults(run=run_bench)

    info = commands.add_parser("info", help="the six networks: parameters, FLOPs, published accuracy")
    info.add_argument("--task", choices=("classify", "detect", "segment"), default="classify", help=TASKS)
    info.add_argument("--img-size", type=int, metavar="N",
                      help="side of the square that FLOPs are counted at; 224, for segmenters 512")  # fmt: skip
    info.add_argument("--json", action="store_true", help="print JSON instead of a table")
    info.set_defaults(run=run_info, parser=info)
    return parser


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict", help="what a trained network says of images, drawn and as data",
        usage="twins predict --weights CHECKPOINT SOURCE ... [--out FOLDER] [--FLAG VALUE ...]",
        description="Classify, segment or detect, as the checkpoint was trained to. It tells its network, classes and "
        "preprocessing; weights of others are seen to be published ones.",
    )  # fmt: skip
    predict.add_argument("sources", nargs="+", metavar="SOURCE", help="images, and folders with images in or below")
    predict.add_argument("--weights", required=True, metavar="CHECKPOINT", help="a checkpoint, of any dialect")
    predict.add_argument("--out", metavar="FOLDER", help="where to write; if not given, runs/predict/NAME, and then "
                         "NAME2, NAME3 ... by the name of the checkpoint's run")  # fmt: skip
    predict.add_argument("--exist-ok", action="store_true", help="write to the folder even if something is in it")
    predict.add_argument("--draw", action=argparse.BooleanOptionalAction, default=True,
                         help="draw on the images, beside the data")  # fmt: skip
    predict.add_argument("--bad-images", choices=("stop", "skip"), default="stop",
                         help="an unreadable image: stop, or skip and count it")  # fmt: skip
    predict.add_argument("--device", default="auto", help="auto (the best there is), cuda, cuda:N, mps or cpu")
    predict.add_argument("--ema", action=argparse.BooleanOptionalAction, default=None,
                         help="take the moving average of the weights; by default where there is one")  # fmt: skip
    predict.add_argument("--model", metavar="NAME", help="the network, where weights of others do not tell it")
    predict.add_argument("--classes", metavar="FILE", help="a name a line of the classes, for weights that tell none")
    for name, (kind, told) in _PREDICTION_FLAGS.items():
        predict.add_argument("--" + name.replace("_", "-"), type=kind, metavar={int: "N", float: "X"}[kind],
                             default=argparse.SUPPRESS, help=told)  # fmt: skip
    predict.set_defaults(run=run_predict, parser=predict)


def add_recipe_flags(
    parser: argparse.ArgumentParser, recipe: Recipe, only: Sequence[str] | None = None, defaults: bool = True
) -> None:
    """One flag for each field of a recipe, whose values the help shows.

    Flags that are not given leave no trace in the parsed arguments.
    """
    hints = typing.get_type_hints(type(recipe))
    groups: dict[str, Any] = {}
    for f in dataclasses.fields(recipe):
        if not f.metadata or (only is not None and f.name not in only):
            continue
        group = groups.setdefault(f.metadata["group"], parser.add_argument_group(f.metadata["group"]))
        flags = [*(a for a in f.metadata["aliases"] if not a.startswith("--")), "--" + f.name.replace("_", "-")]
        flags += [a for a in f.metadata["aliases"] if a.startswith("--")]
        default = getattr(recipe, f.name)
        shown = defaults and default not in (None, False, (), {})
        told = f.metadata["help"] + (f" (default: {_plain(default)})" if shown else "")
        settings: dict[str, Any] = {"dest": f.name, "default": argparse.SUPPRESS, "help": told.replace("%", "%%")}
        kind = _value_type(hints[f.name])
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif kind is dict:
            settings |= {"nargs": "+", "metavar": "KEY=VALUE", "type": _key_value, "action": _IntoDict}
        else:
            settings["type"] = _or_none(kind) if _without_none(hints[f.name]) is not hints[f.name] else kind
            if typing.get_origin(_without_none(hints[f.name])) is tuple:
                settings["nargs"] = "+"
            if f.metadata["choices"]:
                settings["choices"] = f.metadata["choices"]
            else:
                settings["metavar"] = {int: "N", float: "X"}.get(kind, "NAME" if "name" in f.name else "VALUE")
        group.add_argument(*flags, **settings)


class _IntoDict(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, dict(values))


def given(args: argparse.Namespace, cls: type[Recipe]) -> dict[str, Any]:
    """The recipe's fields that were set on the command line."""
    names = {f.name for f in dataclasses.fields(cls)}
    return tuples_for_lists({k: v for k, v in vars(args).items() if k in names and k != "task"})


def run_train(args: argparse.Namespace) -> int:
    from .training import optim
    from .training.loop import fit
    from .training.run_folder import newest_unfinished

    changes = given(args, recipe_class(args.task))
    resume: Path | None = None
    if args.resume:
        resume = Path(args.resume)
        recipe = _recipe_of_run(resume, args.task).replace(**changes)
    else:
        recipe = _recipe(args, changes)
        if args.resume == "" and (unfinished := newest_unfinished(recipe)):
            resume = unfinished / "checkpoint.pth"
            recipe = _recipe_of_run(resume, args.task).replace(**changes)
        elif args.resume == "":
            print(f"no unfinished run named {recipe.name or recipe.model}: starting one")
    if args.print_lr:
        updates = 1 if recipe.sched_unit == "epoch" else recipe.steps_per_epoch or 1000
        print(json.dumps(optim.learning_rates(recipe.resolve(processes=1), updates)))
        return 0
    outcome = fit(recipe, folder=None if resume is None else resume.parent, resume=resume)
    return 0 if outcome.finished else INTERRUPTED


def run_eval(args: argparse.Namespace) -> int:
    from .checkpoints.info import read_info
    from .training.evaluation import evaluate_checkpoint, recipe_of_checkpoint

    info = read_info(args.weights)
    recipe = recipe_of_checkpoint(info, args.task, given(args, recipe_class(args.task)), args.recipe)
    evaluate_checkpoint(recipe, info, ema=args.ema)
    return 0


def run_predict(args: argparse.Namespace) -> int:
    from .predict import find_images, load_predictor, read_names, write_predictions
    from .training.run_folder import free_folder

    images = find_images(args.sources)
    classes = read_names(Path(args.classes)) if args.classes else None
    settings = {name: value for name, value in vars(args).items() if name in _PREDICTION_FLAGS}
    predictor = load_predictor(args.weights, args.device, args.ema, args.model, classes, **settings)
    out = Path(args.out) if args.out else free_folder(Path("runs", "predict"), predictor.name)
    write_predictions(predictor, images, out, args.draw, args.bad_images, args.exist_ok)
    return 0


def run_data(args: argparse.Namespace) -> int:
    from .commands.data import check_data, preview_data

    recipe = _recipe(args, given(args, recipe_class(args.task)))
    if args.look == "preview":
        preview_data(recipe, Path(args.out))
        return 0
    return 0 if check_data(recipe) else 2


def run_info(args: argparse.Namespace) -> int:
    from .commands.info import print_detectors, print_segmenters, print_zoo

    if args.task == "segment":
        print_segmenters(args.img_size or 512, as_json=args.json)
    elif args.task == "detect":
        print_detectors(as_json=args.json)
    else:
        print_zoo(args.img_size or 224, as_json=args.json)
    return 0


def run_bench(args: argparse.Namespace) -> int:
    from .commands.bench import measure

    return 0 if measure(args) else INTERRUPTED


def _recipe(args: argparse.Namespace, changes: dict[str, Any]) -> Recipe:
    """The recipe that is named, or that suits the data, with changes."""
    name = args.recipe or ("digits" if getattr(args, "data", "digits") == "digits" else "pictures")
    return find_recipe(name, args.task).replace(**changes)


def _recipe_of_run(checkpoint: Path, task: str) -> Recipe:
    """The recipe that a checkpoint was trained by."""
    from .checkpoints.resume import read_training_checkpoint

    fields = read_training_checkpoint(checkpoint).recipe
    if fields is None:
        raise TwinsError(f"{checkpoint}: no recipe inside; a checkpoint of the original is resumed by main.py --resume")
    return stored_recipe(fields, task, source=str(checkpoint))


def _with_run_to_resume(argv: list[str]) -> list[str]:
    """`--resume` alone names no run: name the newest unfinished one. Raises TwinsError where there is none."""
    if argv[:1] != ["train"] or "--resume" not in argv:
        return argv
    early = Parser(prog="twins", add_help=False)
    for flag in ("--resume", "--recipe", "--name"):
        early.add_argument(flag, nargs="?", const="")
    early.add_argument("--data", "--data-path", nargs="?", const="")
    early.add_argument("--output", default="runs")
    early.add_argument("--task")
    args, _ = early.parse_known_args(argv)
    if args.resume != "" or not (args.recipe is args.name is args.data is None):
        return argv
    from .training.run_folder import newest_unfinished_of_all

    folder = newest_unfinished_of_all(args.output, args.task)
    if folder is None:
        raise TwinsError(
            f"{args.output}: no unfinished run there to go on with; --output or --resume FILE name another"
        )
    place = argv.index("--resume")
    return [*argv[:place], f"--resume={folder / 'checkpoint.pth'}", *argv[place + 1 :]]


def _task_and_recipe(argv: Sequence[str]) -> tuple[str, Recipe]:
    """Known before the rest is parsed, since they decide which flags there are and which defaults help shows."""
    early = Parser(prog="twins", add_help=False)
    for flags in (("--task",), ("--recipe",), ("--weights",)):
        early.add_argument(*flags)
    early.add_argument("--data", "--data-path", default="digits")
    early.add_argument("--resume", nargs="?", const="")
    args, _ = early.parse_known_args(argv)
    checkpoint = args.weights if "eval" in argv[:1] else args.resume
    task = args.task or (args.recipe and task_of_recipe(args.recipe)) or _task_of_weights(checkpoint) or "classify"
    args.task = task
    return task, _recipe(args, {})


def _task_of_weights(checkpoint: str | None) -> str | None:
    """What a checkpoint is for, if there is a file and it tells. Raises TwinsError for a file that is none."""
    if not checkpoint or not Path(checkpoint).is_file():
        return None
    from .checkpoints.info import read_info

    return read_info(checkpoint).task


def _without_none(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _value_type(hint: Any) -> Any:
    hint = _without_none(hint)
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0]
    return typing.get_origin(hint) or hint


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads `none` as well, for settings that can be switched off."""

    def read(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    read.__name__ = kind.__name__  # what argparse calls a value that cannot be read
    return read


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    parts = value.split(",")
    try:
        values = tuple(json.loads(part) for part in parts)
    except json.JSONDecodeError:
        return key, value
    return key, values if len(values) > 1 else values[0]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={_plain(v).replace(' ', ',')}" for key, v in value.items())
    if isinstance(value, tuple):
        return " ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in value)
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
