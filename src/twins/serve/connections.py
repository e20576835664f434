"""Connections that take too long or say too much, before there is a request and once there is an answer."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .problems import MEDIA_TYPE, ProblemError
from .request_log import new_id

MOST_HEADERS = 65_536  # bytes of a request before its body


def bounded_protocol(seconds: float) -> type[asyncio.Protocol]:
    """The HTTP protocol, but a connection is closed

    - whose headers have not come within so many seconds, or are longer than 64 KiB;
    - to a client that reads nothing of its answer for so many seconds.

    What is no HTTP is answered as other mistakes are.
    """

    class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # of two, by what is installed
        _deadline: asyncio.TimerHandle | None = None
        _unasked = 0  # bytes since a request was last in progress

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._start_clock()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._unasked = 0
                self._stop_clock()
                return
            self._start_clock()
            self._unasked += len(data)
            if self._unasked > MOST_HEADERS and not self.transport.is_closing():
                self.send_400_response("the request's headers are too long")

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_clock()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._start_clock()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_clock()

        def send_400_response(self, msg: str) -> None:
            problem = ProblemError(400, msg).response(new_id())
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(problem.body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + bytes(problem.body))
            self.transport.close()

        def _start_clock(self) -> None:
            if self._deadline is None:
                self._deadline = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

        def _stop_clock(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return BoundedProtocol
