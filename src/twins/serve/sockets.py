"""Where a server listens."""

from __future__ import annotations

import errno
import os
import socket

from ..errors import TwinsError


def bind(host: str, port: int) -> socket.socket:
    """A socket of this address, on which nobody listens yet; port 0 is a free one. Raises TwinsError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise TwinsError(f"--host {host}: no such address ({error.strerror})") from error
    bound = socket.socket(family, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        remedy = "; choose another --port, 0 for a free one" if error.errno == errno.EADDRINUSE else ""
        raise TwinsError(f"cannot listen on {host}, --port {port} ({os.strerror(error.errno or 0)}){remedy}") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """As a browser takes it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
