"""Memory of a backend in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

from helpers.bench_rows import SMALL
from twins.bench import memory
from twins.bench.memory import Memory, measure_memory, report_memory
from twins.bench.plan import Backend
from twins.errors import TwinsError

CASE = SMALL._replace(workload="memory")


@pytest.mark.usefixtures("narrow")
def test_memory_counts_from_before_a_backend_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process is played by this one, with MB of its own."""
    read: list[str] = []
    resident = iter([100.0, 350.0, 300.0])
    threads = torch.get_num_threads()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[2].endswith("report_memory()")
        monkeypatch.setattr(sys, "argv", [command[0], command[-1]])
        with redirect_stdout(StringIO()) as printed:
            report_memory()
        return subprocess.CompletedProcess(command, 0, printed.getvalue(), "")

    monkeypatch.setattr(memory.subprocess, "run", run)
    monkeypatch.setattr(memory, "_resident", lambda key: (read.append(key), next(resident))[1])
    monkeypatch.setattr(memory, "_STATUS", tmp_path)
    assert measure_memory(Backend("timm"), CASE, tmp_path) == Memory(peak=250.0, held=200.0)
    assert read == ["VmRSS", "VmHWM", "VmRSS"]
    assert torch.get_num_threads() == threads
    assert (tmp_path / "weights.pth").exists()


def test_the_last_line_of_a_process_that_failed_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pth").touch()
    monkeypatch.setattr(memory, "_STATUS", tmp_path)
    for stderr, message in (("Traceback\nMemoryError: 7\n", "^MemoryError: 7$"), ("", "^the process died$")):
        done = subprocess.CompletedProcess([], 1, "", stderr)
        monkeypatch.setattr(memory.subprocess, "run", lambda *_, done=done, **__: done)
        with pytest.raises(RuntimeError, match=message):
            measure_memory(Backend("twins"), CASE, tmp_path)


def test_a_system_without_proc_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    with pytest.raises(TwinsError, match="--memory reads /proc, which this system does not have"):
        measure_memory(Backend("twins"), CASE, tmp_path)


def test_resident_memory_is_in_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  125000 kB\nVmRSS:\t   62500 kB\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    assert (memory._resident("VmRSS"), memory._resident("VmHWM")) == (64.0, 128.0)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_holds_the_weights_at_least(tmp_path: Path) -> None:
    found = measure_memory(Backend("twins"), CASE, tmp_path)
    assert found.peak >= found.held >= 24_060_776 * 4 / 1e6 * 0.95
