"""Work of one rank that takes longer than a collective may: the others wait, and learn how it went."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import torch.distributed

from helpers.ranks import run_ranks
from twins.distributed.long_work import all_wait_for, by_main
from twins.errors import TwinsError


def take_turns(folder: Path) -> None:
    """What each rank does, with collectives that may take three seconds."""
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=3))
    rank = os.environ["RANK"]

    def slowly() -> str:
        time.sleep(4.5)
        return f"made by {rank}"

    def in_vain() -> str:
        raise TwinsError("no such folder")

    said = [by_main(slowly), str(all_wait_for((lambda: rank) if rank == "1" else None))]
    try:
        by_main(in_vain)
    except TwinsError as error:
        said.append(str(error))
    (folder / rank).write_text("\n".join(said))
    torch.distributed.destroy_process_group()


def test_ranks_wait_as_long_as_it_takes(tmp_path: Path) -> None:
    run_ranks(2, take_turns, tmp_path)
    assert (tmp_path / "0").read_text().split("\n") == ["made by 0", "None", "no such folder"]
    assert (tmp_path / "1").read_text().split("\n") == ["made by 0", "1", "no such folder"]


def test_one_process_just_works() -> None:
    assert by_main(lambda: 3) == all_wait_for(lambda: 3) == 3
    assert all_wait_for(None) is None
