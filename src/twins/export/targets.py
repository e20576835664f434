"""What a network can be exported to, in which dtypes, and why not to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch.export import ExportedProgram

from ..errors import TwinsError, nearest
from ..optional_dependencies import need
from . import executorch_file, onnx_file, openvino_file
from .calibration import Calibration
from .exportable import Exportable
from .quantisation import Quantised, to_onnx_int8, to_openvino_int8
from .torch_file import to_compiled, to_program
from .written import Written


class Target(NamedTuple):
    """A kind of exported file."""

    title: str
    suffix: str
    convert: Callable[[ExportedProgram, tuple[str, ...]], Written]
    any_size: bool  # whether one file takes images of any size,
    any_batch: bool = True  # and any number of them at once
    needed: tuple[str, ...] = ()  # libraries, beside PyTorch
    dtypes: tuple[str, ...] = ("fp32",)
    casts: bool = True  # whether the graph itself holds float16 or bfloat16; else its runtime makes them
    quantise: Callable[[ExportedProgram, Exportable, Calibration], Quantised] | None = None  # for int8
    extra: str = "export"  # that brings the libraries


TARGETS = {
    "onnx": Target(
        "ONNX", ".onnx", onnx_file.to_onnx, any_size=True, needed=onnx_file.NEEDED,
        dtypes=("fp32", "fp16", "int8"), quantise=to_onnx_int8,
    ),
    "openvino": Target(
        "OpenVINO", ".xml", openvino_file.to_openvino, any_size=True, needed=openvino_file.NEEDED,
        dtypes=("fp32", "fp16", "bf16", "int8"), casts=False, quantise=to_openvino_int8,
    ),
    "pt2": Target("torch.export", ".pt2", to_program, any_size=False, dtypes=("fp32", "fp16", "bf16")),
    "aoti": Target("AOTInductor", ".pt2", to_compiled, any_size=False, dtypes=("fp32", "fp16", "bf16")),
    "executorch": Target(
        "ExecuTorch", ".pte", executorch_file.to_executorch, any_size=False, any_batch=False,
        needed=executorch_file.NEEDED, extra="executorch",
    ),
}  # fmt: skip

# What cannot be checked where it is written, and what to do instead.
NOT_OFFERED = {
    "tensorrt": "can be checked on a GPU alone: export --to onnx and run trtexec --onnx=FILE --fp16 where the GPU is",
    "coreml": "can be checked on macOS alone: export --to pt2 and give the program to coremltools.convert there",
    "litert": "its converter, litert-torch 0.10, fails on linear layers of four axes: export --to executorch, "
    "which runs on phones too",
}
_NO_SUCH_DTYPE = {
    ("onnx", "bf16"): "ONNX Runtime does not compute bfloat16 on CPUs: export --to openvino, or --dtype fp16",
    ("pt2", "int8"): "torch.export has no int8 that is calibrated here: export --to onnx or --to openvino",
    ("aoti", "int8"): "AOTInductor has no int8 that is calibrated here: export --to onnx or --to openvino",
}


def target_named(to: str, dtype: str) -> Target:
    """Raises TwinsError for a target that there is not, a dtype that it does not have, and a missing library."""
    if to in NOT_OFFERED:
        raise TwinsError(f"--to {to}: {NOT_OFFERED[to]}")
    if to not in TARGETS:
        raise TwinsError(f"--to must be one of {', '.join([*TARGETS, 'hub'])}, not {to!r}{nearest(to, list(TARGETS))}")
    target = TARGETS[to]
    if (to, dtype) in _NO_SUCH_DTYPE:
        raise TwinsError(f"--dtype {dtype}: {_NO_SUCH_DTYPE[to, dtype]}")
    if dtype not in target.dtypes:
        raise TwinsError(f"--dtype of --to {to} must be one of {', '.join(target.dtypes)}, not {dtype!r}")
    for module in target.needed:
        need(module, extra=target.extra)
    if dtype == "int8" and to == "openvino":
        need("nncf", extra=target.extra)
    return target
