"""A rank that dies, hangs or fails: the others end in time, and one of them says which rank it was, and where."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from helpers.ranks import ends_of, new_store, start_ranks
from twins.distributed.activity import Activity, this_process
from twins.distributed.attempt import Member
from twins.distributed.collectives import all_sum
from twins.distributed.lost_ranks import FAILED, LostRanksError, is_of_collective
from twins.distributed.world import init_distributed
from twins.errors import TwinsError

LOST = 1  # the rank that something happens to, at step 5


def die() -> None:
    time.sleep(1.5)  # so that the last sign is of this step
    os.kill(os.getpid(), signal.SIGKILL)


def freeze() -> None:
    time.sleep(1.5)
    os.kill(os.getpid(), signal.SIGSTOP)


def wait_for_ever() -> None:
    with this_process.doing("waiting for data"):
        time.sleep(1000)


def fail() -> None:
    raise TwinsError("unreadable image 7.png")


def take_part(folder: Path, seconds: float, fault: Callable[[], None] | None, late: float = 0.0) -> None:
    """Collectives, as training makes them; LostRanksError is written down. Rank 0 comes so many seconds late."""
    rank = int(os.environ["RANK"])
    time.sleep(late if rank == 0 else 0.0)
    os.dup2(os.open(folder / f"stderr-{rank}", os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    try:
        with init_distributed("cpu", timedelta(seconds=seconds)):
            for step in range(10):
                this_process.at(f"epoch 2, step {step}")
                if fault is not None and rank == LOST and step == 5:
                    fault()
                assert all_sum(torch.ones(1)).item() == float(os.environ["WORLD_SIZE"])
    except LostRanksError as error:
        (folder / f"told-{rank}").write_text(str(error))
        raise SystemExit(FAILED) from error
    except TwinsError:
        raise SystemExit(3) from None
    (folder / f"done-{rank}").touch()


def told(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.glob("told-*")]


@pytest.mark.parametrize(
    ("fault", "seconds", "end", "line"),
    [
        (die, 60, -signal.SIGKILL, "has died, last seen in epoch 2, step 5"),
        (freeze, 3, None, "has not been heard of for [3-9] s, last seen in epoch 2, step 5"),
        (wait_for_ever, 2, 1, "has been waiting for data in epoch 2, step 5 for [2-5] s"),
        (fail, 60, 3, "stopped in epoch 2, step 5: unreadable image 7.png"),
    ],
)
def test_one_rank_says_which_is_lost(
    tmp_path: Path, fault: Callable[[], None], seconds: float, end: int | None, line: str
) -> None:
    store = new_store()
    ranks = start_ranks(store, 3, take_part, tmp_path, seconds, fault)
    assert ends_of(ranks, grace=6) == [FAILED, end, FAILED]
    (said,) = told(tmp_path)
    pid = ranks[LOST].pid
    assert re.fullmatch(rf"rank 1 \(on \S+, process {pid}\) {line}; the others stop", said)


def test_an_attempt_is_not_misled_by_the_one_before(tmp_path: Path) -> None:
    """What a dead attempt left in torchrun's store is the addresses of processes that are gone."""
    store = new_store()
    ends_of(start_ranks(store, 2, take_part, tmp_path, 60, die))
    assert ends_of(start_ranks(store, 3, take_part, tmp_path, 60, None, 1.0)) == [0, 0, 0]
    assert ends_of(start_ranks(store, 2, take_part, tmp_path, 60, None, 1.0)) == [0, 0]


def test_a_rank_that_does_not_come_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store()
    for name, value in {"RANK": 0, "WORLD_SIZE": 3, "MASTER_ADDR": "localhost", "MASTER_PORT": store.port,
                        "TORCHELASTIC_USE_AGENT_STORE": True}.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    with (
        pytest.raises(TwinsError, match="rank 1, 2 of 3 did not come within 1 s: is each machine's part started"),
        init_distributed("cpu", timedelta(seconds=1)),
    ):
        pass


def test_errors_of_ones_own_are_left_as_they_are() -> None:
    assert is_of_collective(torch.distributed.DistBackendError("NCCL error"))
    assert is_of_collective(
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed")
    )
    assert not is_of_collective(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_of_collective(TwinsError("no such image"))


def test_an_activity_is_where_and_what_and_since_when() -> None:
    activity = Activity()
    assert activity.read()[:2] == ("starting", "")
    activity.at("epoch 1, step 2")
    before = activity.read()[2]
    seen = [(batch, activity.read()[:2]) for batch in activity.waiting_for_data(iter("ab"))]
    assert seen == [("a", ("epoch 1, step 2", "")), ("b", ("epoch 1, step 2", ""))]
    with activity.doing("evaluating"):
        assert activity.read()[:2] == ("epoch 1, step 2", "evaluating")
        batches = activity.waiting_for_data(activity.read() for _ in "a")
        assert next(batches)[:2] == ("epoch 1, step 2", "waiting for data")
        assert activity.read()[1] == "evaluating"
    assert activity.read()[:2] == ("epoch 1, step 2", "")
    assert activity.read()[2] >= before


def test_a_member_reads_back() -> None:
    member = Member.of_this_process()
    assert member.process == os.getpid()
    assert Member.unpack(member.pack()) == member
    assert str(member) == f"on {member.host}, process {member.process}"
