"""The kernels against the reference on this card, once, on a small map, before they are trusted with a network."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from .. import reference, triton
from .launch import INTERPRETED

_BOUND = 0.08  # of the values' root mean square; rounding alone makes 0.02 or less in bfloat16
_CASES = (  # channels, heads, autocast: fused sublayers, without and with autocast, and their attention alone
    (64, 2, False),
    (64, 2, True),
    (192, 6, False),
)
_WINDOW = 7
_SIZE = (2, 9, 12)  # windows stick out at the bottom and at the side


def failure(device: str = "cuda") -> str | None:
    """What is wrong with outputs or gradients of the kernels, or what keeps them from running, in a line; else None."""
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return next(filter(None, (_wrong_sublayer(device, *case) for case in _CASES)), None)
    except Exception as error:  # compilers and drivers raise anything at all, and plain PyTorch can go on
        first = next(iter(str(error).strip().splitlines()), "")
        return f"{type(error).__name__}: {first[:200]}"


def _wrong_sublayer(device: str, C: int, heads: int, autocast: bool) -> str | None:
    half = torch.float16 if INTERPRETED else torch.bfloat16
    for name, (layers, run) in _sublayers(device, C, heads).items():
        layers.to(torch.float32 if autocast else half)
        x = torch.randn(*_SIZE, C, generator=torch.Generator().manual_seed(1)).to(device)
        with torch.autocast(device, half, enabled=autocast):
            actual = _output_and_gradients(run, triton, layers, x if autocast else x.to(half))
        with torch.autocast(device, enabled=False):
            expected = _output_and_gradients(run, reference, layers.float(), x if autocast else x.to(half).float())
        for ours, plain in zip(actual, expected, strict=True):
            if not _agree(ours, plain):
                return f"{name} with {C} channels differs from plain PyTorch on this card"
    return None


def _agree(ours: Tensor, plain: Tensor) -> bool:
    error, size = (ours.float() - plain).square().mean(), plain.square().mean()
    return bool(error <= _BOUND**2 * size + 1e-12)


def _output_and_gradients(
    run: Callable[[ModuleType, Tensor], Tensor], backend: ModuleType, layers: nn.Module, x: Tensor
) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = run(backend, x)
    weights = torch.linspace(0, 1, y.numel(), device=y.device).view(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *layers.parameters()])]


def _sublayers(device: str, C: int, heads: int) -> dict[str, tuple[nn.Module, Callable[[ModuleType, Tensor], Tensor]]]:
    """Of each its layers, initialised without touching the rng of the run, and how a backend computes it."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        norm, sr_norm, embed_norm = (nn.LayerNorm(C) for _ in range(3))
        qkv, q, kv, proj = (nn.Linear(C, n * C) for n in (3, 1, 2, 1))
        fc1, fc2 = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        conv, sr, embed = nn.Conv2d(C, C, 3, padding=1, groups=C), nn.Conv2d(C, C, 2, 2), nn.Conv2d(C, C, 2, 2)
        # As large as trained ones: attention that is all but uniform has gradients of rounding alone.
        for layer in (norm, sr_norm, embed_norm, qkv, q, kv, proj, fc1, fc2, conv, sr, embed):
            for parameter in layer.parameters():
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)

    def lsa(backend: ModuleType, x: Tensor) -> Tensor:
        y: Tensor = backend.window_attention(x, norm, qkv, proj, heads, _WINDOW, "zero")
        return y

    def gsa(backend: ModuleType, x: Tensor) -> Tensor:
        y: Tensor = backend.subsampled_attention(x, norm, q, kv, proj, heads, sr, sr_norm)
        return y

    def on(*layers: nn.Module) -> nn.Module:
        return nn.ModuleList(layers).to(device)

    return {
        "window attention": (on(norm, qkv, proj), lsa),
        "sub-sampled attention": (on(norm, q, kv, proj, sr, sr_norm), gsa),
        "the MLP": (on(norm, fc1, fc2), lambda backend, x: backend.mlp(x, norm, fc1, fc2)),
        "the positional encoding": (on(conv), lambda backend, x: backend.peg(x, conv)),
        "the patch embedding": (on(embed, embed_norm), lambda backend, x: backend.patch_embed(x, embed, embed_norm)),
    }
