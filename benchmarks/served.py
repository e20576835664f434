"""A server in a process of its own, for load and for tests: what it says, what it logs, and how it ends."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

LISTENING = "listening on "


class ServerProcess:
    """`twins serve` with these arguments on a free port; its lines are read while it runs.

    `start` makes a process of the arguments of `twins`. Raises AssertionError, with what it has said, where it ends
    before it listens.
    """

    def __init__(self, arguments: Sequence[str | Path], start: Callable[[Sequence[str]], Any] | None = None) -> None:
        self.process = (start or _subprocess)(["serve", *map(str, arguments), "--port", "0"])
        self.lines: list[str] = []
        self._listens = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._listens.wait(120)
        said = [line for line in self.lines if line.startswith(LISTENING)]
        assert said, "\n".join(self.lines)
        self.address = said[0].removeprefix(LISTENING).partition(";")[0]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(LISTENING):
                self._listens.set()
        self._listens.set()

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        self.process.send_signal(number)
        status: int = self.process.wait(seconds)
        self._reader.join(10)  # what it said last
        return status

    def close(self) -> None:
        """Of a process that has ended."""
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def answered(self, status: int) -> list[str]:
        """The ids of the predictions that were answered so, as its log has them."""
        words = [line.split() for line in self.lines if " POST /predict " in line]
        return [line[2] for line in words if line[5] == str(status)]


def _subprocess(arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "twins.cli", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@contextmanager
def server_process(
    *arguments: str | Path, start: Callable[[Sequence[str]], Any] | None = None
) -> Iterator[ServerProcess]:
    """A server that is gone afterwards, however that goes."""
    server = ServerProcess(arguments, start)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        server.close()


class KeptConnection:
    """One connection of a client, as cheap as Python has it; opened anew where the server has closed it."""

    def __init__(self, address: str, timeout: float = 120.0) -> None:
        parts = urlparse(address)
        assert parts.hostname is not None
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and content. Raises OSError or HTTPException where there is no answer."""
        try:
            self.connection.request("POST", path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()


def multipart(*files: tuple[str, bytes], boundary: str = "1f2e3d4c") -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form with files in `images`."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in files
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def resident_megabytes(process: int) -> float:
    """Memory of a process that is in RAM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
