"""A data set is looked through by the main process alone, which hands what it found to the others."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from helpers.ranks import run_ranks
from helpers.shards import labelled, write_tar
from helpers.tiny import make_images
from twins.data import file_walk
from twins.data.classify.layouts import open_labelled
from twins.data.opening import open_once
from twins.distributed.world import init_distributed
from twins.errors import TwinsError
from twins.recipes import ClassifyRecipe


def refuse(*given: object) -> None:
    raise AssertionError("only the main process walks over folders")


def names_or_error(recipe: ClassifyRecipe) -> list[str]:
    try:
        train, val = open_once(recipe, partial(open_labelled, recipe))
    except TwinsError as error:
        return [str(error)]
    assert train is not None
    return [*train.names(), *val.names()]


def open_data(folder: Path, data_sets: list[dict[str, Any]]) -> None:
    """What each rank does: note the images of each data set, or why there are none."""
    with init_distributed("cpu") as world:
        if not world.is_main:
            file_walk._walk = refuse
        found = [names_or_error(ClassifyRecipe(output=str(folder / "runs"), **fields)) for fields in data_sets]
    (folder / f"found-{os.environ['RANK']}.json").write_text(json.dumps(found))


def test_one_rank_looks_for_all(tmp_path: Path) -> None:
    """And a pipe is run once on a machine."""
    root = make_images(tmp_path / "images", {"ant": 0, "bee": 99}, train=3, val=2)
    write_tar(tmp_path / "x.tar", labelled(a=0, b=1, c=0, d=1))
    (tmp_path / "fetch.sh").write_text(f"echo ran >> {tmp_path}/log; cat $1\n")
    pipe = f"pipe:sh {tmp_path}/fetch.sh {tmp_path}/x.tar"
    cache = str(tmp_path / "cache")
    data_sets = [
        {"data": str(root)},
        {"data": str(tmp_path / "none")},
        {"data": pipe, "val_split": 0.5, "shard_cache": cache},
        {"data": "pipe:no-such-program", "shard_cache": cache},
    ]
    run_ranks(2, open_data, tmp_path, data_sets)
    found, by_other = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in range(2))
    assert found == by_other
    of_folder, of_none, of_pipe, of_no_program = found
    assert of_folder == [
        f"{root}/{part}/{name}/{i:02d}.png" for part, count in (("train", 3), ("val", 2)) for name in ("ant", "bee")
        for i in range(count)
    ]  # fmt: skip
    assert of_none[0].startswith(f"{tmp_path}/none: no such folder; --data takes a folder with train/ and val/")
    assert sorted(of_pipe) == [f"{pipe}/{key}.png" for key in "abcd"]
    assert (tmp_path / "log").read_text() == "ran\n"
    assert of_no_program == ["pipe:no-such-program: cannot be started (No such file or directory)"]
