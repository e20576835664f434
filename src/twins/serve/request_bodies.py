"""Bodies that nobody has read when the answer is there."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive


class RequestBody:
    """Takes the place of a request's `receive`, and knows whether there is more of the body to come."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes]) -> None:
        self._receive = receive
        self.unread = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        self.asks_first = b"expect" in headers  # whether it may come

    async def receive(self) -> Message:
        message = await self._receive()
        self.unread = bool(message.get("more_body"))
        return message

    async def drain(self, most: int, seconds: float) -> bool:
        """Read the rest, for clients that listen only once they have said everything; whether it has come to its end.

        Not more than so many bytes, nor longer.
        """
        if self.asks_first:
            return not self.unread
        try:
            async with asyncio.timeout(seconds):
                while self.unread and most > 0:
                    most -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass
        return not self.unread
