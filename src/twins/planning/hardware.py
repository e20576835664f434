"""GPUs as their data sheets state them, and round prices for an hour of one."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import TwinsError, nearest

MOST_GPUS = 100_000  # that a plan is made for
GPUS_A_NODE = 8  # as in NVIDIA's HGX boards and in most servers for cards
Precision = Literal["half", "tf32", "single"]  # of products: bfloat16 or float16, float32 rounded to TF32, float32


class Gpu(NamedTuple):
    """What a plan has to know of a GPU. Speeds are peaks: of dense products, without sparsity, and of its memory."""

    name: str
    title: str
    memory: float  # GB (10^9 bytes)
    half: float  # TFLOP/s of products of bfloat16 or float16 that are summed in float32
    tf32: float  # TFLOP/s of products in TF32, or in float32 where there is no TF32
    single: float  # TFLOP/s in float32
    bandwidth: float  # GB/s of its memory
    link: float  # GB/s to the other GPUs of its node, in one direction
    linked_by: str
    price: float  # dollars an hour, round; what providers ask differs by factors
    source: str

    def products(self, precision: Precision) -> float:
        """Peak FLOP/s of matrix products."""
        return 1e12 * {"half": self.half, "tf32": self.tf32, "single": self.single}[precision]


_SXM, _CARD = "NVLink", "PCIe 4.0 x16"
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("b200", "NVIDIA B200", 180, 2250, 1125, 75, 8000, 900, _SXM, 6.00, "HGX B200 data sheet, 2025"),
        Gpu("h200", "NVIDIA H200 SXM", 141, 989, 494, 67, 4800, 450, _SXM, 4.00, "H200 data sheet, 2024"),
        Gpu("h100", "NVIDIA H100 SXM", 80, 989, 494, 67, 3350, 450, _SXM, 3.00, "H100 data sheet, 2023"),
        Gpu("a100", "NVIDIA A100 SXM 80 GB", 80, 312, 156, 19.5, 2039, 300, _SXM, 2.00, "A100 80GB data sheet, 2021"),
        Gpu("v100", "NVIDIA V100 SXM2 32 GB", 32, 125, 15.7, 15.7, 900, 150, _SXM, 1.00, "V100 data sheet, 2020"),
        Gpu("l40s", "NVIDIA L40S", 48, 362, 183, 91.6, 864, 32, _CARD, 1.60, "L40S data sheet, 2023"),
        Gpu("l4", "NVIDIA L4", 24, 121, 60, 30.3, 300, 32, _CARD, 0.80, "L4 data sheet, 2023"),
        Gpu("rtx4090", "NVIDIA GeForce RTX 4090", 24, 165, 82.6, 82.6, 1008, 32, _CARD, 0.50, "Ada white paper, 2022"),
        Gpu("rtx3090", "NVIDIA GeForce RTX 3090", 24, 71, 35.6, 35.6, 936, 32, _CARD, 0.30, "GA102 white paper, 2021"),
    )
}


def find_gpu(name: str) -> Gpu:
    """A GPU of the table, in any case. Raises TwinsError for a name that is not there, with the nearest ones."""
    key = name.strip().lower().replace(" ", "").replace("-", "").replace("_", "").removeprefix("nvidia")
    if key == "cpu":
        raise TwinsError("--gpu cpu is not offered: a run on a CPU says after ten seconds how long it will take")
    if key not in GPUS:
        raise TwinsError(f"--gpu {name}: not known{nearest(key, list(GPUS))}; there is {', '.join(GPUS)}")
    return GPUS[key]


def gpu_called(device: str) -> Gpu | None:
    """The GPU of the table that PyTorch calls so, as "NVIDIA H100 80GB HBM3"; None for any other device."""
    words = device.upper().replace("RTX ", "RTX").replace("-", " ").split()
    return next((gpu for gpu in GPUS.values() if gpu.name.upper() in words), None)
