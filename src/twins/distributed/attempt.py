"""How the ranks of a job find each other: one attempt of it, with a part of the job's store to itself.

torchrun keeps one store for all attempts of a job, and what a dead attempt left there, gloo's addresses among it, would
be taken for the new one's: its ranks would call at ports that nobody listens at. So ranks agree on a name first.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed
from torch.distributed import PrefixStore, Store

from ..errors import TwinsError
from ..progress import clock

_POLL = 0.02  # seconds between two looks at the store, at least
_POLL_OF_EACH = 0.001  # the same for each rank, since one store answers all


def this_host() -> str:
    """The machine's name, without spaces."""
    return socket.gethostname().replace(" ", "-")


@dataclass(frozen=True)
class Member:
    """A rank as it introduces itself; no two processes give the same token."""

    host: str
    process: int
    token: str

    @classmethod
    def of_this_process(cls) -> Member:
        return cls(this_host(), os.getpid(), uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"on {self.host}, process {self.process}"

    def pack(self) -> str:
        return f"{self.host} {self.process} {self.token}"

    @classmethod
    def unpack(cls, text: str) -> Member:
        host, process, token = text.split()
        return cls(host, int(process), token)


@dataclass(frozen=True)
class Attempt:
    """The ranks that have found each other."""

    rank: int
    members: tuple[Member, ...]  # in the order of ranks
    store: Store  # which no other attempt writes to
    agreed: float  # when all had come, on this process's `time.monotonic`: the same moment on every rank


def join_attempt(timeout: timedelta) -> Attempt:
    """Wait for all the ranks that the environment (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT) tells of.

    Raises TwinsError where the store cannot be reached, or not all have come in time.
    """
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    try:
        store, rank, size = next(torch.distributed.rendezvous("env://", timeout=timeout))
    except torch.distributed.DistError as error:
        raise TwinsError(
            f"the job's store at {address} (MASTER_ADDR:MASTER_PORT) cannot be reached: check that the machines find "
            "each other by this name, and let this port through"
        ) from error
    roster = _agreed_roster(PrefixStore("twins", store), rank, size, timeout)
    members = tuple(map(Member.unpack, roster.splitlines()))
    return Attempt(rank, members, PrefixStore(f"twins-{_name_of(roster)}", store), time.monotonic())


def _agreed_roster(store: Store, rank: int, size: int, timeout: timedelta) -> str:
    """The members of this attempt, one a line, as all of them have confirmed.

    Each rank writes itself down, over what an earlier attempt left. Rank 0 publishes the list whenever it changes, and
    a list counts once so many ranks have found themselves on it: a member that is dead confirms none.
    """
    me = Member.of_this_process().pack()
    places = [f"rank {number}" for number in range(size)]
    store.set(places[rank], me)
    deadline = time.monotonic() + timeout.total_seconds()
    confirmed, published = "", ""
    while time.monotonic() < deadline:
        if rank == 0 and store.check(places):
            present = "\n".join(text.decode() for text in store.multi_get(places))
            if present != published:
                store.set("roster", present)
                published = present
        roster = store.get("roster").decode() if store.check(["roster"]) else ""
        if roster != confirmed and roster.split("\n")[rank : rank + 1] == [me]:
            store.add(_name_of(roster), 1)
            confirmed = roster
        if confirmed and store.add(_name_of(confirmed), 0) == size:
            return confirmed
        time.sleep(max(_POLL, _POLL_OF_EACH * size))
    missing = [str(number) for number in range(size) if not store.check([places[number]])]
    who = f"rank {', '.join(missing)} of {size}" if missing else f"one of {size} ranks"
    raise TwinsError(f"{who} did not come within {clock(timeout.total_seconds())}: is each machine's part started?")


def _name_of(roster: str) -> str:
    return hashlib.sha256(roster.encode()).hexdigest()[:16]
