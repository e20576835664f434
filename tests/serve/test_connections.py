"""Clients that are slow, that leave, and that speak something else than HTTP, over real sockets."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlparse

import pytest

from helpers.servers import encoded, listening, noise
from twins.client import Client
from twins.serve.connections import MOST_HEADERS
from twins.serve.models import ServedModel
from twins.serve.settings import ServeSettings

PATIENCE = 1.0  # seconds
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=xyz\r\n"


@pytest.fixture(scope="module")
def address(models: list[ServedModel]) -> Iterator[str]:
    settings = ServeSettings((), request_log=False, request_timeout=PATIENCE, max_upload_mb=1)
    with listening(models, settings) as url:
        yield url


def connect(address: str) -> socket.socket:
    parts = urlparse(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def problem_in(received: bytes, status: int) -> str:
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received
    assert b"application/problem+json" in head
    return str(json.loads(body)["detail"])


def is_well(address: str) -> None:
    """The server answers others."""
    (result,) = Client(address).predict([encoded(noise(40, 40))])
    assert len(result["classes"]) == 3


def test_a_body_that_does_not_come_is_too_slow(address: str) -> None:
    with connect(address) as slow:
        slow.sendall(HEAD + b"Content-Length: 100\r\n\r\n--xyz\r\n")
        is_well(address)
        began = time.monotonic()
        assert problem_in(everything(slow), 408) == "the request has not come within 1 seconds"
        assert time.monotonic() - began < 5 * PATIENCE


@pytest.mark.parametrize("begun", [b"", b"POST /predict HT", HEAD])
def test_headers_that_do_not_come_are_not_waited_for(address: str, begun: bytes) -> None:
    with connect(address) as slow:
        slow.sendall(begun)
        began = time.monotonic()
        assert everything(slow) == b""
        assert 0.5 * PATIENCE < time.monotonic() - began < 5 * PATIENCE


def test_headers_without_end_are_refused(address: str) -> None:
    with connect(address) as endless:
        received = b""
        try:
            endless.sendall(HEAD)
            for _ in range(100):
                endless.sendall(b"X-More: " + b"x" * 4096 + b"\r\n")
                time.sleep(0.001)
        except (ConnectionResetError, BrokenPipeError):
            pass
        else:
            raise AssertionError("all of it was taken")
        received += everything(endless)
    assert not received or problem_in(received, 400)
    assert MOST_HEADERS < 100 * 4096
    is_well(address)


@pytest.mark.parametrize(
    "words", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 100]
)
def test_what_is_no_http_has_one_answer(address: str, words: bytes) -> None:
    with connect(address) as other:
        other.sendall(words + b"\r\n\r\n")
        assert problem_in(everything(other), 400) == "Invalid HTTP request received."
    is_well(address)


@pytest.mark.parametrize(
    "part", [b"", b'--xyz\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\nabc']
)
def test_who_leaves_in_the_middle_of_an_upload_is_forgotten(
    address: str, part: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        with connect(address) as leaving:
            leaving.sendall(HEAD + b"Content-Length: 5000\r\n\r\n" + part)
            time.sleep(0.02)
    is_well(address)
    assert "Traceback" not in capsys.readouterr().err


def test_a_refused_upload_is_read_to_its_end(address: str) -> None:
    """Else the client, that listens only afterwards, would hear nothing but a reset connection."""
    with connect(address) as large:
        large.sendall(HEAD + b"Connection: close\r\nContent-Length: 1500000\r\n\r\n")
        large.sendall(b"\0" * 1_500_000)
        assert problem_in(everything(large), 413) == "the request has more than 1,048,576 bytes"


def test_two_requests_over_one_connection(address: str) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    last = request.replace(b"Host: a", b"Host: a\r\nConnection: close")
    with connect(address) as kept:
        kept.sendall(request + last)
        assert everything(kept).count(b'{"status":"alive"}') == 2


def test_whatever_is_refused_is_read_first(models: list[ServedModel]) -> None:
    """A wrong key and a wrong address, too: so does every client hear why."""
    settings = ServeSettings((), request_log=False, request_timeout=PATIENCE, max_upload_mb=1, api_keys=("secret",))
    head = b"Host: a\r\nConnection: close\r\nContent-Length: 1500000\r\n\r\n"
    with listening(models, settings) as url:
        for line, status in ((b"POST /predict HTTP/1.1\r\n", 401), (b"POST /healthz HTTP/1.1\r\n", 405)):
            with connect(url) as refused:
                refused.sendall(line + head)
                time.sleep(0.1)
                refused.sendall(b"\0" * 1_500_000)
                problem_in(everything(refused), status)


def test_who_asks_before_sending_is_refused_at_once(address: str) -> None:
    with connect(address) as asking:
        asking.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 1500000\r\n\r\n")
        received = everything(asking)
        assert b"100 Continue" not in received
        problem_in(received, 413)
