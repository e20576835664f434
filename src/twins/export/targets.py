"""What a network can be exported to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch.export import ExportedProgram

from ..errors import TwinsError, nearest
from . import onnx_file, openvino_file
from .torch_file import to_compiled, to_program
from .written import Written


class Target(NamedTuple):
    """A kind of exported file."""

    title: str
    suffix: str
    convert: Callable[[ExportedProgram, tuple[str, ...]], Written]
    any_size: bool  # whether one file takes images of any size
    needed: tuple[str, ...] = ()  # libraries, beside PyTorch
    dtypes: tuple[str, ...] = ("fp32",)


TARGETS = {
    "onnx": Target("ONNX", ".onnx", onnx_file.to_onnx, any_size=True, needed=onnx_file.NEEDED),
    "openvino": Target("OpenVINO", ".xml", openvino_file.to_openvino, any_size=True, needed=openvino_file.NEEDED),
    "pt2": Target("torch.export", ".pt2", to_program, any_size=False),
    "aoti": Target("AOTInductor", ".pt2", to_compiled, any_size=False),
}


def target_named(to: str, dtype: str) -> Target:
    """Raises TwinsError for a target that there is not, and for a dtype that it does not have."""
    if to not in TARGETS:
        raise TwinsError(f"--to must be one of {', '.join(TARGETS)}, not {to!r}{nearest(to, list(TARGETS))}")
    target = TARGETS[to]
    if dtype not in target.dtypes:
        raise TwinsError(f"--dtype of --to {to} must be one of {', '.join(target.dtypes)}, not {dtype!r}")
    return target
