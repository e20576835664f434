"""What a contender adds to a process of its own, from before it is loaded until it has answered."""

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
from .backends import draw_weights, exported, our_network, start
from .plan import Case, Contender
from .runtimes import RUNTIMES

_CALLS = 3
_STATUS = Path("/proc/self/status")
_LIBRARY = {"timm": "timm", "timm-compiled": "timm", "onnxruntime": "onnxruntime", "openvino": "openvino"}


class Memory(NamedTuple):
    """Resident memory above the baseline, in MB (10^6 bytes); the baseline is a process with its libraries imported."""

    peak: float  # loading, converting and answering
    held: float  # after it, with what only loading needed let go


def measure_memory(contender: Contender, case: Case, folder: Path) -> Memory:
    """Load and run a contender in a new process; `folder` keeps the weights and the exported network between calls.

    Raises TwinsError where the system has no /proc, and RuntimeError with the last line of a process that failed.
    """
    if not _STATUS.exists():
        raise TwinsError("--memory reads /proc, which this system does not have")
    weights, images = folder / "weights.pth", torch.zeros(case.batch, 3, *case.size)
    if not weights.exists():
        torch.save(draw_weights(case), weights)
    if contender.engine in RUNTIMES:
        exported(contender, case, partial(torch.load, weights), images, folder)
    job = json.dumps([contender, case, str(folder), torch.get_num_threads()])
    code = "from twins.bench.memory import answer_in_child; answer_in_child()"
    done = subprocess.run([sys.executable, "-c", code, job], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["the process died"])[-1])
    return Memory(*json.loads(done.stdout.splitlines()[-1]))


def answer_in_child() -> None:
    """The other end of `measure_memory`: prints peak and held memory as JSON."""
    contender, case, folder, threads = json.loads(sys.argv[1])
    torch.set_num_threads(threads)
    print(json.dumps(_load_and_run(Contender(*contender), Case(*case), Path(folder))))


def _load_and_run(contender: Contender, case: Case, folder: Path) -> Memory:
    if library := _LIBRARY.get(contender.engine):
        import_module(library)
    our_network(case)  # imports what only building a network needs
    images = torch.zeros(case.batch, 3, *case.size)
    baseline = _resident("VmRSS")
    runner = start(contender, case, lambda: torch.load(folder / "weights.pth"), images, folder)
    for _ in range(_CALLS):
        runner.answer()
    gc.collect()
    return Memory(_resident("VmHWM") - baseline, _resident("VmRSS") - baseline)


def _resident(key: str) -> float:
    """VmRSS, what is resident, or VmHWM, the most that ever was, in MB."""
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024 / 1e6
