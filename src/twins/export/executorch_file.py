"""A graph as an ExecuTorch program, for phones and small devices: XNNPACK computes what it has operators for."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from ..optional_dependencies import need
from ..quiet import quietly
from ..runtimes.description import KEY, Description
from .written import Written

NEEDED = ("executorch",)


class ExecutorchFile(Written):
    """One .pte file. A program has no metadata: the description is what its method "twins" returns, a string."""

    def __init__(self, lowered: Any) -> None:
        self.lowered = lowered

    def save(self, path: Path, description: Description) -> None:
        with quietly():
            manager = need("executorch.exir", extra="executorch").EdgeProgramManager
            programs = {"forward": copy.deepcopy(self.lowered.exported_program())}  # it is rewritten on the way
            program = manager(programs, {KEY: description.to_json()}, self.lowered.compile_config).to_executorch()
        path.write_bytes(program.buffer)


def to_executorch(program: ExportedProgram, outputs: tuple[str, ...]) -> ExecutorchFile:
    """Convert a captured network, whose `outputs` have their order in it.

    Raises TwinsError where executorch is not installed, and whatever it raises for operators that it does not have.
    """
    with quietly():
        xnnpack = need("executorch.backends.xnnpack.partition.xnnpack_partitioner", extra="executorch")
        exir = need("executorch.exir", extra="executorch")
        return ExecutorchFile(exir.to_edge_transform_and_lower(program, partitioner=[xnnpack.XnnpackPartitioner()]))
