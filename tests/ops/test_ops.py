"""The sublayers in plain PyTorch against loops and formulas written here: outputs and gradients, in float64."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.grids import every_pair
from twins import ops
from twins.ops import precision

BACKENDS = ("eager", "reference")
WINDOW = 7
HEAD_SIZES = (32, 64)
pytestmark = pytest.mark.usefixtures("nan_memory")


def layer(module: nn.Module) -> nn.Module:
    """In double precision, with biases and norm weights that are not the trivial 0 and 1."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(parameter.shape[-1]))
    return module.double()


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def gradients(y: Tensor, x: Tensor, *layers: nn.Module | None) -> dict[str, Tensor]:
    """Of one fixed weighted sum of y, w.r.t. the input and every parameter."""
    weights = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    tensors = {"x": x}
    for i, module in enumerate(layers):
        if module is not None:
            tensors |= {f"{i}.{name}": parameter for name, parameter in module.named_parameters()}
    return dict(zip(tensors, torch.autograd.grad((y * weights).sum(), list(tensors.values())), strict=True))


def assert_same(actual: Callable[[], Tensor], expected: Callable[[], Tensor], x: Tensor, *layers: nn.Module | None):
    y, y_expected = actual(), expected()
    torch.testing.assert_close(y, y_expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        gradients(y, x, *layers), gradients(y_expected, x, *layers), rtol=1e-9, atol=1e-9, check_stride=False
    )


# ---- windows


def attend_by_hand(qkv_TX: Tensor, heads: int) -> Tensor:
    """Softmax attention among T tokens, head by head; X holds all q, then all k, then all v."""
    outputs = []
    for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in qkv_TX.chunk(3, dim=-1)), strict=True):
        exponentials = (q @ k.T / math.sqrt(q.shape[-1])).exp()
        outputs.append(exponentials / exponentials.sum(dim=1, keepdim=True) @ v)
    return torch.cat(outputs, dim=-1)


def attend_in_loops(x_BHWC: Tensor, qkv: nn.Module, heads: int) -> Tensor:
    """Window after window; slices clip those that stick out of the map."""
    images = []
    for x_HWC in x_BHWC:
        rows = []
        for top in range(0, x_HWC.shape[0], WINDOW):
            strip = []
            for left in range(0, x_HWC.shape[1], WINDOW):
                tokens = x_HWC[top : top + WINDOW, left : left + WINDOW]
                strip.append(attend_by_hand(qkv(tokens).flatten(0, 1), heads).reshape(tokens.shape))
            rows.append(torch.cat(strip, dim=1))
        images.append(torch.cat(rows, dim=0))
    return torch.stack(images)


def slow_window_attention(x: Tensor, norm: nn.Module, qkv: nn.Module, proj: nn.Module, heads: int, masked: bool):
    B, H, W, C = x.shape
    x = norm(x)
    if not masked:
        filled = x.new_zeros(B, math.ceil(H / WINDOW) * WINDOW, math.ceil(W / WINDOW) * WINDOW, C)
        filled[:, :H, :W] = x
        x = filled
    return proj(attend_in_loops(x, qkv, heads)[:, :H, :W])


@every_pair(
    backend=BACKENDS,
    padding=ops.WINDOW_PADDINGS,
    size=[(14, 14), (15, 9), (14, 9), (3, 7), (1, 1), (2, 16)],
    head_size=HEAD_SIZES,
)
def test_window_attention_is_the_loop_over_windows(backend: str, padding: str, size: tuple[int, int], head_size: int):
    heads, channels = 2, 2 * head_size
    norm, qkv = layer(nn.LayerNorm(channels)), layer(nn.Linear(channels, 3 * channels))
    proj, x = layer(nn.Linear(channels, channels)), image(2, *size, channels)
    both_stick_out = all(side % WINDOW for side in size)
    masked = padding == "mask" or (padding == "mask-both" and both_stick_out)

    def actual() -> Tensor:
        with ops.use(backend):
            return ops.window_attention(x, norm, qkv, proj, heads, WINDOW, padding)

    assert_same(actual, lambda: slow_window_attention(x, norm, qkv, proj, heads, masked), x, norm, qkv, proj)


def test_paddings_differ_where_they_should():
    channels = 32
    norm, qkv, proj = nn.Identity(), layer(nn.Linear(channels, 3 * channels)), nn.Identity()

    def outputs(*size: int) -> list[Tensor]:
        x = image(1, *size, channels)
        return [ops.window_attention(x, norm, qkv, proj, 1, WINDOW, padding) for padding in ops.WINDOW_PADDINGS]

    mask, zero, mask_both = outputs(9, 9)
    assert torch.equal(mask, mask_both)
    assert (mask - zero)[:, :7, :7].abs().max() == 0
    assert (mask - zero).abs().max() > 1e-2
    mask, zero, mask_both = outputs(9, 14)
    assert torch.equal(zero, mask_both)
    assert (mask - zero).abs().max() > 1e-2


# ---- the other sublayers


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(8, 8), (11, 6), (13, 17), (3, 9), (1, 1)], ids=str)
def test_patch_embed_is_a_linear_layer_on_whole_patches(backend: str, size: tuple[int, int]):
    patch, channels, dim = 4, 3, 16
    proj, norm, x = layer(nn.Conv2d(channels, dim, patch, patch)), layer(nn.LayerNorm(dim)), image(2, *size, channels)
    rows, columns = (max(side // patch, 1) for side in size)

    def expected() -> Tensor:
        filled = F.pad(x, (0, 0, 0, max(patch - size[1], 0), 0, max(patch - size[0], 0)))
        cells = filled[:, : rows * patch, : columns * patch].reshape(2, rows, patch, columns, patch, channels)
        patches = cells.permute(0, 1, 3, 5, 2, 4).flatten(3)
        return norm(patches @ proj.weight.flatten(1).T + proj.bias)

    def actual() -> Tensor:
        with ops.use(backend):
            return ops.patch_embed(x, proj, norm)

    assert actual().shape == (2, rows, columns, dim)
    assert_same(actual, expected, x, proj, norm)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(5, 8), (1, 4), (1, 1)], ids=str)
def test_peg_adds_nine_shifted_maps(backend: str, size: tuple[int, int]):
    H, W = size
    conv, x = layer(nn.Conv2d(6, 6, 3, padding=1, groups=6)), image(2, H, W, 6)

    def expected() -> Tensor:
        around = F.pad(x, (0, 0, 1, 1, 1, 1))
        shifts = [around[:, i : i + H, j : j + W] * conv.weight[:, 0, i, j] for i in range(3) for j in range(3)]
        return x + conv.bias + sum(shifts)

    def actual() -> Tensor:
        with ops.use(backend):
            return ops.peg(x, conv)

    assert_same(actual, expected, x, conv)


@pytest.mark.parametrize("backend", BACKENDS)
def test_mlp_has_the_exact_gelu(backend: str):
    norm, fc1 = layer(nn.LayerNorm(8)), layer(nn.Linear(8, 32))
    fc2, x = layer(nn.Linear(32, 8)), image(2, 3, 5, 8)

    def expected() -> Tensor:
        hidden = fc1(norm(x))
        return fc2(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))))

    def actual() -> Tensor:
        with ops.use(backend):
            return ops.mlp(x, norm, fc1, fc2)

    assert_same(actual, expected, x, norm, fc1, fc2)


@every_pair(
    backend=BACKENDS,
    head_size=HEAD_SIZES,
    size_and_ratio=[((16, 8), 8), ((13, 9), 4), ((3, 5), 2), ((3, 1), 8), ((4, 3), 1)],
)
def test_subsampled_attention_is_softmax_over_the_subsampled_map(
    backend: str, head_size: int, size_and_ratio: tuple[tuple[int, int], int]
):
    size, sr_ratio = size_and_ratio
    heads, channels = 2, 2 * head_size
    norm, q = layer(nn.LayerNorm(channels)), layer(nn.Linear(channels, channels))
    kv, proj = layer(nn.Linear(channels, 2 * channels)), layer(nn.Linear(channels, channels))
    sr = layer(nn.Conv2d(channels, channels, sr_ratio, sr_ratio)) if sr_ratio > 1 else None
    sr_norm, x = layer(nn.LayerNorm(channels)) if sr_ratio > 1 else None, image(2, *size, channels)

    def expected() -> Tensor:
        outputs = []
        for x_HWC in norm(x):
            x_sr = x_HWC if sr is None else ops.patch_embed(x_HWC[None], sr, sr_norm)[0]
            queries, keys_values = q(x_HWC).flatten(0, 1), kv(x_sr).flatten(0, 1)
            heads_of = [part.chunk(heads, dim=-1) for part in (queries, *keys_values.chunk(2, dim=-1))]
            y = [(q_ @ k_.T / math.sqrt(head_size)).softmax(dim=-1) @ v_ for q_, k_, v_ in zip(*heads_of, strict=True)]
            outputs.append(torch.cat(y, dim=-1).reshape(x_HWC.shape))
        return proj(torch.stack(outputs))

    def actual() -> Tensor:
        with ops.use(backend):
            return ops.subsampled_attention(x, norm, q, kv, proj, heads, sr, sr_norm)

    assert_same(actual, expected, x, norm, q, kv, proj, sr, sr_norm)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_rate_reaches_every_branch(backend: str):
    identity, x, c = nn.Identity(), image(1, 8, 8, 32), 32
    with ops.use(backend):
        branches = [
            ops.window_attention(x, identity, layer(nn.Linear(c, 3 * c)), identity, 1, WINDOW, "mask", 0.5),
            ops.subsampled_attention(
                x, identity, identity, layer(nn.Linear(c, 2 * c)), identity, 1, None, None, dropout=0.5
            ),
            ops.mlp(x, identity, identity, identity, 0.5),
        ]
    dropped = [float((branch == 0).double().mean()) for branch in branches]
    assert dropped == pytest.approx([0.5, 0.5, 0.75], abs=0.05)  # an MLP drops its hidden layer, then its output


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_may_be_empty(backend: str):
    identity, x, c = nn.Identity(), image(0, 9, 9, 32), 32
    with ops.use(backend):
        local = ops.window_attention(x, identity, layer(nn.Linear(c, 3 * c)), identity, 1, WINDOW, "mask")
        subsampled = ops.subsampled_attention(
            x, identity, identity, layer(nn.Linear(c, 2 * c)), identity, 1, None, None
        )
    assert local.shape == subsampled.shape == (0, 9, 9, 32)


# ---- autocast


def sublayers(x: Tensor) -> dict[str, tuple[Callable[[], Tensor], list[nn.Module]]]:
    """Every sublayer on a float32 map of 32 channels, and the modules that hold its parameters."""
    norm, sr_norm, qkv, kv = nn.LayerNorm(32), nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 64)
    q, proj, fc1, fc2 = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 128), nn.Linear(128, 32)
    conv, sr = nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.Conv2d(32, 32, 2, 2)
    return {
        "patch_embed": (lambda: ops.patch_embed(x, sr, norm), [sr, norm]),
        "peg": (lambda: ops.peg(x, conv), [conv]),
        "window_attention": (
            lambda: ops.window_attention(x, norm, qkv, proj, 1, WINDOW, "mask"),
            [norm, qkv, proj],
        ),
        "subsampled_attention": (
            lambda: ops.subsampled_attention(x, norm, q, kv, proj, 1, sr, sr_norm),
            [norm, q, kv, proj, sr, sr_norm],
        ),
        "mlp": (lambda: ops.mlp(x, norm, fc1, fc2), [norm, fc1, fc2]),
    }


SUBLAYERS = ("patch_embed", "peg", "window_attention", "subsampled_attention", "mlp")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", SUBLAYERS)
def test_autocast_to_a_dtype_that_the_cpu_lacks_stays_in_float32(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(precision.IN_HARDWARE, dtype, False)
    x = torch.randn(2, 9, 5, 32, requires_grad=True)
    sublayer, modules = sublayers(x)[name]
    y_expected = sublayer()
    with torch.autocast("cpu", dtype):
        y = sublayer()
    assert y.dtype == torch.float32
    assert torch.equal(y, y_expected)
    expected = gradients(y_expected, x, *modules)
    assert all(torch.equal(grad, expected[key]) for key, grad in gradients(y, x, *modules).items())


def test_a_map_in_that_dtype_is_cast_to_float32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, False)
    x = torch.randn(1, 5, 5, 32).bfloat16()
    for name, (sublayer, _) in sublayers(x).items():
        with torch.autocast("cpu", torch.bfloat16):
            assert sublayer().dtype == torch.float32, name


@pytest.mark.parametrize("name", ["patch_embed", "mlp"])
def test_autocast_to_a_dtype_that_the_cpu_has_is_kept(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, True)
    sublayer, _ = sublayers(torch.randn(2, 9, 5, 32))[name]
    exact = sublayer()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = sublayer()
    assert not torch.equal(rounded.float(), exact)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sublayers_under_autocast_compile_to_one_graph(backend: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, False)
    norm, fc1, fc2 = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)

    def mlp(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return ops.mlp(x, norm, fc1, fc2)

    x = torch.randn(1, 2, 3, 8)
    with ops.use(backend):
        torch.testing.assert_close(torch.compile(mlp, backend="eager", fullgraph=True)(x), mlp(x))


# ---- one signature, several backends


@pytest.mark.parametrize("name", SUBLAYERS)
def test_every_backend_has_the_public_signature(name: str):
    public = getattr(ops, name)
    assert all(shape in public.__doc__ for shape in ("(B, H, W, C) ->", "Source: paper, 3."))
    backends = [ops.reference, ops.eager]
    if find_spec("triton") is not None:
        from twins.ops import triton

        backends.append(triton)
    signature = inspect.signature(public)
    assert [inspect.signature(getattr(backend, name)) for backend in backends] == [signature] * len(backends)
    assert signature.return_annotation == "Tensor"


def test_a_map_may_be_given_by_its_name():
    conv, x = layer(nn.Conv2d(6, 6, 3, padding=1, groups=6)), image(1, 4, 5, 6)
    assert torch.equal(ops.peg(x_BHWC=x, conv=conv), ops.peg(x, conv))


# ---- the choice of a backend


def test_use_chooses_inside_the_block_only():
    before = ops.backend()
    with ops.use("reference"):
        assert ops.backend() == f"plain PyTorch {torch.__version__}, one operator at a time"
        with ops.use("eager"):
            assert ops.backend() == f"PyTorch {torch.__version__}, fused attention on folded windows"
        assert ops.backend().startswith("plain PyTorch")
    assert ops.backend() == before


def test_an_error_inside_the_block_ends_the_choice_too():
    before = ops.backend()
    other = "reference" if "fused" in before else "eager"
    with pytest.raises(KeyError), ops.use(other):
        raise KeyError
    assert ops.backend() == before


def test_unknown_names_are_refused():
    with (
        pytest.raises(ValueError, match="run as one of auto, eager, reference, triton, not as 'fast'"),
        ops.use("fast"),
    ):
        pass
    x, identity = image(1, 7, 7, 32), nn.Identity()
    for backend in BACKENDS:
        with (
            ops.use(backend),
            pytest.raises(ValueError, match="window_padding must be one of mask, zero, mask-both, not 'reflect'"),
        ):
            ops.window_attention(x, identity, identity, identity, 1, WINDOW, "reflect")


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, "fused"),
        pytest.param("auto", "fused", marks=pytest.mark.slow),
        ("reference", "one operator"),
        ("fast", "not as 'fast'"),
    ],
)
def test_environment_variable_chooses_the_backend(value: str | None, printed: str):
    environment = {name: text for name, text in os.environ.items() if name != "TWINS_OPS"}
    if value is not None:
        environment["TWINS_OPS"] = value
    done = subprocess.run(
        [sys.executable, "-c", "from twins import ops; print(ops.backend())"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if value == "fast" else 0)
    assert printed in done.stdout + done.stderr


@pytest.mark.parametrize("there", [True, False])
def test_kernels_for_a_gpu_are_named_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool):
    monkeypatch.setattr(ops, "_chosen", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert ops.backend().endswith("kernels for maps on a GPU") == there
