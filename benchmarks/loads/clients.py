"""Many clients at once, each with a connection of its own, and how far they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from typing import TypeVar

from served import KeptConnection
from twins.progress import Progress

T = TypeVar("T")


def outcomes(
    text: str, address: str, count: int, clients: int, request: Callable[[KeptConnection, int], T]
) -> Iterator[T]:
    """What `request` returns for the numbers below `count`, as it comes; Ctrl-C ends them early.

    Each of the `clients` threads has a connection. Shows how many are done and how long the rest will take.
    """
    own = threading.local()
    opened: list[KeptConnection] = []

    def work(number: int) -> T:
        if not hasattr(own, "connection"):
            own.connection = KeptConnection(address)
            opened.append(own.connection)
        return request(own.connection, number)

    with ThreadPool(clients) as pool:
        try:
            yield from Progress(text, count).over(pool.imap_unordered(work, range(count)))
        except KeyboardInterrupt:
            print(f"{text}: stopped by Ctrl-C", flush=True)
    for connection in opened:
        connection.close()
