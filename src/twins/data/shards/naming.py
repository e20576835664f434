"""Which tar shards `--data` names: a file, a pattern of files, pipes, or a folder with shards in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from glob import glob
from itertools import product
from pathlib import Path
from reprlib import repr as shortened

from ...errors import TwinsError
from ...recipes.pipes import NOT_RUN, PIPE, as_first_given
from ..file_walk import is_clutter
from ..folders import part_folders, part_named_in

SHARD_SUFFIX = ".tar"
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MOST = 1_000_000  # shards of one pattern
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def are_shards(data: str) -> bool:
    """Whether data that is not a folder is meant as tar shards, by its name alone."""
    return data.startswith((PIPE, NOT_RUN + PIPE)) or data.lower().endswith((SHARD_SUFFIX, *_COMPRESSED))


def refuse_shards(data: str) -> None:
    """For the tasks that have none: raises TwinsError where the data is shards."""
    if are_shards(data):
        raise TwinsError(f"{data}: tar shards are read for --task classify only; unpack them into a folder")


def shards_in(root: Path) -> dict[str, list[Path]]:
    """The shards in a folder by the part that they hold: `train/*.tar` and `val/*.tar`, or `train-*.tar`, `val-*.tar`.

    Shards whose names mention no part stand under "" where there are no others.
    """
    parts = {part: found for part, folder in part_folders(root).parts.items() if (found := _tars(folder))}
    if parts:
        return parts
    for path in _tars(root):
        parts.setdefault(part_named_in(path.stem) or "", []).append(path)
    return {part: found for part, found in parts.items() if part or len(parts) == 1}


def _tars(folder: Path) -> list[Path]:
    """By name, so that a pipe or a folder of such a name is found, and refused when it is read."""
    if not folder.is_dir():
        return []
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(SHARD_SUFFIX))
    return [folder / name for name in names if not is_clutter(name)]


def named_shards(pattern: str) -> list[str]:
    """The paths, or the pipes, that a pattern stands for, in order: `train-{000000..000099}.tar`, `train-*.tar`.

    Raises TwinsError for braces that do not parse, a suffix of compressed files, a protocol that is no path, a pipe
    that a file names, and where no file, or not every one, is there.
    """
    if pattern.startswith(NOT_RUN):
        raise TwinsError(
            f"{as_first_given(pattern)}: a command from a checkpoint or file is not run unasked; if you trust it, give "
            "it again, with --data or --val-shards"
        )
    if pattern.startswith(PIPE):
        return expand_braces(pattern)
    if pattern.lower().endswith(_COMPRESSED):
        raise TwinsError(f"{pattern}: compressed; samples are read by their position: unpack it to a plain .tar")
    if match := re.match(r"\w{2,}://", pattern):
        raise TwinsError(
            f"{pattern}: {match[0]} is no path; let a program fetch it: --data 'pipe:curl -sf {pattern}', and "
            "--shard-cache FOLDER keeps what it fetched"
        )
    if Path(pattern).exists():
        return [pattern]
    names = [path for one in expand_braces(pattern) for path in (sorted(glob(one)) if "*" in one else [one])]
    missing = [name for name in names if not Path(name).exists()]
    if not names or missing:
        many = f"; {len(missing)} of the {len(names)} that {pattern} names are not there" if len(names) > 1 else ""
        raise TwinsError(f"{missing[0] if missing else pattern}: no such shard{many}")
    return names


def expand_braces(pattern: str) -> list[str]:
    """All texts that a pattern with braces stands for: "a-{08..11}" -> a-08 to a-11, "{train,val}.tar" -> both.

    Ranges count upwards, with the zeros of their first number. Raises TwinsError for what does not parse.
    """
    parts = _BRACES.split(pattern)  # by turns what is between braces, and what is in them
    if any(brace in part for part in parts[::2] for brace in "{}"):
        raise TwinsError(f"{pattern}: braces that do not pair up; write {{000000..000099}} or {{a,b}}, not nested")
    choices = [[part] if index % 2 == 0 else list(_alternatives(part, pattern)) for index, part in enumerate(parts)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > _MOST:
        raise TwinsError(f"{pattern}: stands for {count} shards, more than {_MOST}")
    return ["".join(texts) for texts in product(*choices)]


def _alternatives(inside: str, pattern: str) -> Iterator[str]:
    if "," in inside:
        yield from inside.split(",")
        return
    match = _RANGE.fullmatch(inside)
    if match is None or len(match[1]) > 18 or len(match[2]) > 18 or int(match[2]) < int(match[1]):
        raise TwinsError(
            f"{pattern}: {shortened('{' + inside + '}')} is no range: write {{000000..000099}}, the lower number first"
        )
    first, last = int(match[1]), int(match[2])
    if last - first >= _MOST:
        raise TwinsError(f"{pattern}: stands for {last - first + 1} shards, more than {_MOST}")
    yield from (f"{number:0{len(match[1])}d}" for number in range(first, last + 1))


def parts_beside(shards: Sequence[str]) -> dict[str, list[Path]]:
    """The shards of other parts in the folder of these, where all of these are training shards by their names."""
    folders = {Path(shard).parent for shard in shards}
    if len(folders) != 1 or any(part_named_in(Path(shard).stem) != "train" for shard in shards):
        return {}
    return {part: found for part, found in shards_in(folders.pop()).items() if part not in ("", "train")}
