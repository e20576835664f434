"""Tiny networks of the three tasks, opened once, and a server of them without a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from predict.test_predict import checkpoint
from twins.serve.application import create_application
from twins.serve.models import ServedModel, open_models
from twins.serve.settings import ServeSettings
from twins.serve.stopping import Gate

KINDS = ("classify", "upernet", "retinanet", "mask_rcnn")
QUIET = ServeSettings((), request_log=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("served")
    return {kind: checkpoint(folder, kind)[0] for kind in KINDS}


@pytest.fixture(scope="session")
def models(weights: dict[str, Path]) -> list[ServedModel]:
    """The same, each named by its kind."""
    return open_models(ServeSettings(tuple(f"{kind}={file}" for kind, file in weights.items())))


@pytest.fixture
def client(models: list[ServedModel]) -> Iterator[TestClient]:
    with TestClient(create_application(models, QUIET, Gate())) as opened:
        yield opened
