"""Both implementations of attention on a CPU, forward and backward: the table of docs/training.md.

python benchmarks/attention.py         # a minute on two cores; blocks of both by turns, medians, milliseconds
"""

from __future__ import annotations

import torch

from twins.ops import attention
from twins.timing import Pace, alternate
from twins.training.malloc_settings import keep_freed_memory

SHAPES = {  # images x windows, heads, queries, keys, channels a head
    "windows, stage 1, 224 px, batch 16": (1024, 2, 49, 49, 32),
    "windows, stage 3": (64, 8, 49, 49, 32),
    "sub-sampled, stage 1": (16, 2, 3136, 49, 32),
    "sub-sampled, stage 3": (16, 8, 196, 49, 32),
    "windows of 16, 32 px, batch 64": (256, 1, 16, 16, 32),
    "sub-sampled, 512 px, batch 2": (2, 2, 16384, 256, 32),
    "sub-sampled, 800 x 1216, batch 1": (1, 2, 60800, 950, 32),
}


def main() -> None:
    keep_freed_memory()
    for title, (B, h, N, M, D) in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16):
            q, k, v = (torch.randn(B, h, n, D, dtype=dtype, requires_grad=True) for n in (N, M, M))
            dy = torch.randn(B, h, N, D, dtype=dtype)

            def fused(q=q, k=k, v=v, dy=dy) -> None:
                torch.autograd.grad(attention.fused(q, k, v), (q, k, v), dy)

            def products(q=q, k=k, v=v, dy=dy) -> None:
                torch.autograd.grad(attention.products(q, k, v), (q, k, v), dy)

            times: dict[str, list[float]] = {}
            alternate({"fused": fused, "products": products}, Pace(blocks=5, seconds=0.1), times)
            medians = {name: 1000 * sorted(seconds)[len(seconds) // 2] for name, seconds in times.items()}
            print(f"{title:36} {str(dtype)[6:]:9}", *(f"{name} {ms:8.2f}" for name, ms in medians.items()), flush=True)


if __name__ == "__main__":
    main()
