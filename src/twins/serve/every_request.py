"""What every request gets, whatever it asks for: an id, a line in the log, and an answer where something goes wrong."""

from __future__ import annotations

import re
import sys
import traceback
from contextlib import nullcontext

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api_keys import ApiKeys
from .metrics import Metrics
from .problems import ProblemError
from .request_bodies import RequestBody
from .request_log import RequestRecord
from .settings import ServeSettings
from .stopping import Gate

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
WORK = ("/predict", "/attention")  # what a server that stops refuses
PROBES = ("/healthz", "/readyz", "/metrics")  # not logged unless they fail


class EveryRequest:
    """Wraps the application. Of an error that nobody expected the log has the traceback, and the client the id.

    Without `sends_id` a proxy before it gives requests their ids, and sends them back itself.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, gate: Gate, metrics: Metrics, sends_id: bool = True
    ) -> None:
        self.app, self.settings, self.gate, self.metrics, self.sends_id = app, settings, gate, metrics, sends_id
        self.keys = ApiKeys(settings.api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        record = RequestRecord(scope["method"], scope["path"])
        if SANE_ID.fullmatch(given := headers.get(b"x-request-id", b"")):
            record.id = given.decode()
        scope.setdefault("state", {})["record"] = record

        body = RequestBody(receive, headers)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message = {**message, "headers": [*message["headers"], *await self._marks(record, body)]}
            await send(message)

        try:
            self.keys.check(record.path, headers.get(b"authorization", b""))
            with self.gate.work() if record.path in WORK else nullcontext():
                await self._answer(scope, body.receive, send_marked, record)
        except ProblemError as problem:
            await problem.response(record.id)(scope, body.receive, send_marked)
        finally:
            self._note(record)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            record.status = 0
        except ProblemError:
            raise
        except Exception:  # a fault of ours, which must end neither the server nor in silence
            print(f"{record.id}: {traceback.format_exc()}", file=sys.stderr, flush=True)
            if not record.status:
                raise ProblemError(500, "the server failed; its log has the reason under this request's id") from None
            raise

    async def _marks(self, record: RequestRecord, body: RequestBody) -> list[tuple[bytes, bytes]]:
        """Headers of every answer, which waits for what is left of a refused request."""
        marks = [(b"x-content-type-options", b"nosniff")]
        if self.sends_id:
            marks.append((b"x-request-id", record.id.encode()))
        in_time = self.settings.request_timeout - record.seconds
        read = await body.drain(2 * self.settings.max_bytes, max(in_time, 0.0))
        return marks if read and not self.gate.stopping else [*marks, (b"connection", b"close")]

    def _note(self, record: RequestRecord) -> None:
        self.metrics.add_request(record.path, record.status, record.seconds)
        if self.settings.request_log and (record.path not in PROBES or record.status >= 400):
            print(record.line(), flush=True)
