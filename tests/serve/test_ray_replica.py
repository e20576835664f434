"""A replica of a server on a Ray cluster, here without one."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from helpers.servers import encoded, form, noise
from twins.errors import TwinsError
from twins.predict.jobs.plan import weights_digest
from twins.serve.application import create_application
from twins.serve.models import ServedModel
from twins.serve.ray_replica import Replica
from twins.serve.settings import ServeSettings
from twins.serve.stopping import Gate


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The threads and the current folder of this process, which a replica sets."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(os.getcwd())
    yield
    torch.set_num_threads(threads)


def test_a_replica_opens_the_same_weights_and_computes_with_its_threads(weights: dict[str, Path]) -> None:
    file = weights["classify"]
    settings = ServeSettings((f"mine={file.name}",), device="cpu")
    replica = Replica(settings, {file.name: weights_digest(file)}, 3, str(file.parent))
    machine, lines = replica.described()
    assert machine == platform.node()
    assert lines[0].startswith("mine: classify, 3 classes, ")
    assert torch.get_num_threads() == 3
    with replica.gate.work():
        assert replica.working() == 1
        replica.stop()
    assert replica.working() == 0
    assert replica.gate.stopping


@pytest.mark.parametrize(("named", "sha256", "folder", "line"), [
    ("{}", "0", ".", "other weights there; all machines need the same file"),
    ("gone.pth", "0", ".", "gone.pth is not there: check the path"),
    ("{}", None, "/no/such/folder", "/no/such/folder: cannot be entered (No such file or directory)"),
])  # fmt: skip
def test_a_replica_that_cannot_begin_names_its_machine(
    weights: dict[str, Path], named: str, sha256: str | None, folder: str, line: str
) -> None:
    file = named.format(weights["classify"])
    with pytest.raises(TwinsError) as raised:
        Replica(ServeSettings((file,)), {file: sha256 or weights_digest(file)}, 1, folder)
    assert line in str(raised.value)
    assert str(raised.value).endswith(f"(on {platform.node()})")


def test_one_of_several_says_so_in_its_metrics_and_leaves_ids_to_the_proxy(models: list[ServedModel]) -> None:
    application = create_application(models, ServeSettings((), request_log=False), Gate(), replica="r1")
    with TestClient(application) as client:
        files = form(("a.png", encoded(noise(40, 40))))
        answer = client.post("/predict", files=files, headers={"X-Request-Id": "given-by-the-proxy"})
        lines = client.get("/metrics").text.splitlines()
    assert answer.json()["request_id"] == "given-by-the-proxy"
    assert "x-request-id" not in answer.headers
    assert 'twins_requests_total{replica="r1",route="/predict",status="200"} 1.0' in lines
    samples = [line for line in lines if not line.startswith("#")]
    assert len(samples) > 20
    assert all('replica="r1"' in sample for sample in samples)
