"""PyTorch's own files: a program that torch.export wrote, or one that AOTInductor compiled. Both end in .pt2."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.torch_files import UNREADABLE
from ..errors import TwinsError
from ..optional_dependencies import need
from .description import KEY, LONGEST
from .network import ExportedNetwork, damaged, described

Program = Callable[[Tensor], Mapping[str, Tensor]]


class TorchNetwork(ExportedNetwork):
    """A .pt2 file on the CPU; a program that is not compiled can be run on a GPU too.

    Raises TwinsError for one that is damaged or that twins did not write, for a compiled one on another device, and for
    a detector where torchvision is missing.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        names, text = _contents(path)
        description = described(text, path)
        if "boxes" in description.outputs:
            need("torchvision.ops", extra="detect")  # registers nms and roi_align, which PyTorch by itself has not
        compiled = any("/data/aotinductor/" in name for name in names)
        if compiled and device != "cpu":
            raise TwinsError(f"{path}: was compiled for the CPU, not for {device}; export it with --to pt2")
        try:
            self.program = _load_compiled(path) if compiled else _load_program(path, device)
        except Exception as error:  # of PyTorch's C++ and Python parts, whose errors have no base of their own
            raise damaged(path, error) from error
        kind = "AOTInductor" if compiled else "torch.export"
        super().__init__(path, description, f"{kind} {torch.__version__}, {device}, {description.dtype}", device)

    def compute(self, images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            outputs = self.program(images.to(self.device))
        return [outputs[name] for name in self.description.outputs]


def stated_in(path: Path) -> str | None:
    """What the file says of itself, if it is one of ours; nothing in it is run. Raises TwinsError for a damaged one."""
    return _contents(path)[1]


def _contents(path: Path) -> tuple[list[str], str | None]:
    """The names in the archive, and what its extra file of ours says, if it has one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            ours = next((name for name in names if name.endswith(f"/extra/{KEY}")), None)
            if ours is not None and archive.getinfo(ours).file_size > LONGEST:
                raise zipfile.BadZipFile(f"a description of more than {LONGEST >> 20} MiB")
            return names, None if ours is None else archive.read(ours).decode()
    except (*UNREADABLE, zlib.error) as error:
        raise damaged(path, error) from error


def _load_program(path: Path, device: str) -> Program:
    program = torch.export.load(path)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()


def _load_compiled(path: Path) -> Program:
    compiled: Program = torch._inductor.aoti_load_package(os.fspath(path))
    return compiled
