"""Which images the run of a checkpoint has set aside for validation."""

from __future__ import annotations

from pathlib import Path

from ..checkpoints.info import CheckpointInfo
from ..data.split import data_home, name_below
from ..errors import TwinsError
from ..recipes import Split
from ..recipes.base import read_json


def known_split(info: CheckpointInfo) -> Split | None:
    """What the checkpoint remembers of it, or else the `split.json` beside it; None where neither says so.

    Raises TwinsError for a file beside it that lists no names.
    """
    if info.split is not None:
        return Split.from_dict(info.split)
    file = Path(info.source).with_name("split.json")
    if info.recipe is None or not file.is_file():
        return None
    listed = read_json(file)
    names = listed.get("val", listed.get("held_out"))  # as earlier versions called them
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TwinsError(f"{file}: does not list the validation images under `val`; put it right, or remove it")
    home = data_home(str(info.recipe["data"]))
    return Split(tuple(name_below(home, name) for name in names), images=None)
