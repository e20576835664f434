"""Where a map's edge meets a kernel or a window: the two rules of padding, shared by every backend."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_PADDINGS = ("mask", "zero", "mask-both")


def pad_to_kernel(x_BHWC: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Zero-pad (bottom, right) an axis shorter than the kernel; a longer one stays, and its remainder is dropped."""
    below = max(kernel[0] - x_BHWC.shape[1], 0)
    beside = max(kernel[1] - x_BHWC.shape[2], 0)
    return F.pad(x_BHWC, (0, 0, 0, beside, 0, below)) if below or beside else x_BHWC


def channels_first(x_BHWC: Tensor) -> Tensor:
    """What a convolution takes, (B, C, H, W): a view, but for an exporter contiguous.

    A convolution of a view with channels last is recorded for more than one image alone: with a batch of one, its
    strides are those of several layouts.
    """
    x_BCHW = x_BHWC.permute(0, 3, 1, 2)
    return x_BCHW.contiguous() if torch.compiler.is_exporting() else x_BCHW


def window_overhang(H: int, W: int, window: int, padding: str) -> tuple[int, int, bool]:
    """Rows below and columns beside a map that fill up its last windows, and whether attention masks them out.

    Padding that is not masked holds zeros *before* the qkv projection, so that it enters the softmax through the
    bias. The published code disagrees with itself on this; `model.Stages` explains which choice reproduces what.
    """
    _check_padding(padding)
    below, beside = -H % window, -W % window
    masked = bool(below and beside) if padding == "mask-both" else bool(below or beside) and padding == "mask"
    return below, beside, masked


def hidden_keys(H: int, W: int, window: int, padding: str, device: torch.device) -> Tensor | None:
    """The same rule by arithmetic, with no branch on H and W, so that an exported graph is right for all of them.

    Returns a boolean map of the whole windows, (rows * window, columns * window), that is true where attention masks a
    key out; None for "zero", which masks none.
    """
    _check_padding(padding)
    if padding == "zero":
        return None
    below = torch.arange(whole_windows(H, window) * window, device=device) >= H
    beside = torch.arange(whole_windows(W, window) * window, device=device) >= W
    outside_HW = below[:, None] | beside[None, :]
    return outside_HW & below.any() & beside.any() if padding == "mask-both" else outside_HW


def whole_windows(length: int, window: int) -> int:
    """How many windows cover an axis."""
    return (length + window - 1) // window


def _check_padding(padding: str) -> None:
    if padding not in WINDOW_PADDINGS:
        raise ValueError(f"window_padding must be one of {', '.join(WINDOW_PADDINGS)}, not {padding!r}")
