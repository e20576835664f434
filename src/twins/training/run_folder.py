"""The folder of a run: its name, and the files that are written while it lasts."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from glob import escape
from itertools import count
from pathlib import Path
from typing import Any

import torch

from ..atomic_write import atomic_file, remove_unfinished, sync_folder, writing
from ..errors import TwinsError
from ..recipes import Recipe
from ..shown_text import shown

NEWEST, BEST = "checkpoint.pth", "checkpoint_best.pth"  # of the last update saved, and of the best epoch

# What an evaluation leaves: of an earlier one in the same folder it would be taken for this run's.
_RESULTS = ("metrics.json", "per_class.csv", "confusion.csv", "thresholds.csv", "predictions.png", "detections.png",
            "mistakes/captions.json", "report.html")  # fmt: skip


class RunFolder:
    """A folder that the main process alone writes to; other ranks hold one that stays silent.

    `val_prefix` is what names of validation metrics begin with in `log.txt` and `metrics.csv`.
    """

    def __init__(self, path: Path, main: bool = True, val_prefix: str = "val_") -> None:
        self.path, self.main, self.val_prefix = path, main, val_prefix

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def create(self, afresh: bool = True) -> None:
        """Make the folder; logs that are there already are continued, or put aside by a run that starts afresh.

        Such a run removes the results of an earlier one as well.

        Raises TwinsError where nothing can be written.
        """
        if not self.main:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self / "summary.json").unlink(missing_ok=True)
            for log in map(self.__truediv__, ("log.txt", "metrics.csv", "steps.csv", "console.txt")):
                if afresh and log.exists():
                    log.rename(log.with_stem(f"{log.stem}-{time.strftime('%Y%m%d-%H%M%S')}"))
            for result in _RESULTS if afresh else ():
                (self / result).unlink(missing_ok=True)
            (self / "console.txt").touch()
            remove_unfinished(self.path)
        except OSError as error:
            raise TwinsError(f"{self.path}: cannot write there ({error.strerror}); choose another --output") from error
        if (self / "metrics.csv").exists():
            self._rename_validation_columns()

    def _rename_validation_columns(self) -> None:
        """Let a table continue whose validation metrics have another prefix, as earlier versions wrote `test_acc1`."""
        names, newline, rows = (self / "metrics.csv").read_bytes().partition(b"\n")
        names = re.sub(rb"\b(test|val)_", self.val_prefix.encode(), names)
        with atomic_file(self / "metrics.csv") as beside:
            beside.write_bytes(names + newline + rows)

    def say(self, text: str = "") -> None:
        """Print a line, and keep it in `console.txt`; what names of files may do to a terminal is escaped."""
        if self.main:
            text = "\n".join(map(shown, text.split("\n")))  # a report of weights has several lines
            print(text, flush=True)
            console = self / "console.txt"
            with writing(console), console.open("a", encoding="utf-8") as file:
                file.write(text + "\n")

    def log(self, record: dict[str, Any]) -> None:
        """Add an epoch to `log.txt` (a JSON object a line) and `metrics.csv`."""
        if not self.main:
            return
        log = self / "log.txt"
        with writing(log), log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        columns = ["epoch", "time", *(key for key in record if key not in ("epoch", "time"))]
        self.add_row("metrics.csv", {key: record[key] for key in columns})

    def sync_logs(self) -> None:
        """Put on the disk what the logs say so far: whatever a checkpoint knows of, they will not say again."""
        if not self.main:
            return
        with writing(self.path):
            for log in map(self.__truediv__, ("log.txt", "metrics.csv", "steps.csv")):
                if log.exists():
                    with log.open("r+b") as file:
                        os.fsync(file.fileno())
            sync_folder(self.path)

    def forget_after(self, epoch: int, step: int) -> None:
        """Drop what the logs say of what comes after `epoch` whole epochs and `step` updates: it will come again.

        A run that was killed has logged more than its last checkpoint knows, and perhaps half a line.
        """
        if not self.main:
            return
        self._keep_lines("log.txt", lambda line: json.loads(line)["epoch"] < epoch)
        self._keep_lines("metrics.csv", lambda line: int(line.split(",")[0]) < epoch)
        self._keep_lines("steps.csv", lambda line: tuple(map(int, line.split(",")[:2])) <= (epoch, step))

    def _keep_lines(self, log: str, known: Callable[[str], bool]) -> None:
        """Keep the lines of a log that are whole and known, and the names of a table's columns."""
        path = self / log
        if not path.exists():
            return
        lines = path.read_bytes().decode(errors="replace").splitlines(keepends=True)  # whose ends stay as they are
        kept = [line for row, line in enumerate(lines) if _is_whole(line, known, row == 0 and log.endswith(".csv"))]
        if len(kept) < len(lines):
            with atomic_file(path) as beside:
                beside.write_text("".join(kept), encoding="utf-8", newline="")

    def add_row(self, table: str, row: dict[str, Any]) -> None:
        """Add a row to a table, under the names of its columns if it is the first."""
        if not self.main:
            return
        with writing(self / table), (self / table).open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if not file.tell():  # new, or empty, as a power cut may leave it
                writer.writeheader()
            writer.writerow(row)

    def lacks_its_end(self, epochs: int) -> bool:
        """Whether the run that the folder is of was killed after so many epochs, its last, and before its summary."""
        logged = [record["epoch"] for record in self.history()]
        return bool(logged) and logged[-1] == epochs - 1 and not (self / "summary.json").exists()

    def history(self) -> list[dict[str, Any]]:
        """The epochs logged so far, oldest first; without what was half-written when the machine went down."""
        path = self / "log.txt"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        return [json.loads(line) for line in lines if _is_whole(line, json.loads)]

    def write_json(self, name: str, value: Any) -> None:
        """Replace a file atomically."""
        if self.main:
            with atomic_file(self / name) as beside:
                beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _is_whole(line: str, known: Callable[[str], object], names: bool = False) -> bool:
    """Whether a line of a log was written to its end, and is of what is known; `names`: those of columns."""
    if names or not line.endswith("\n"):
        return line.endswith("\n") and "\0" not in line
    try:
        return bool(known(line))
    except (ValueError, KeyError, TypeError):  # zeros, as a file system leaves them after a power cut
        return False


def new_run_folder(recipe: Recipe) -> Path:
    """OUTPUT/TASK/NAME, or NAME2, NAME3 ... so that no run is written over, unless the recipe says `exist_ok`."""
    parent, name = Path(recipe.output) / recipe.task, recipe.name or recipe.model
    return parent / name if recipe.exist_ok else free_folder(parent, name)


def free_folder(parent: Path, name: str) -> Path:
    """PARENT/NAME, or NAME2, NAME3 ... if it is taken."""
    names = (f"{name}{number if number > 1 else ''}" for number in count(1))
    return next(parent / free for free in names if not (parent / free).exists())


def newest_unfinished(recipe: Recipe) -> Path | None:
    """The newest run of the recipe's name that has no `summary.json` yet; it may have no checkpoint either."""
    name = recipe.name or recipe.model
    folders = Path(recipe.output, recipe.task).glob(f"{escape(name)}*")
    return _newest_unfinished(f for f in folders if f.name == name or f.name.removeprefix(name).isdigit())


def newest_unfinished_of_all(output: str, task: str | None) -> Path | None:
    """The newest run below an output folder that can go on, whatever its name, of one task or of any."""
    folders = Path(output).glob(f"{task or '*'}/*")
    return _newest_unfinished(folder for folder in folders if (folder / NEWEST).exists())


def _newest_unfinished(folders: Iterable[Path]) -> Path | None:
    """By the file that was written last among those which a run writes when it begins and when it saves."""
    written = [f / name for f in folders for name in ("recipe.json", NEWEST) if not (f / "summary.json").exists()]
    started = [path for path in written if path.exists()]
    return max(started, key=lambda path: path.stat().st_mtime).parent if started else None


def newest_finished(output: str = "runs") -> Path:
    """The newest run below an output folder that came to its end and has a best checkpoint.

    Raises TwinsError where there is none.
    """
    ends = [end for end in Path(output).glob("*/*/summary.json") if (end.parent / BEST).exists()]
    if not ends:
        raise TwinsError(f"{output}: has no finished run; name the weights")
    return max(ends, key=lambda end: end.stat().st_mtime).parent


def provenance() -> dict[str, Any]:
    """Versions, git state, machine and command, for the record of a run."""
    from .. import __version__

    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = None
    return {
        "twins": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "git": commit,
        "machine": f"{platform.machine()} {platform.system()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "command": command_line(),
    }


def command_line() -> str:
    """What was typed to start this process, as far as Python knows; of a session without a program "python"."""
    program, *arguments = sys.argv or [""]
    name = "twins" if Path(program).match("twins/cli.py") else Path(program).name
    before = ["python"] if name.endswith(".py") or not name else []
    return shlex.join([*before, *filter(None, [name]), *arguments])
