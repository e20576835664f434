"""Attention among queries, keys and values, and the choice of how PyTorch computes it.

PyTorch's fused attention never holds a matrix of scores and is the faster almost everywhere. On a CPU, though, its
backward pass in bfloat16 or float16 runs at a fraction of the speed of matrix products, most of all with few keys: a
training step under autocast spends half of its time there. Then two batched products with a softmax between are 1.2 to
9 times as fast, at the price of keeping the attention weights for the backward pass. `benchmarks/attention.py` measures
both; docs/training.md has its table.

The choice follows from device, dtype, number of keys and whether there are gradients to compute, never from a timing,
so that a run, and its continuation, compute the same bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NARROW = (torch.bfloat16, torch.float16)
MOST_KEYS = 256  # beyond, products gain at most a fifth, and the weights they keep outgrow all else that is kept


def learns_on_cpu(x: Tensor) -> bool:
    """Whether a step of training computes this on a CPU; false of inference and of what an exporter records."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_exporting()


def attend(q_BhND: Tensor, k_BhMD: Tensor, v_BhMD: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D)) v for every head h: N queries, M keys, D channels a head; (B, h, N, D)."""
    by_products = (
        learns_on_cpu(q_BhND) and q_BhND.requires_grad and q_BhND.dtype in NARROW and k_BhMD.shape[2] <= MOST_KEYS
    )
    return products(q_BhND, k_BhMD, v_BhMD) if by_products else fused(q_BhND, k_BhMD, v_BhMD)


def fused(q_BhND: Tensor, k_BhMD: Tensor, v_BhMD: Tensor) -> Tensor:
    """The same by PyTorch's fused attention, of which no score reaches memory."""
    return F.scaled_dot_product_attention(q_BhND, k_BhMD, v_BhMD)


def products(q_BhND: Tensor, k_BhMD: Tensor, v_BhMD: Tensor) -> Tensor:
    """The same by two batched products. Scores are rounded to the inputs' dtype; the softmax computes in float32."""
    B, h, N, D = q_BhND.shape
    q, k, v = (x.flatten(0, 1) for x in (q_BhND, k_BhMD, v_BhMD))
    scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=D**-0.5)
    return torch.bmm(scores.softmax(dim=-1), v).view(B, h, N, D)


def describe(device: str | None, dtype: torch.dtype | None) -> str:
    """Which of both a training step runs on maps of a device, computing in a dtype (None: not known), in words."""
    if device != "cpu" or dtype not in NARROW:
        return "fused attention on folded windows"
    return (
        f"attention on folded windows by batched products up to {MOST_KEYS} keys while training, "
        f"since the backward pass of the fused one in {str(dtype).removeprefix('torch.')} is slow on a CPU"
    )
