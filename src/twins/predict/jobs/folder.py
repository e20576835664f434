"""The folder of a job: `job.json` says what it is, and the shards in `rows/` are those that are done."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ...atomic_write import atomic_file, remove_unfinished
from ...errors import TwinsError
from ..folder import create_folder
from .plan import JobPlan

PLAN = "job.json"
ROWS = "rows"  # a folder of nothing else, which readers of tables take whole
MASKS = "masks"  # of segmenters, beside rows in CSV


def claim(folder: Path, plan: JobPlan, exist_ok: bool = False) -> None:
    """Make a folder that of this job, unless it is already.

    Raises TwinsError for a folder with another job in it; with anything else unless `exist_ok`; and where nothing can
    be written.
    """
    earlier = plan_in(folder)
    if earlier is None:
        create_folder(folder, exist_ok)
        with atomic_file(folder / PLAN) as beside:
            beside.write_text(plan.to_json(), encoding="utf-8")
    elif difference := plan.difference(earlier):
        raise TwinsError(f"{folder}: holds another job: {difference}; name another --out, or repeat its command")


def plan_in(folder: Path) -> JobPlan | None:
    """What the job in a folder is; None where there is none. Raises TwinsError for a plan that cannot be read."""
    file = folder / PLAN
    try:
        return JobPlan.from_json(file.read_text(encoding="utf-8"), file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"{file}: cannot be read ({error}); choose another --out") from error


def shard_file(folder: Path, plan: JobPlan, shard: int) -> Path:
    """Where a shard's rows are. The file is whole or not there, so that its name says that it is done."""
    return folder / ROWS / f"part-{shard:05d}.{plan.file_format}"


def shards_left(folder: Path, plan: JobPlan) -> list[int]:
    """The shards of a plan that are not there."""
    return [shard for shard in range(plan.shards) if not shard_file(folder, plan, shard).exists()]


def clear_unfinished(folder: Path, plan: JobPlan) -> None:
    """Remove what killed processes left half-written. Nobody else may write to the folder meanwhile."""
    for below in (folder, folder / ROWS, *(folder / MASKS / f"{shard:05d}" for shard in shards_left(folder, plan))):
        remove_unfinished(below)


def usual_folder(parent: Path, name: str, plan: JobPlan) -> Path:
    """Where to write if nobody says where: the first of PARENT/NAME, NAME2 ... that is free or has this job in it."""
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}{number}")
        if not folder.exists():
            return folder
        earlier = plan_in(folder)
        if earlier is not None and plan.difference(earlier) is None:
            return folder
    raise AssertionError("there are more numbers than folders")
