"""The machine that results come from, as far as the system describes it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..training.run_folder import provenance

# Those that decide how fast matrices are multiplied: of x86 CPUs, then of ARM's.
_INSTRUCTION_SETS = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "sve", "sve2", "i8mm", "bf16"),
)
_PACKAGES = (
    "torch",
    "triton",
    "timm",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "nncf",
    "torchvision",
    "pillow",
    "simplejpeg",
)


def describe_machine() -> dict[str, Any]:
    """What makes results comparable: two runs with equal descriptions may share a file."""
    return {"cpu": cpu_name(), "instruction_sets": instruction_sets(), "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """Of the libraries that are measured, and the state of our own source."""
    known = provenance()
    ours = {"twins": known["twins"], "git": str(known["git"]), "python": known["python"]}
    return ours | {package: found for package in _PACKAGES if (found := _version(package))}


def cpu_name() -> str:
    """The CPU's name, or "unknown"."""
    return next(iter(_cpuinfo("model name")), "unknown")


def instruction_sets() -> list[str]:
    """Those of this CPU that matrix products gain from; empty where the system does not list them."""
    flags = set(" ".join(_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in _INSTRUCTION_SETS if name in flags]


def _cpuinfo(key: str) -> list[str]:
    """The value of a key for the first CPU, as a list of one; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key][:1]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
