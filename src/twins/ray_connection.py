"""A connection to a Ray cluster that somebody else has started."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import TwinsError
from .optional_dependencies import need

AUTO = "auto"
_PATIENCE = 10.0  # seconds for a machine to answer
_HEALTHY_WITHIN = 30.0  # seconds for a cluster to say that it is one
_ADVICE = "start one by ray start --head, and name it by --ray HOST:PORT, or auto on one of its machines"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray itself, connected to the cluster at HOST:PORT of its head, or "auto", the one that this machine belongs to.

    The cluster goes on afterwards. Raises TwinsError where no cluster answers.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported
    ray = need("ray", extra="ray")
    if address != AUTO:
        _check(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise TwinsError(f"--ray {address}: no Ray cluster there ({reason}); {_ADVICE}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def enter(folder: str) -> None:
    """On a machine of the cluster, the current folder of who gave the command, in which paths may be relative.

    Raises TwinsError where there is none.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise TwinsError(f"{folder}: cannot be entered ({error.strerror}); all machines need it") from error


def _check(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or "/" in host:
        raise TwinsError(f"--ray takes auto, or HOST:PORT of a cluster's head, not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise TwinsError(f"--ray {address}: nobody answers there ({error}); {_ADVICE}") from error
    if not _is_healthy(address):
        raise TwinsError(f"--ray {address}: no Ray cluster of this version of Ray answers there; {_ADVICE}")


def _is_healthy(address: str) -> bool:
    """By Ray's own command, in a process that can be given up: `ray.init` waits for minutes for what is no cluster."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        return subprocess.run(command, capture_output=True, timeout=_HEALTHY_WITHIN).returncode == 0
    except subprocess.TimeoutExpired:
        return False
