"""The client of `twins serve`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from twins.client import Client
from twins.errors import TwinsError


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent; `asked` is the last of it."""

    answer: tuple[int, bytes] = (200, b'{"results": [{"file": "a"}]}')
    asked: tuple[str, str, Any] = ("", "", None)

    def do_POST(self) -> None:  # as the library calls it
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).asked = (self.path, self.headers.get("authorization", ""), body)
        status, content = self.answer
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_paths_and_bytes_are_sent_with_values_and_key(echo: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x01\x02")
    results = Client(f"{echo}/", api_key="secret").predict([tmp_path / "a.png", b"\x03"], model="mine", topk=2)
    assert results == [{"file": "a"}]
    path, authorization, body = Echo.asked
    assert (path, authorization) == ("/predict", "Bearer secret")
    assert body == {
        "images": [{"name": str(tmp_path / "a.png"), "data": "AQI="}, {"name": "image 2", "data": "Aw=="}],
        "model": "mine",
        "topk": 2,
    }


def test_what_the_server_says_is_raised(echo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "answer", (413, b'{"detail": "too large"}'))
    with pytest.raises(TwinsError, match=f"^{echo}: too large$"):
        Client(echo).predict([b"x"])
    for content in (b"<html>", b"[]", b"{}"):
        monkeypatch.setattr(Echo, "answer", (502, content))
        with pytest.raises(TwinsError, match=f"^{echo}: 502 Bad Gateway$"):
            Client(echo).predict([b"x"])


def test_no_server_is_said() -> None:
    with pytest.raises(TwinsError, match="is `twins serve` running there"):
        Client("http://127.0.0.1:1").predict([b"x"])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(TwinsError, match="no-such.jpg: cannot be read"):
        Client().predict([tmp_path / "no-such.jpg"])


def test_it_needs_the_standard_library_alone() -> None:
    script = "import sys; from twins.client import Client; print('torch' in sys.modules, 'fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
