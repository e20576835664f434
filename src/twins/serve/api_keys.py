"""Who may use the server: those who know a key."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from ..errors import TwinsError
from .problems import ProblemError

OPEN = ("/", "/healthz", "/readyz")  # probes, and the page with its files, which has to ask for the key
PAGE = "/page/"


def read_api_keys(path: Path) -> tuple[str, ...]:
    """The keys in a file with one a line, so that a new one can be handed out before the old one goes.

    Raises TwinsError for a file that cannot be read or holds none, and for a key that no header can carry.
    """
    try:
        keys = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise TwinsError(f"--api-key-file {path}: cannot be read ({error}); it holds a key a line") from error
    if not keys:
        raise TwinsError(f"--api-key-file {path}: is empty; write a long random key into it")
    for number, key in enumerate(keys, 1):
        if not key.isascii() or not key.isprintable() or " " in key:
            raise TwinsError(f"--api-key-file {path}: key {number} has other characters than a header can carry")
    return keys


class ApiKeys:
    """Lets requests through that carry one of these; without any, all."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = [key.encode() for key in keys]

    def check(self, path: str, authorization: bytes) -> None:
        """Raises ProblemError, 401, unless the header is "Bearer KEY" or the path is open to all."""
        if not self.keys or path in OPEN or path.startswith(PAGE):
            return
        scheme, _, given = authorization.partition(b" ")
        matches = [hmac.compare_digest(given.strip(), key) for key in self.keys]  # each, so that time tells nothing
        if scheme.lower() != b"bearer" or not any(matches):
            why = "wrong token" if authorization else "no token"
            raise ProblemError(401, f"{why}: send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
