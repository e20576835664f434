"""One process of a server: opens the networks, listens, and goes on until it is asked to stop."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import torch
import uvicorn

from ..native.cpus import cpus_of_affinity, cpus_of_quota
from .application import create_application
from .connections import bounded_protocol
from .models import ServedModel, open_models
from .settings import ServeSettings
from .stopping import Gate, StoppingServer


def prepare_server(
    settings: ServeSettings, say: Callable[[str], None], started_listening: Callable[[], None]
) -> StoppingServer:
    """A server of the networks of these settings, to be `run` with its socket.

    `say` is given lines for people of what is served; `started_listening` is called once it does. Raises TwinsError for
    networks that cannot be opened.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # until the server listens, when it has handlers of its own
    if settings.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        cpus = min(cpus_of_affinity(), cpus_of_quota(), torch.get_num_threads())
        torch.set_num_threads(max(int(cpus / settings.workers), 1))
    models = open_models(settings)
    for line in described(models):
        say(line)
    return server_of(models, settings, started_listening)


def server_of(
    models: Sequence[ServedModel], settings: ServeSettings, started_listening: Callable[[], None]
) -> StoppingServer:
    """A server of opened networks, to be `run` with its socket."""
    gate = Gate()
    config = uvicorn.Config(
        create_application(models, settings, gate),
        http=bounded_protocol(settings.request_timeout),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=math.ceil(settings.request_timeout),
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # malformed HTTP has its 400, and would fill the log
    return StoppingServer(config, gate, settings.request_timeout, started_listening)


def described(models: Sequence[ServedModel]) -> list[str]:
    """What is served, in lines for people."""
    lines = []
    for model in models:
        how = f"{model.computed_by}, JPEG by {model.predictor.decoder}"
        lines.append(f"{model.name}: {model.task}, {len(model.predictor.classes)} classes, {how}")
        lines += [f"  {remark}" for remark in model.predictor.remarks]
    return lines


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(0)
