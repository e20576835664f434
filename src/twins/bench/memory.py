"""Memory that a backend adds to a process of its own, from before it is loaded until after its calls."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import TwinsError
from .backends import exported, start
from .networks import draw_weights, our_network
from .plan import Backend, Case
from .runtimes import RUNTIMES

_CALLS = 3
_STATUS = Path("/proc/self/status")
_LIBRARY = {"timm": "timm", "timm-compiled": "timm", "onnxruntime": "onnxruntime", "openvino": "openvino"}


class Memory(NamedTuple):
    """Resident memory above the baseline, in MB (10^6 bytes); the baseline is a process with its libraries imported."""

    peak: float  # while loading, converting and running
    held: float  # afterwards, without what only loading needed


def measure_memory(backend: Backend, case: Case, folder: Path) -> Memory:
    """Load and run a backend in a new process; `folder` keeps the weights and the exported network between calls.

    Raises TwinsError where the system has no /proc, and RuntimeError with the last line of a process that failed.
    """
    if not _STATUS.exists():
        raise TwinsError("--memory reads /proc, which this system does not have")
    weights, images = folder / "weights.pth", torch.zeros(case.batch, 3, *case.size)
    if not weights.exists():
        torch.save(draw_weights(case), weights)
    if backend.engine in RUNTIMES:
        exported(backend, case, partial(torch.load, weights), images, folder)
    job = json.dumps([backend, case, str(folder), torch.get_num_threads()])
    code = "from twins.bench.memory import report_memory; report_memory()"
    done = subprocess.run([sys.executable, "-c", code, job], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the process died"])[-1])
    return Memory(*json.loads(done.stdout.splitlines()[-1]))


def report_memory() -> None:
    """What the process of `measure_memory` runs: prints peak and held memory as JSON."""
    backend, case, folder, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    print(json.dumps(_load_and_run(Backend(*backend), Case(*case), Path(folder))))


def _load_and_run(backend: Backend, case: Case, folder: Path) -> Memory:
    if library := _LIBRARY.get(backend.engine):
        import_module(library)
    our_network(case)  # imports what only building a network needs
    images = torch.zeros(case.batch, 3, *case.size)
    baseline = _resident("VmRSS")
    runner = start(backend, case, lambda: torch.load(folder / "weights.pth"), images, folder)
    for _ in range(_CALLS):
        runner.outputs()
    gc.collect()
    return Memory(_resident("VmHWM") - baseline, _resident("VmRSS") - baseline)


def _resident(key: str) -> float:
    """VmRSS, what is resident, or VmHWM, the most that ever was, in MB."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024 / 1e6
