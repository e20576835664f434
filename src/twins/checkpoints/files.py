"""Which file is meant by a path: a folder stands for the one checkpoint in it, an index for its shards."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from ..errors import TwinsError

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar", ".safetensors")
INDEX = ".index.json"  # as model.safetensors.index.json and pytorch_model.bin.index.json end
CONFIG = "config.json"  # of a model folder, as the Hugging Face hub has them; see `model_folder`
WEIGHTS_BESIDE_CONFIG = ("model.safetensors", "pytorch_model.bin")  # what they are called there, the better one first


def locate(path: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """(the file, the key behind `#` of what is meant in it) of a path as users write it.

    Raises TwinsError for what is not there, for what is no regular file, and for a folder that does not have exactly
    one checkpoint in it; beside a config.json the same weights may be in several files.
    """
    text, key = os.fspath(path), None
    file = expanded(text)
    if "#" in file.name and not os.path.exists(file):  # it may be too long for any file
        text, _, key = text.rpartition("#")
        file = expanded(text)
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise TwinsError(f"{file} is not there: check the path") from None
    except (OSError, ValueError) as error:
        raise TwinsError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(mode):
        return _only_checkpoint(file), key
    if not stat.S_ISREG(mode):
        raise TwinsError(f"{file} is no regular file: name a checkpoint")
    return file, key


def name_of(path: str | os.PathLike[str]) -> str:
    """A checkpoint's path as messages name it: as it was written, but for a folder the file in it."""
    return str(locate(path)[0]) if expanded(path).is_dir() else os.fspath(path)


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` at its beginning replaced by the home folder; as it is where nobody has such a one."""
    return Path(os.path.expanduser(path))


def shards_of(index: Path) -> list[Path]:
    """The files that an index names. Raises TwinsError where it is no index, and for shards that are missing."""
    try:
        names = list(dict.fromkeys(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TwinsError(f"{index} is no index of a checkpoint in parts: it names no weight_map") from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise TwinsError(f"{index}: {name!r} is not the name of a file beside it")
    missing = [name for name in names if not os.path.isfile(index.parent / name)]
    if missing or not names:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise TwinsError(f"{index}: {', '.join(missing[:3]) or 'no part'}{more} is not beside it: copy all parts there")
    return [index.parent / name for name in names]


def _only_checkpoint(folder: Path) -> Path:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise TwinsError(f"{folder} cannot be read: {error.strerror}") from error
    if any(name.endswith(".distcp") for name in names):
        raise TwinsError(
            f"{folder} is a distributed checkpoint: make one file of it, by python -m "
            f"torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pth"
        )
    indices = [name for name in names if name.endswith(INDEX)]
    found = indices or [name for name in names if name.endswith(SUFFIXES) and not name.startswith(".")]
    if CONFIG in names:  # the hub's folders hold the same weights in several formats
        found = [name for name in WEIGHTS_BESIDE_CONFIG if name in names][:1] or found
    if len(found) == 1:
        return folder / found[0]
    if not found:
        raise TwinsError(f"{folder} is a directory without a checkpoint in it: name the file itself")
    some = ", ".join(found[:4]) + (" ..." if len(found) > 4 else "")
    raise TwinsError(f"{folder} is a directory with {len(found)} checkpoints in it: name one of {some}")
