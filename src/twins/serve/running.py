"""One process of a server: opens the networks, listens, and goes on until it is asked to stop."""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
import uvicorn

from ..errors import TwinsError
from ..native.cpus import cpus_of_affinity, cpus_of_quota
from .application import create_application
from .models import ServedModel, open_models
from .settings import ServeSettings
from .slow_clients import impatient
from .stopping import Gate, StoppingServer


def prepare_server(settings: ServeSettings, say: Callable[[str], None]) -> StoppingServer:
    """A server of the networks of these settings, to be `run` with its socket.

    `say` is given a line for people each: what is served and, once it listens, where. Raises TwinsError for networks
    that cannot be opened.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until the server listens, when it has handlers of its own
    if settings.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        cpus = min(cpus_of_affinity(), cpus_of_quota(), torch.get_num_threads())
        torch.set_num_threads(max(int(cpus / settings.workers), 1))
    models = open_models(settings)
    for line in _described(models):
        say(line)
    gate = Gate()
    config = uvicorn.Config(
        create_application(models, settings, gate),
        http=impatient(settings.request_timeout),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.request_timeout),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # malformed HTTP has its 400, and would fill the log
    return StoppingServer(config, gate, lambda: say("ready"))


def bind(host: str, port: int) -> socket.socket:
    """A socket of this address, on which nobody listens yet; port 0 is a free one. Raises TwinsError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except socket.gaierror as error:
        raise TwinsError(f"--host {host}: no such address ({error.strerror})") from error
    except OSError as error:
        remedy = "; choose another --port, 0 for a free one" if error.errno == errno.EADDRINUSE else ""
        raise TwinsError(f"cannot listen on {host}, --port {port} ({os.strerror(error.errno or 0)}){remedy}") from error
    return bound


def address_of(bound: socket.socket) -> str:
    """As a browser takes it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _described(models: Sequence[ServedModel]) -> list[str]:
    lines = []
    for model in models:
        lines.append(f"{model.name}: {model.task}, {len(model.predictor.classes)} classes, {model.computed_by}")
        lines += [f"  {remark}" for remark in model.predictor.remarks]
    return lines


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(0)
