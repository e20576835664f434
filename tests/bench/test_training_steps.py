"""Training steps of the benchmark: ours and timm's are the same work."""

from __future__ import annotations

import pytest
import torch

from helpers.bench_rows import SMALL
from twins.bench import training
from twins.bench.networks import draw_weights
from twins.bench.parity import compare
from twins.bench.plan import Backend
from twins.bench.runners import Runner
from twins.bench.training import start_training
from twins.bench.worker_process import Calls

CASE = SMALL._replace(workload="training", batch=2)


class ThisProcess:
    """Instead of WorkerProcess: what it would run in another process, in this one."""

    def __init__(self, start: object, *settings: object) -> None:
        assert callable(start)
        self._calls: Calls = start(*settings)

    def call(self, name: str) -> object:
        return self._calls[name]()


def compare_training(theirs: Backend) -> tuple[list[torch.Tensor], Runner]:
    """The loss and gradients of our float32, after having seen that timm's agree, and timm's runner."""
    weights, images = draw_weights(CASE), torch.randn(2, 3, 56, 56)
    reference = [t.clone() for t in start_training(Backend("twins"), CASE, weights, images).outputs()]
    runner = start_training(theirs, CASE, weights, images)
    assert compare(theirs, runner.outputs(), reference).holds
    return reference, runner


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_training_steps_are_the_same_work(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(training, "WorkerProcess", ThisProcess)
    monkeypatch.setattr(training, "keep_freed_memory", lambda: kept.append(True))  # which is for a whole process
    reference, theirs = compare_training(Backend("timm", dtype))
    assert kept == [True]  # in ours, not in timm's
    assert reference[1].abs().max() > 1e-3
    loss = float(reference[0])
    theirs.work()
    assert float(theirs.outputs()[0]) < loss  # it learns


@pytest.mark.slow
def test_training_steps_in_processes_of_their_own_are_the_same_work() -> None:
    reference, theirs = compare_training(Backend("timm"))
    theirs.work()
    assert float(theirs.outputs()[0]) < float(reference[0])
