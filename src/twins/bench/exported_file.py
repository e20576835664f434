"""The speed of a file that `twins export` wrote. There are no weights to give to others: it is measured alone."""

from __future__ import annotations

import time
from functools import partial

import torch

from ..networks import info_of, size_of_run
from ..preprocessing import Size
from ..runtimes.description import Description
from ..runtimes.exported_info import ExportedInfo
from ..runtimes.network import ExportedNetwork
from ..runtimes.opening import open_exported
from ..timing import Pace
from .measuring import Checked, Log, Measured, or_log, time_runners
from .parity import Parity
from .plan import Backend, Case, every_case
from .runners import Outputs, inference_runner

WORKLOAD = "exported"


def exported_cases(path: str, sizes: list[Size] | None, batches: list[int]) -> list[Case]:
    """Forward passes of an exported file; its own size if none is given.

    Raises TwinsError for a file that cannot be used.
    """
    info = info_of(path)
    assert isinstance(info, ExportedInfo)
    description = info.network.description
    own = description.sizes[0] if description.sizes else size_of_run(info)
    return every_case(WORKLOAD, [path], sizes or [own], batches, (Backend(WORKLOAD, description.dtype),))


def measure_exported(case: Case, pace: Pace, log: Log) -> Measured:
    """Its speed, if it takes such a batch; how far its outputs are from PyTorch's is what it says of itself."""
    network, (backend,) = open_exported(case.network), case.backends
    images = torch.rand(case.batch, network.description.in_chans, *case.size)
    runner = inference_runner(backend, partial(_outputs, network, images))
    started = time.perf_counter()
    if or_log(runner.outputs, f"{network.path}, batch {case.batch}", log) is None:
        return Measured([])
    checked = Checked(runner, _parity(network.description), time.perf_counter() - started)
    return time_runners(case, [checked._replace(runner=runner._replace(note=network.runtime))], pace)


def _outputs(network: ExportedNetwork, images: torch.Tensor) -> Outputs:
    return list(network(images).values())


def _parity(description: Description) -> Parity:
    """By its check when it was written, which it has passed: the worst of its outputs."""
    checked = description.checked or {}
    facts = checked.get("outputs") or checked.get("noise") or {}
    error = max(facts.get("differences", {}).values(), default=0.0)
    return Parity(error, max(error, {"fp32": 1e-4}.get(description.dtype, 1e-2)))
