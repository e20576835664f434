"""One of several processes of a server on a Ray cluster, with networks of its own."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import torch
from fastapi import FastAPI

from ..errors import TwinsError
from ..optional_dependencies import need
from ..predict.jobs.plan import check_weights
from ..ray_connection import enter
from .application import create_application
from .models import ServedModel, open_models
from .running import described
from .settings import ServeSettings
from .stopping import Gate


class Replica:
    """The application as Ray Serve runs it, behind its proxy.

    Parameters
    ----------
    settings:
        As for a server without a cluster, where `host` and `port` count for nothing.
    weights_sha256:
        Of each file of the settings, on the machine of who gave the command.
    threads:
        That the networks compute with, by Ray's count of the replica's CPUs.
    folder:
        In which paths may be relative.

    Raises TwinsError, with the machine's name, where this one has other weights, or cannot open them.
    """

    def __init__(self, settings: ServeSettings, weights_sha256: Mapping[str, str], threads: int, folder: str) -> None:
        torch.set_num_threads(threads)
        self.settings, self.gate = settings, Gate()
        try:
            self.models = _opened(settings, weights_sha256, folder)
        except TwinsError as error:
            raise TwinsError(f"{error} (on {platform.node()})") from error

    def __serve_build_asgi_app__(self) -> FastAPI:  # as Ray Serve calls it
        name = need("ray.serve", extra="ray").get_replica_context().replica_tag
        return create_application(self.models, self.settings, self.gate, replica=name)

    def described(self) -> tuple[str, list[str]]:
        """The machine, and what is served in lines for people."""
        return platform.node(), described(self.models)

    def stop(self) -> None:
        """Refuse what comes from now on."""
        self.gate.stopping = True

    def working(self) -> int:
        """How many requests were accepted and have no answer yet."""
        return self.gate.working


def _opened(settings: ServeSettings, weights_sha256: Mapping[str, str], folder: str) -> Sequence[ServedModel]:
    enter(folder)
    for weights, sha256 in weights_sha256.items():
        check_weights(weights, sha256)
    return open_models(settings)
