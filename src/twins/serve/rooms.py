"""Bounds of what a server holds at once: one that refuses what is too much, and one that lets it wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Room:
    """Has `size` places; whoever finds too few is refused. For one thread."""

    def __init__(self, size: int, refusal: Callable[[], Exception]) -> None:
        self.size, self.taken, self.refusal = size, 0, refusal

    def take(self, places: int) -> None:
        """Raises what `refusal` makes, if there are fewer."""
        if self.taken + places > self.size:
            raise self.refusal()
        self.taken += places

    def give_back(self, places: int) -> None:
        self.taken -= places


class Held:
    """Pixels that somebody holds in a `PixelRoom`."""

    def __init__(self, room: PixelRoom, pixels: int) -> None:
        self.room, self.pixels = room, pixels

    def shrink(self, pixels: int) -> None:
        """Give back all but so many."""
        if pixels < self.pixels:
            self.room.give_back(self.pixels - pixels)
            self.pixels = pixels


class PixelRoom:
    """As many pixels as may be decoded at once. Whoever needs more than are left waits; first come, first served.

    What needs more than the whole room gets all of it.
    """

    def __init__(self, pixels: int) -> None:
        self.size = self.left = pixels
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def held(self, pixels: int) -> AsyncIterator[Held]:
        """So many pixels, for as long as the context lasts."""
        held = Held(self, min(pixels, self.size))
        await self._take(held.pixels)
        try:
            yield held
        finally:
            held.shrink(0)

    def give_back(self, pixels: int) -> None:
        self.left += pixels
        self._serve()

    async def _take(self, pixels: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (pixels, turn)
        self.waiting.append(entry)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.waiting.remove(entry)
                self._serve()
            else:
                self.give_back(pixels)
            raise

    def _serve(self) -> None:
        while self.waiting and self.waiting[0][0] <= self.left:
            pixels, turn = self.waiting.popleft()
            self.left -= pixels
            turn.set_result(None)
