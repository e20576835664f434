"""A graph as PyTorch's own files: a program (pt2), and a compiled one (AOTInductor)."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import torch
from torch.export import ExportedProgram

from ..errors import TwinsError
from ..heads.detection.nms_operator import in_operators_of_torch
from ..quiet import quietly
from ..runtimes.description import KEY, Description
from .capture import for_every_length
from .written import Written


class ProgramFile(Written):
    """A .pt2 file that torch.export.load reads, with the description among its extra files."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program

    def save(self, path: Path, description: Description) -> None:
        with quietly():
            torch.export.save(self.program, path, extra_files={KEY: description.to_json()})


class CompiledFile(Written):
    """A .pt2 file that torch._inductor.aoti_load_package loads: machine code for this kind of CPU, and the weights."""

    def __init__(self, package: bytes) -> None:
        self.package = package

    def save(self, path: Path, description: Description) -> None:
        path.write_bytes(self.package)
        with zipfile.ZipFile(path, "a") as archive:
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/extra/{KEY}", description.to_json())


def to_program(program: ExportedProgram, outputs: tuple[str, ...]) -> ProgramFile:
    """As it was captured, for `outputs` have their names in it."""
    plain = _without_own_operators(program)
    for node in plain.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines and paths of source files
    return ProgramFile(plain)


def to_compiled(program: ExportedProgram, outputs: tuple[str, ...]) -> CompiledFile:
    """Compile it for the CPU; `outputs` have their names in it. Raises TwinsError without a C++ compiler."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise TwinsError("--to aoti: needs a C++ compiler: install g++, or name one in the variable CXX")
    with tempfile.TemporaryDirectory() as folder, quietly():
        package = Path(folder, "network.pt2")
        torch._inductor.aoti_compile_and_package(_without_own_operators(program), package_path=os.fspath(package))
        return CompiledFile(package.read_bytes())


def _without_own_operators(program: ExportedProgram) -> ExportedProgram:
    """The program of a detector in operators that PyTorch has without twins; others hold no operators of ours."""
    if not any(node.target is torch.ops.twins.nms.default for node in program.graph.nodes):
        return program
    with for_every_length():
        return in_operators_of_torch(program)
