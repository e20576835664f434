"""From the error of a collective to one line: which rank is lost, which hangs, and where."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from torch.distributed import DistError

from ..errors import TwinsError
from ..progress import clock
from .attempt import Member, this_host
from .signs_of_life import INTERVAL, NOTICED, Sign, SignsOfLife, StoreLostError

SILENT = 3 * INTERVAL  # seconds without a sign after which a rank counts as lost
FAILED = 2  # exit status


class LostRanksError(TwinsError):
    """Other ranks died, hang or cannot be reached; the job can go on from its last checkpoint in new processes."""


@contextmanager
def lost_ranks_named(signs: SignsOfLife) -> Iterator[None]:
    """Turn the error of a collective, inside a `with` block, into one line that names the ranks that are lost.

    Raises LostRanksError on one rank, and SystemExit on the others, so that the line is printed once. After either the
    process ends without waiting for its process group, its threads or its workers: some of them wait for the lost.
    """
    try:
        yield
    except BaseException as error:
        if not is_of_collective(error):
            with suppress(StoreLostError):  # whoever asks for this sign finds no store either
                signs.end(_one_line(error))
            raise
        atexit.register(_end_at_once)
        if threading.current_thread() is threading.main_thread():
            signal.signal(
                signal.SIGTERM, signal.SIG_IGN
            )  # torchrun's: the line comes first, which takes seconds at most
        line = _what_happened(signs, error)
        if line is None:
            raise SystemExit(FAILED) from error
        raise LostRanksError(f"{line}; the others stop") from error
    with suppress(StoreLostError):
        signs.end("it had come to its end")


def is_of_collective(error: BaseException) -> bool:
    """Whether gloo, nccl or the store raised an error, since a rank or the way to it is gone."""
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "/gloo/" in str(error))


def _what_happened(signs: SignsOfLife, error: BaseException) -> str | None:
    """The line, or None where another rank says it."""
    try:
        signs.end(NOTICED)
        seen, silent = _settled(signs)
        now, mine = signs.elapsed(), signs.attempt.rank
        others = {rank: sign for rank, sign in enumerate(seen) if rank != mine and sign.end != NOTICED}
        gone = {rank: sign for rank, sign in others.items() if sign.end or rank in silent}
        for rank in silent:
            _end_frozen(signs.members[rank])
        if not signs.first_to_tell():
            return None
    except StoreLostError:
        return _store_lost(signs) if os.environ.get("LOCAL_RANK", "0") == "0" else None
    if gone:
        return "; ".join(_gone(signs, rank, sign, now) for rank, sign in gone.items())
    hanging = {rank: sign for rank, sign in others.items() if sign.where != seen[mine].where}
    if hanging:
        return "; ".join(_hanging(signs, rank, sign, now) for rank, sign in hanging.items())
    return f"the connections between ranks failed, though all of them live ({_one_line(error)})"


def _settled(signs: SignsOfLife) -> tuple[list[Sign], set[int]]:
    """All signs, and the ranks that have stopped giving any, once that is certain of each.

    A rank lives if another sign of it comes: clocks would not do, since on a busy machine they are seconds apart.
    """
    first, asked = signs.read(), time.monotonic()
    while True:
        seen = signs.read()
        silent = {r for r, (a, b) in enumerate(zip(first, seen, strict=True)) if a.time == b.time and b.end is None}
        if time.monotonic() - asked > SILENT or all(has_died(signs.members[rank]) for rank in silent):
            return seen, silent
        time.sleep(INTERVAL / 5)


def _gone(signs: SignsOfLife, rank: int, sign: Sign, now: float) -> str:
    who = f"rank {rank} ({signs.members[rank]})"
    if sign.end:
        return f"{who} stopped {sign.where}: {sign.end}"
    if has_died(signs.members[rank]):
        return f"{who} has died, last seen {sign.where}"
    return f"{who} has not been heard of for {clock(max(now - sign.time, SILENT))}, last seen {sign.where}"


def _hanging(signs: SignsOfLife, rank: int, sign: Sign, now: float) -> str:
    what = f"has been {sign.where}" if sign.doing else f"has stayed {sign.where}"
    return f"rank {rank} ({signs.members[rank]}) {what} for {clock(now - sign.since)}"


def has_died(member: Member) -> bool:
    """Whether a rank of this machine is known to be gone; of others, and where there is no /proc, nobody can tell."""
    return member.host == this_host() and Path("/proc/self/stat").exists() and _stat(member.process)[0] in "ZX"


def _end_frozen(member: Member) -> None:
    """Kill a silent process of this machine that is still there: its torchrun, ours, would wait 30 s for it."""
    if member.host == this_host() and "TORCHELASTIC_RUN_ID" in os.environ:
        state, parent = _stat(member.process)
        if state not in "ZX" and parent == os.getppid():
            with suppress(ProcessLookupError):
                os.kill(member.process, signal.SIGKILL)


def _stat(process: int) -> tuple[str, int]:
    """A process's state and parent, as Linux knows them; ("X", 0) for one that is not there."""
    try:
        state, parent, *_ = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return state, int(parent)


def _store_lost(signs: SignsOfLife) -> str:
    me, mine = signs.attempt.rank, signs.members[signs.attempt.rank]
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    keeper = "torchrun" if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else f"rank 0 ({signs.members[0]})"
    return (
        f"rank {me} ({mine}) has lost the others, and the job's store at {address} does not answer: {keeper}, which "
        "keeps it, or the network is gone"
    )


def _one_line(error: BaseException) -> str:
    return f"{error}".partition("\n")[0] or type(error).__name__


def _end_at_once() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(FAILED)
