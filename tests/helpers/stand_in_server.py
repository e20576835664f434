"""A server that answers as `twins serve` does, with results that a test has made: what the page must show is known."""

from __future__ import annotations

import email.policy
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from twins.serve.page_files import HEADERS, INDEX, read_page

LIMITS = {"max_images": 32, "max_bytes": 2**20, "max_megapixels": 179.0}


class Problem(NamedTuple):
    """An answer that is no result."""

    status: int
    detail: str
    retry_after: int | None = None


class Heat(NamedTuple):
    """What `POST /attention` answers."""

    png: bytes
    seen: tuple[int, int, int, int]


class Asked(NamedTuple):
    """A request that did not ask for a file of the page."""

    path: str
    query: dict[str, str]
    file: str
    content: bytes
    token: str | None


Answer = dict[str, Any] | Problem | Heat


class StandIn:
    """`answer(request)` gives the fields of a result beside its file's name, a heat map, or a problem."""

    def __init__(self, models: Sequence[dict[str, Any]], answer: Callable[[Asked], Answer]) -> None:
        self.models = [model | {"default": number == 0} for number, model in enumerate(models)]
        self.answer = answer
        self.token: str | None = None
        self.asked: list[Asked] = []
        self.url = ""

    def to(self, path: str) -> list[Asked]:
        """Requests to a path, as they came."""
        return [request for request in self.asked if request.path == path]

    def reply(self, request: Asked) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.asked.append(request)
        if self.token is not None and request.token != self.token:
            return _problem(Problem(401, "no token" if request.token is None else "wrong token"))
        if request.path == "/models":
            return _json(200, {"models": self.models, "limits": LIMITS})
        answer = self.answer(request)
        if isinstance(answer, Problem):
            return _problem(answer)
        if isinstance(answer, Heat):
            return 200, {"Content-Type": "image/png", "X-Seen": ",".join(map(str, answer.seen))}, answer.png
        model = next(model for model in self.models if model["name"] == request.query["model"])
        beside = {"colours": answer["colours"]} if "colours" in answer else {}
        result = {"file": request.file} | {name: value for name, value in answer.items() if name != "colours"}
        response = {"model": model["name"], "task": model["task"], "request_id": "0", "results": [result]}
        return _json(200, response | beside)


def _json(status: int, value: Any, kind: str = "application/json") -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": kind}, json.dumps(value).encode()


def _problem(problem: Problem) -> tuple[int, dict[str, str], bytes]:
    fields = {"type": "about:blank", "title": "Problem", "status": problem.status, "detail": problem.detail}
    status, headers, body = _json(problem.status, fields, "application/problem+json")
    return status, headers | ({} if problem.retry_after is None else {"Retry-After": str(problem.retry_after)}), body


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """The stand-in at a free port of this machine, its address in `url`."""
    page = read_page()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            name = INDEX if path == "/" else path.removeprefix("/page/")
            if path == "/models":
                self._send(*stand_in.reply(self._asked(b"")))
            elif name in page:
                self._send(200, {"Content-Type": page[name].media_type, **HEADERS}, page[name].content)
            else:
                self._send(*_problem(Problem(404, f"no such address: {path}")))

        def do_POST(self) -> None:
            self._send(*stand_in.reply(self._asked(self.rfile.read(int(self.headers["Content-Length"])))))

        def _asked(self, body: bytes) -> Asked:
            address = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            token = self.headers.get("Authorization")
            name, content = _uploaded(self.headers.get("Content-Type", ""), body)
            return Asked(address.path, query, name, content, token and token.removeprefix("Bearer "))

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a test says what went wrong."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _uploaded(kind: str, body: bytes) -> tuple[str, bytes]:
    """Name and content of the one file in a form."""
    if not body:
        return "", b""
    parser = BytesParser(policy=email.policy.HTTP)
    (part,) = parser.parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body).iter_parts()
    return part.get_filename() or "", part.get_payload(decode=True) or b""
