"""The command `twins`: which subcommand is meant, which task, and one line for a mistake.

Each subcommand is a module of `commands`, imported only when it is named: `add_parser` says which flags it has, and
`run` does it. Most flags of `train`, `eval` and `data` are fields of a task's recipe, so that an early look at the
command line has to find the task before the flags can be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .commands import INTERRUPTED
from .errors import TwinsError, nearest
from .recipes import TASKS, find_recipe, task_of_recipe
from .shown_text import print_whatever_it_holds, shown

if TYPE_CHECKING:
    from .checkpoints.info import CheckpointInfo

COMMANDS = {
    "train": "train on a folder of images, or on the embedded digits",
    "eval": "metrics of a checkpoint on validation images",
    "predict": "predictions of a trained network for images, drawn and as data",
    "export": "a trained network as a file of ONNX Runtime, OpenVINO or PyTorch, compared with the original",
    "serve": "predictions over HTTP, with a page for people",
    "data": "look through a folder of images before training on it",
    "bench": "speed and memory on this machine, beside timm, ONNX Runtime and OpenVINO",
    "compare": "several runs on one page: metrics, curves, settings, classes",
    "plan": "hours, cost, memory and limits of a training run on GPUs that are not at hand",
    "info": "the six networks: parameters, FLOPs, published accuracy; or what a file of one says of itself",
}
OTHER_NAMES = {"--pretrained": "--weights", "--checkpoint": "--weights", "--ckpt": "--weights"}  # in other programs
WITH_RECIPE = ("train", "eval", "data")  # whose flags are fields of a task's recipe


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 0, 2 for what the user can fix, 130 after Ctrl-C, 143 after SIGTERM."""
    print_whatever_it_holds()
    try:
        args = parse(list(sys.argv[1:] if argv is None else argv))
        return int(args.run(args))
    except TwinsError as error:
        print(f"twins: {shown(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


class UnknownFlagError(TwinsError):
    """No flag of this command and task has that name."""


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake gets one line with the nearest right name instead of the whole help."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help, **settings})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Raises TwinsError for a flag or a value that is not known."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise self._unknown(unknown[0].partition("=")[0], parsed)
        return parsed

    def _unknown(self, wrong: str, parsed: argparse.Namespace) -> UnknownFlagError:
        command: Parser = getattr(parsed, "parser", self)
        elsewhere: dict[str, list[str]] = getattr(parsed, "flags_of_other_tasks", {})
        if wrong in elsewhere:
            tasks = " or ".join(f"--task {task}" for task in elsewhere[wrong])
            return UnknownFlagError(f"{wrong} is a flag of {tasks}; see {command.prog} --help")
        flags = [option for option in command._option_string_actions if option.startswith("--")]
        other = OTHER_NAMES.get(wrong)
        hint = f" (did you mean {other}?)" if other in flags else nearest(wrong, [*flags, *elsewhere])
        return UnknownFlagError(f"unknown argument {wrong}{hint}; see {command.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = ["none" if choice is None else str(choice) for choice in action.choices]
            hint = nearest(str(value), choices)
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{hint}; there is {', '.join(choices)}")

    def error(self, message: str) -> NoReturn:
        raise TwinsError(f"{message}; see {self.prog} --help")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=110)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, argparse.SUPPRESS, False) or not action.option_strings:
            return action.help
        if action.default is True:
            return f"{action.help} (default: on)"
        return super()._get_help_string(action)


class EarlyLook(NamedTuple):
    """What has to be known before the flags are: whose they are, and what their defaults are."""

    command: str | None = None
    task: str | None = None  # as named, or of the recipe that is
    recipe: str = "digits"  # to start from
    checkpoint: str | None = None  # to evaluate or to resume; its task counts where none is named
    newest_of_all: bool = False  # resume the newest unfinished run, whatever its name
    output: str = "runs"

    @property
    def tasks(self) -> Sequence[str]:
        """Those that the command line may be for."""
        if self.task is not None:
            return (self.task,)
        return TASKS if self.checkpoint or self.newest_of_all else ("classify",)


def early_look(argv: Sequence[str]) -> EarlyLook:
    """Find the command, task, recipe and checkpoint among flags of which the rest is not known yet."""
    command = argv[0] if argv and argv[0] in COMMANDS else None
    if command not in WITH_RECIPE:
        return EarlyLook(command)
    early = Parser(prog=f"twins {command}", add_help=False)
    for flag in ("--task", "--recipe", "--weights"):
        early.add_argument(flag)
    early.add_argument("--output", default="runs")
    for flags in (("--data", "--data-path"), ("--name",), ("--resume",)):
        early.add_argument(*flags, nargs="?", const="")
    args, _ = early.parse_known_args(argv)
    resume = args.resume if command == "train" else None
    return EarlyLook(
        command,
        args.task or (args.recipe and task_of_recipe(args.recipe)),
        args.recipe or ("digits" if args.data in (None, "digits") else "pictures"),
        checkpoint=args.weights if command == "eval" else resume,
        newest_of_all=resume == "" and args.recipe is args.name is args.data is None,
        output=args.output,
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The values of a command's flags, and in `run` what does it.

    For a command with a recipe there are as well `task`, `base_recipe` and `changes` (what is set of it), and
    `checkpoint`, what was read of the file to evaluate or to resume. Names and values are checked first, so that a
    mistake is reported at once; only then is the checkpoint read, if its task decides which flags count. Raises
    TwinsError for a mistake.
    """
    look = early_look(argv)
    if look.command not in WITH_RECIPE:
        return make_parser(look).parse_args(argv)
    attempts = {task: _attempt(argv, look, task) for task in look.tasks}
    mistakes = [attempt for attempt in attempts.values() if isinstance(attempt, TwinsError)]
    if len(mistakes) == len(attempts):
        raise next((m for m in mistakes if not isinstance(m, UnknownFlagError)), mistakes[0])
    checkpoint = _checkpoint(look)
    task = look.task or (checkpoint and checkpoint.task) or "classify"
    args = attempts[task]
    if isinstance(args, TwinsError):
        raise args
    args.task, args.checkpoint = task, checkpoint
    return args


def make_parser(look: EarlyLook, task: str = "classify") -> Parser:
    """The command line with the flags of the command that is named; of the others there is one line each in help."""
    from . import __version__

    parser = Parser(prog="twins", description="Twins vision transformers: training, evaluation, prediction.")
    parser.add_argument("--version", action="version", version=f"twins {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        if name != look.command:
            commands.add_parser(name, help=help_text)
            continue
        module = import_module(f".commands.{name}", __package__)
        if name in WITH_RECIPE:
            recipe = find_recipe(look.recipe, task)
            command = module.add_parser(commands, recipe)
            command.set_defaults(base_recipe=recipe)
        else:
            command = module.add_parser(commands)
        command.set_defaults(run=module.run, parser=command)
    return parser


def _attempt(argv: Sequence[str], look: EarlyLook, task: str) -> argparse.Namespace | TwinsError:
    """The command line read as one of a task, or what is wrong with it then."""
    from .commands.recipe_flags import given

    try:
        args: argparse.Namespace = make_parser(look, task).parse_args(argv)
        args.changes = given(args, type(args.base_recipe), args.command)
    except TwinsError as error:
        return error
    return args


def _checkpoint(look: EarlyLook) -> CheckpointInfo | None:
    """What is to be evaluated or resumed. Raises TwinsError for a file that is none, and where no run is to resume."""
    if not (look.checkpoint or look.newest_of_all):
        return None
    if look.command == "eval":
        from .networks import info_of

        return info_of(str(look.checkpoint))
    from .commands.train import newest_checkpoint, read_newest_whole

    return read_newest_whole(Path(look.checkpoint) if look.checkpoint else newest_checkpoint(look.output, look.task))


if __name__ == "__main__":
    sys.exit(main())
