"""Triton kernels against the reference in double precision: outputs and gradients, at every width of the networks.

On a machine with a GPU they run there, and in bfloat16 too; elsewhere by Triton's interpreter (see conftest.py), whose
bfloat16 is wrong. What a GPU would run is compiled here all the same, for cards that are not there.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import twins
from helpers.grids import every_pair
from twins import ops
from twins.model import VARIANTS

pytest.importorskip("triton")

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
# Root mean square of the error over that of the value: a few roundings of the type; on a GPU float32 is TF32.
BOUNDS = {torch.float32: 5e-3 if GPU else 5e-6, torch.float16: 5e-3} | ({torch.bfloat16: 4e-2} if GPU else {})
STAGES = sorted(
    {stage for v in VARIANTS.values() for stage in zip(v.embed_dims, v.num_heads, v.mlp_ratios, strict=True)}
)
WIDTHS = sorted({(width, heads) for width, heads, _ in STAGES})
Sublayer = Callable[..., Tensor]


def one_dtype_each(name: str, values: Sequence[Any]) -> pytest.MarkDecorator:
    """All values in all dtypes, marked slow but for one dtype per value, by turns."""
    parameters = [
        pytest.param(value, dtype, marks=() if i % len(BOUNDS) == j else pytest.mark.slow, id=f"{value}-{dtype}")
        for i, value in enumerate(values)
        for j, dtype in enumerate(BOUNDS)
    ]
    return pytest.mark.parametrize((name, "dtype"), parameters)


pytestmark = [
    pytest.mark.usefixtures("nan_memory"),
    # Of Triton 3.6's interpreter, which NumPy 2.4 and later refuse: there it needs an older one.
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def tensor_cores() -> Iterator[None]:
    """On a GPU kernels multiply float32 as TF32 only."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if GPU else before)
    yield
    torch.set_float32_matmul_precision(before)


def noisy(module: nn.Module) -> nn.Module:
    """With weights, biases and norms that are not the trivial 0 and 1."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) / math.sqrt(parameter.shape[-1]))
    return module


def values_and_gradients(backend: str, sublayer: Sublayer, x: Tensor, modules: list[nn.Module | None]) -> list[Tensor]:
    x = x.clone().requires_grad_()
    with ops.use(backend):
        y = sublayer(x, *modules)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    parameters = [p for module in modules if module is not None for p in module.parameters()]
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), [x, *parameters])]


def errors(sublayer: Sublayer, x: Tensor, *modules: nn.Module | None, dtype: torch.dtype) -> list[float]:
    """Of the output and the gradients w.r.t. x and all parameters; both backends start from their rounded values."""
    x = x.to(dtype)
    rounded = [copy.deepcopy(module).to(DEVICE, dtype) if module is not None else None for module in modules]
    exact = [copy.deepcopy(module).double() if module is not None else None for module in rounded]
    found = values_and_gradients("triton", sublayer, x.to(DEVICE), rounded)
    expected = values_and_gradients("reference", sublayer, x.to(DEVICE).double(), exact)
    assert all(a.dtype == dtype and a.shape == e.shape for a, e in zip(found, expected, strict=True))
    # What is exactly zero, as a lone key's gradient is, has an absolute bound.
    return [float((a.double() - e).norm() / max(e.norm(), 1.0)) for a, e in zip(found, expected, strict=True)]


def assert_right(sublayer: Sublayer, x: Tensor, *modules: nn.Module | None, dtype: torch.dtype) -> None:
    assert max(errors(sublayer, x, *modules, dtype=dtype)) < BOUNDS[dtype]


class Seen(TorchDispatchMode):
    """Names of our operators that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "twins":
            self.names.add(func.name().removeprefix("twins::"))
        return func(*args, **kwargs or {})


def lsa(heads: int, padding: str, window: int = 7) -> Sublayer:
    return lambda x, norm, qkv, proj: ops.window_attention(x, norm, qkv, proj, heads, window, padding)


def lsa_layers(C: int) -> list[nn.Module]:
    return [noisy(nn.LayerNorm(C)), noisy(nn.Linear(C, 3 * C)), noisy(nn.Linear(C, C))]


def gsa(heads: int) -> Sublayer:
    return lambda x, norm, q, kv, proj, sr, sr_norm: ops.subsampled_attention(x, norm, q, kv, proj, heads, sr, sr_norm)


def gsa_layers(C: int, sr: int) -> list[nn.Module | None]:
    plain = [noisy(nn.LayerNorm(C)), noisy(nn.Linear(C, C)), noisy(nn.Linear(C, 2 * C)), noisy(nn.Linear(C, C))]
    return [*plain, *((noisy(nn.Conv2d(C, C, sr, sr)), noisy(nn.LayerNorm(C))) if sr > 1 else (None, None))]


# ---- outputs and gradients


# Narrow maps by the kernel of the whole sublayer, and in parts as wide ones, whose attention alone has a kernel.
KERNELS = ("fused", "in parts")


def choose(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "in parts":
        monkeypatch.setattr("twins.ops.triton.MAX_FUSED_WIDTH", 0)


@every_pair(
    kernel=KERNELS,
    dtype=tuple(BOUNDS),
    padding=ops.WINDOW_PADDINGS,
    size=[(7, 7), (8, 3), (3, 14), (1, 1)],
    head_size=[32, 64],
)
def test_window_attention(
    kernel: str,
    dtype: torch.dtype,
    padding: str,
    size: tuple[int, int],
    head_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(kernel, monkeypatch)
    assert_right(lsa(1, padding), torch.randn(2, *size, head_size), *lsa_layers(head_size), dtype=dtype)


@one_dtype_each("width_and_heads", WIDTHS)
def test_window_attention_at_every_width(width_and_heads: tuple[int, int], dtype: torch.dtype) -> None:
    width, heads = width_and_heads
    assert_right(lsa(heads, "zero"), torch.randn(1, 5, 7, width), *lsa_layers(width), dtype=dtype)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("window", "size"), [(1, (2, 3)), (4, (5, 6)), (8, (5, 6))])
def test_other_windows(kernel: str, window: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    choose(kernel, monkeypatch)
    assert_right(lsa(2, "mask", window), torch.randn(1, *size, 64), *lsa_layers(64), dtype=torch.float32)


@every_pair(
    kernel=KERNELS,
    dtype=tuple(BOUNDS),
    size_and_ratio=[((16, 8), 8), ((13, 9), 4), ((3, 5), 2), ((3, 1), 8), ((9, 13), 1)],  # 2, 6, 2, 1 and 117 keys
    head_size=[32, 64],
)
def test_subsampled_attention(
    kernel: str,
    dtype: torch.dtype,
    size_and_ratio: tuple[tuple[int, int], int],
    head_size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose(kernel, monkeypatch)
    size, sr = size_and_ratio
    assert_right(gsa(1), torch.randn(2, *size, head_size), *gsa_layers(head_size, sr), dtype=dtype)


@one_dtype_each("width_and_heads", WIDTHS)
def test_subsampled_attention_at_every_width(width_and_heads: tuple[int, int], dtype: torch.dtype) -> None:
    width, heads = width_and_heads
    assert_right(gsa(heads), torch.randn(1, 3, 5, width), *gsa_layers(width, 2), dtype=dtype)


def test_gradients_of_keys_do_not_depend_on_how_queries_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from twins.ops.triton import gsa_kernels as kernels

    layers, x = gsa_layers(32, 4), torch.randn(1, 10, 17, 32)
    found = []
    for programs in (1, 2, 512):  # 1, 2 and 3 shares of 170 queries
        monkeypatch.setattr(kernels, "_PROGRAMS", programs)
        found.append(errors(gsa(1), x, *layers, dtype=torch.float32))
    assert max(map(max, found)) < BOUNDS[torch.float32]


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize(("width", "ratio"), sorted({(width, ratio) for width, _, ratio in STAGES}))
def test_mlp(dtype: torch.dtype, width: int, ratio: int) -> None:
    if width > 128 and not GPU and dtype != torch.float32:
        pytest.skip("no kernel, and the library takes seconds")
    layers = [noisy(nn.LayerNorm(width, eps=1e-6)), noisy(nn.Linear(width, ratio * width))]
    last = noisy(nn.Linear(ratio * width, width))
    assert_right(ops.mlp, torch.randn(1, 3, 11, width) + 1, *layers, last, dtype=dtype)


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize(("tokens", "width"), [(1, 32), (700, 64), (1100, 96), (70, 320), (33, 1024), (3, 3000)])
def test_layer_norm(dtype: torch.dtype, tokens: int, width: int) -> None:
    """Of one program and several, whose parts of the parameters' gradients are summed."""

    def sublayer(x: Tensor, norm: nn.Module) -> Tensor:
        from twins.ops.triton import _normed

        return _normed(x, norm, x.dtype) if ops._chosen is not ops.reference else norm(x)

    seen = Seen()
    with seen:
        assert_right(sublayer, 3 * torch.randn(tokens, width) + 1, noisy(nn.LayerNorm(width, eps=1e-3)), dtype=dtype)
    assert seen.names == {"layer_norm", "layer_norm_backward"}


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("size", [(5, 8), (1, 4), (4, 1), (1, 1)], ids=str)
def test_peg(dtype: torch.dtype, size: tuple[int, int]) -> None:
    assert_right(ops.peg, torch.randn(2, *size, 96), noisy(nn.Conv2d(96, 96, 3, padding=1, groups=96)), dtype=dtype)


def test_peg_sums_weights_over_several_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    from twins.ops.triton import peg_kernels

    monkeypatch.setattr(peg_kernels, "PEG_STEPS", 2)  # 64 tokens a program
    conv = noisy(nn.Conv2d(16, 16, 3, padding=1, groups=16))
    assert_right(ops.peg, torch.randn(1, 11, 13, 16), conv, dtype=torch.float32)


@one_dtype_each("width", sorted({width for width, _ in WIDTHS}))
def test_peg_at_every_width(width: int, dtype: torch.dtype) -> None:
    conv = noisy(nn.Conv2d(width, width, 3, padding=1, groups=width))
    assert_right(ops.peg, torch.randn(1, 3, 3, width), conv, dtype=dtype)


@every_pair(dtype=tuple(BOUNDS), channels_and_patch=[(3, 4), (64, 2)], size=[(8, 8), (11, 6), (3, 9), (1, 1)])
def test_patch_embed(dtype: torch.dtype, channels_and_patch: tuple[int, int], size: tuple[int, int]) -> None:
    channels, patch = channels_and_patch
    proj, norm = noisy(nn.Conv2d(channels, 96, patch, patch)), noisy(nn.LayerNorm(96))
    assert_right(ops.patch_embed, torch.randn(2, *size, channels), proj, norm, dtype=dtype)


def test_a_map_whose_channels_are_not_last_in_memory() -> None:
    x = torch.randn(1, 64, 9, 8).permute(0, 2, 3, 1)
    conv = noisy(nn.Conv2d(64, 64, 3, padding=1, groups=64))
    for sublayer, layers in (
        (lsa(2, "zero"), lsa_layers(64)),
        (gsa(2), gsa_layers(64, 2)),
        (ops.peg, [conv]),
    ):
        assert_right(sublayer, x, *layers, dtype=torch.float32)


def strided(layer: nn.Module) -> nn.Module:
    """Every second number of twice as many: strides, which a kernel does not see."""
    for name, parameter in [*layer.named_parameters()]:
        setattr(layer, name, nn.Parameter(torch.stack([parameter, parameter + 1], dim=-1).detach()[..., 0]))
    return layer


def test_parameters_that_are_not_side_by_side_in_memory() -> None:
    x = torch.randn(1, 9, 8, 64, device=DEVICE)
    mlp = [nn.LayerNorm(64), nn.Linear(64, 256), nn.Linear(256, 64)]
    conv = nn.Conv2d(64, 64, 3, padding=1, groups=64)
    for sublayer, layers in (
        (lsa(2, "zero"), lsa_layers(64)), (gsa(2), gsa_layers(64, 2)), (ops.peg, [conv]), (ops.mlp, mlp),
    ):  # fmt: skip
        layers = [strided(noisy(layer)).to(DEVICE) for layer in layers]
        assert not any(parameter.is_contiguous() for layer in layers for parameter in layer.parameters())
        found, expected = (values_and_gradients(backend, sublayer, x, layers) for backend in ("triton", "reference"))
        for a, e in zip(found, expected, strict=True):
            assert float((a - e).norm() / e.norm()) < 2 * BOUNDS[torch.float32]


def test_a_batch_may_be_empty() -> None:
    x = torch.randn(0, 9, 8, 64, device=DEVICE)
    conv = nn.Conv2d(64, 64, 3, padding=1, groups=64)
    mlp = [nn.LayerNorm(64), nn.Linear(64, 256), nn.Linear(256, 64)]
    for sublayer, layers in (
        (lsa(2, "zero"), lsa_layers(64)), (gsa(2), gsa_layers(64, 2)), (ops.peg, [conv]), (ops.mlp, mlp),
    ):  # fmt: skip
        y, *gradients = values_and_gradients("triton", sublayer, x, [m.to(DEVICE) if m else None for m in layers])
        assert y.shape == x.shape
        assert all(not gradient.any() for gradient in gradients)


# ---- whole networks, autocast, checkpointing


def small_network(**settings: object) -> nn.Module:
    dims = {"embed_dims": (32, 64, 128, 192), "num_heads": (1, 2, 2, 3), "depths": (2, 2, 1, 2)}
    return noisy(twins.create_model("twins_svt_small", num_classes=5, **dims, **settings)).to(DEVICE)


EVERY_OPERATOR = {
    "fused_gsa", "fused_lsa", "fused_mlp", "gsa", "layer_norm", "lsa", "peg",
}  # fmt: skip


def test_a_network_uses_every_kernel_and_gives_the_same_logits() -> None:
    model, images = small_network(window_padding="zero").eval(), torch.randn(1, 3, 37, 34, device=DEVICE)
    with ops.use("reference"), torch.no_grad():
        expected = model.double()(images.double())
    seen = Seen()
    with ops.use("triton"), torch.no_grad(), seen:
        found = model.float()(images)
    assert seen.names == EVERY_OPERATOR
    assert float((found - expected).norm() / expected.norm()) < 4 * BOUNDS[torch.float32]


def test_checkpointing_gives_the_same_gradients() -> None:
    model, x = twins.model.Block, torch.randn(1, 8, 8, 32, device=DEVICE, requires_grad=True)
    attention = twins.model.LocallyGroupedAttention(32, 1, 7, "mask", 0.0)
    block = noisy(model(32, attention, 4, 0.0, 0.0, 1e-6)).to(DEVICE)
    with ops.use("triton"):
        plain = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
        again = torch.autograd.grad(checkpoint(block, x, use_reentrant=False).square().sum(), [x, *block.parameters()])
    assert all(map(torch.equal, plain, again))


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("window_attention", "fused_lsa"), ("subsampled_attention", "fused_gsa"),
        ("mlp", "fused_mlp"), ("peg", "peg"),
    ],
)  # fmt: skip
def test_autocast_computes_in_its_type(name: str, operator: str) -> None:
    """A float32 map and float32 weights: products in float16, gradients in float32."""
    sublayer, layers = {
        "window_attention": (lsa(1, "zero"), lsa_layers(32)),
        "subsampled_attention": (gsa(1), gsa_layers(32, 2)),
        "mlp": (ops.mlp, [noisy(nn.LayerNorm(32)), noisy(nn.Linear(32, 128)), noisy(nn.Linear(128, 32))]),
        "peg": (ops.peg, [noisy(nn.Conv2d(32, 32, 3, padding=1, groups=32))]),
    }[name]
    layers = [layer.to(DEVICE) if layer is not None else None for layer in layers]
    x = torch.randn(2, 8, 9, 32, device=DEVICE)
    expected = values_and_gradients("reference", sublayer, x, layers)
    with torch.autocast(DEVICE, torch.float16):
        seen = Seen()
        with seen:
            found = values_and_gradients("triton", sublayer, x, layers)
    assert operator in seen.names
    assert any(called.endswith("_backward") for called in seen.names)
    assert found[0].dtype == (torch.float32 if name == "peg" else torch.float16)
    assert all(gradient.dtype == torch.float32 for gradient in found[1:])
    worst = max(float((a.float() - e).norm() / max(e.norm(), 1.0)) for a, e in zip(found, expected, strict=True))
    assert worst < 5e-3
    assert worst > 1e-5 or name == "peg"


def test_runs_repeat_to_the_bit() -> None:
    x, layers = torch.randn(1, 20, 17, 32, device=DEVICE), [m.to(DEVICE) for m in gsa_layers(32, 4) if m]
    first, second = (values_and_gradients("triton", gsa(1), x, list(layers)) for _ in range(2))
    assert all(map(torch.equal, first, second))


# ---- what kernels leave to others


def kernels_called(call: Callable[[], Tensor]) -> set[str]:
    seen = Seen()
    with ops.use("triton"), torch.no_grad(), seen:
        call()
    return seen.names


class Doubled(nn.Linear):
    """An adapter, as it were: does something else than its parameters say."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "case", ["dropout", "double", "odd head", "wide", "adapter", "hook", "backward hook", "no bias", "quantised"]
)
def test_what_a_kernel_does_not_take_is_computed_by_pytorch(case: str) -> None:
    C = 256 if case == "wide" else 48
    norm, fc1, fc2 = nn.LayerNorm(C), nn.Linear(C, 4 * C, bias=case != "no bias"), nn.Linear(4 * C, C)
    x, dropout = torch.randn(1, 2, 3, C), 0.5 if case == "dropout" else 0.0
    called: list[str] = []
    if case == "adapter":
        fc1 = Doubled(C, 4 * C)
    if case == "hook":
        fc1.register_forward_hook(lambda *_: called.append("hook"))
    if case == "backward hook":
        fc1.register_full_backward_hook(lambda *_: called.append("hook"))
    if case == "quantised":  # whose weight is more than the numbers it shows
        fc1.weight = nn.Parameter(TwoTensor(fc1.weight.detach(), fc1.weight.detach()))
    if case == "double":
        x, norm, fc1, fc2 = x.double(), norm.double(), fc1.double(), fc2.double()
    x, norm, fc1, fc2 = x.to(DEVICE), norm.to(DEVICE), fc1.to(DEVICE), fc2.to(DEVICE)

    def call() -> Tensor:
        if case == "odd head":  # 24 channels
            return ops.window_attention(x, norm, nn.Linear(C, 3 * C).to(x), nn.Identity(), 2, 7, "mask")
        return ops.mlp(x, norm, fc1, fc2, dropout)

    assert kernels_called(call) <= {"layer_norm"}
    assert called == (["hook"] if case == "hook" else [])
    if case == "adapter":
        with ops.use("triton"):
            found = call()
        with ops.use("reference"):
            torch.testing.assert_close(found, call())


@pytest.mark.skipif(GPU, reason="the interpreter's limit")
def test_the_interpreter_is_not_given_bfloat16() -> None:
    x = torch.randn(1, 3, 3, 32).bfloat16()
    assert kernels_called(lambda: ops.peg(x, nn.Conv2d(32, 32, 3, padding=1, groups=32).bfloat16())) == set()


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Why kernels do not run on a machine so equipped, if they do not."""
    from twins.ops import gpu_backend

    def why(capability: tuple[int, int] | None, triton: bool = True) -> str | None:
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        monkeypatch.setattr(gpu_backend, "find_spec", lambda _: object() if triton else None)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        return gpu_backend.why_no_kernels()

    return why


def test_kernels_need_triton_and_an_ampere_card(decide: Callable[..., str | None]) -> None:
    assert decide((9, 0)) is None
    assert decide((8, 0)) is None
    assert decide((7, 5)) == "the GPU has compute capability 7.5, and they need 8.0"
    assert decide(None) == "there is no CUDA device"
    assert decide((9, 0), triton=False) == "Triton is not installed"


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if name not in ("TWINS_OPS", "TRITON_INTERPRET")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.mark.skipif(GPU, reason="asks what happens without one")
def test_without_a_gpu_pytorch_computes_and_says_so_once() -> None:
    code = """
import torch, twins
from twins import ops
model = twins.create_model("twins_svt_small", depths=(1, 1, 1, 1)).eval()
model(torch.randn(1, 3, 32, 32))
with ops.use("triton"):
    model(torch.randn(1, 3, 32, 32))
print(ops.backend())
"""
    done = run_python(code, TWINS_OPS="triton")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not as Triton kernels: there is no CUDA device") == 1
    assert "fused attention on folded windows" in done.stdout


def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "twins.ops"), ops.use("triton"):
        assert ops.backend().startswith("Triton ")
    assert "kernels" in caplog.text


# ---- what a GPU would run


@pytest.mark.skipif(GPU, reason="compiled for real there")
def test_a_network_is_traced_to_one_graph_that_keeps_the_kernels() -> None:
    """Exported with tensors that only say that they are on a GPU; the interpreter must be off, hence a process.

    And which type blocks are given under autocast there, where it is another than on a CPU.
    """
    code = """
import torch, twins
from collections import Counter
from torch._subclasses.fake_tensor import FakeTensorMode
from twins import ops
from twins.ops import triton as kernels

model = twins.create_model("twins_svt_small", depths=(2, 2, 2, 2)).eval()
torch.__future__.set_overwrite_module_params_on_conversion(True)
ops._chosen = kernels
with FakeTensorMode(allow_non_fake_inputs=True):
    on_gpu = {"dtype": torch.bfloat16, "device": "cuda"}
    model._apply(lambda weight: torch.empty(weight.shape, **on_gpu))
    program = torch.export.export(model, (torch.empty(2, 3, 224, 224, **on_gpu),))
names = [str(node.target) for node in program.graph.nodes]
print(sorted(Counter(name for name in names if name.startswith("twins.")).items()))

seen, model = set(), twins.create_model("twins_svt_small", depths=(2, 1, 1, 1)).eval()
for block in model.modules():
    if isinstance(block, twins.model.Block):
        block.register_forward_pre_hook(lambda block, inputs: seen.add(inputs[0].dtype))
with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cuda", torch.bfloat16):
    model._apply(lambda weight: torch.empty(weight.shape, device="cuda"))
    model(torch.empty(2, 3, 224, 224, device="cuda"))
print(seen)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    operators, autocast = done.stdout.splitlines()
    assert autocast == "{torch.float32}"  # what sublayers add to
    assert operators == str([
        ("twins.fused_gsa.default", 2), ("twins.fused_lsa.default", 2), ("twins.fused_mlp.default", 4),
        ("twins.gsa.default", 2), ("twins.lsa.default", 2), ("twins.peg.default", 4),
    ])  # fmt: skip


KEPT = """
import sys
import timm, torch, twins
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from twins import ops
from twins.ops import triton as kernels

torch.__future__.set_overwrite_module_params_on_conversion(True)
ops._chosen = kernels
ON_GPU = {"dtype": torch.bfloat16, "device": "cuda"}


class FusedWhereItFits(TorchFunctionMode):
    # Four-dimensional attention is fused on a card; five-dimensional, timm's in windows, never is.

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.scaled_dot_product_attention and args[0].ndim == 4:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args)[0]
        return function(*args, **(kwargs or {}))


def kept(create, name, batch=16):
    model, storages = create(name).train(), {}

    def note(tensor):
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True), FusedWhereItFits():
        model._apply(lambda weight: torch.empty(weight.shape, **ON_GPU))
        images, labels = torch.empty(batch, 3, 224, 224, **ON_GPU), torch.zeros(batch, dtype=int, device="cuda")
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = F.cross_entropy(model(images), labels)
        for weight in model.parameters():
            storages.pop(weight.untyped_storage()._cdata, None)
        return sum(storage.nbytes() for storage in storages.values()) / batch / 1e6


print(kept(twins.create_model, sys.argv[1]), kept(timm.create_model, sys.argv[1]))
"""


@pytest.mark.skipif(GPU, reason="measured there by `twins bench --device cuda`")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "twins_svt_small" else pytest.mark.slow) for name in VARIANTS]
)
def test_a_training_step_keeps_less_than_timms(name: str) -> None:
    """MB per image at 224 in bfloat16 that wait for the backward pass, weights not counted (`-s` prints them)."""
    pytest.importorskip("timm")
    done = run_python(KEPT, name)
    assert done.returncode == 0, done.stderr
    ours, timms = map(float, done.stdout.split())
    print(f"{name}: {ours:.1f} MB per image, timm {timms:.1f}")
    assert 0 < ours < 0.8 * timms


COMPILE = """
import sys
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from twins.ops.triton import gsa_fused, gsa_kernels, lsa_fused, lsa_kernels, mlp_fused, norm_kernels, peg_kernels

torch.set_float32_matmul_precision("high")  # as a card is asked for float32
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
capability, D, C, hidden = int(sys.argv[1]), *map(int, sys.argv[3:])
# Under autocast the map, norms and their gradients are in float32, what is multiplied in bfloat16.
dtype, of_map = {
    "bfloat16": (torch.bfloat16, torch.bfloat16), "float32": (torch.float32, torch.float32),
    "autocast": (torch.bfloat16, torch.float32),
}[sys.argv[2]]
started = []


class Recorded:
    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return lambda *arguments, **options: started.append((self.kernel, arguments, options))


for module in (lsa_kernels, gsa_kernels, lsa_fused, gsa_fused, norm_kernels, mlp_fused, peg_kernels):
    module.launchable = Recorded


def t(*shape, of=dtype):
    return torch.empty(*shape, dtype=of, device="meta")


qkv, dy = t(2, 9, 8, 6 * D), t(2, 9, 8, 2 * D)
in_windows = lsa_kernels.fits(8, D, dtype)
for fill in (None, t(6 * D)) if in_windows else ():
    lsa_kernels.lsa._init_fn(qkv, fill, 2, 8)
    lsa_kernels._lsa_backward._init_fn(dy, qkv, fill, 2, 8)
q, kv = t(2, 99, 2 * D), t(2, 49, 4 * D)
gsa_kernels._gsa_backward._init_fn(q, q, kv, *gsa_kernels.gsa._init_fn(q, kv, 2), 2)
tokens, norms = t(99, C, of=of_map), (t(C, of=of_map), t(C, of=of_map), 1e-6)
linear = t(hidden, C), t(hidden), t(C, hidden)
mlp_fused.fused_mlp._init_fn(tokens, *norms, *linear, t(C))
mlp_fused._mlp_backward._init_fn(t(99, C), tokens, *norms, *linear)
norm_kernels.layer_norm._init_fn(tokens, *norms, dtype)
norm_kernels._layer_norm_backward._init_fn(t(99, C), tokens, *norms)
x, heads, square, bias = t(2, 9, 8, C, of=of_map), C // D, t(C, C), t(C)
for clipped in (False, True) if in_windows else ():
    lsa_fused.fused_lsa._init_fn(x, *norms, t(3 * C, C), t(3 * C), square, bias, heads, 8, clipped)
gsa_fused.fused_gsa._init_fn(t(2, 99, C), square, bias, t(2, 49, 2 * C), square, bias, heads)
weight = t(C, 1, 3, 3, of=of_map)
peg_kernels.positional_encoding._init_fn(x, weight, t(C, of=of_map))
peg_kernels._peg_backward._init_fn(x, x, weight)

for kernel, arguments, options in started:
    signature, constants, hints = {}, {}, {}
    for i, (parameter, value) in enumerate(zip(kernel.params, arguments)):
        if parameter.is_constexpr:
            signature[parameter.name], constants[(i,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = POINTERS[value.dtype]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
        if isinstance(value, torch.Tensor) or (signature[parameter.name] == "i32" and value % 16 == 0):
            hints[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, hints)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    tensor_cores = int("mma" in compiled.asm["ptx"])
    print(kernel.__module__.split(".")[-1], kernel.__name__, compiled.metadata.shared, tensor_cores)
"""
SHARED_MEMORY = {80: 166_912, 86: 101_376, 90: 232_448}  # bytes a block may have (CUDA C++ programming guide)


def compile_for(capability: int, dtype: str, *sizes: int) -> list[tuple[str, int, bool]]:
    """Every kernel through ptxas: its name, bytes of shared memory, and whether it multiplies on tensor cores."""
    done = run_python(COMPILE, *map(str, (capability, dtype, *sizes)))
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return [(f"{module}.{name}", int(shared), mma == "1") for module, name, shared, mma in rows]


def check_compiled(capability: int, dtype: str, *sizes: int) -> None:
    compiled = compile_for(capability, dtype, *sizes)
    assert len(compiled) == (11 if dtype == "float32" and sizes[0] == 64 else 17)  # without LSA, which does not fit
    assert all(shared <= SHARED_MEMORY[capability] for _, shared, _ in compiled), compiled
    assert all(mma for name, _, mma in compiled if not name.startswith(("norm_kernels.", "peg_kernels."))), compiled


def test_kernels_compile_for_cards_that_are_not_here() -> None:
    check_compiled(90, "bfloat16", 32, 64, 256)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "autocast"])
@pytest.mark.parametrize("capability", [80, 86, 90])
@pytest.mark.parametrize(
    "sizes", [(64, 64, 512), (32, 96, 384), (64, 128, 1024), (32, 128, 1024), (16, 64, 256)], ids=str
)
def test_all_of_them_compile(capability: int, dtype: str, sizes: tuple[int, int, int]) -> None:
    check_compiled(capability, dtype, *sizes)


# ---- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="no CUDA device")
@pytest.mark.parametrize("name", VARIANTS)
def test_the_error_of_bfloat16_is_at_most_twice_timms(name: str) -> None:
    """Against float64, with the same weights: the root mean square error of the logits."""
    timm = pytest.importorskip("timm")
    ours = twins.create_model(name, window_padding="zero").eval().cuda()
    theirs = timm.create_model(name).eval().cuda()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, 224, 224, device="cuda")
    with torch.no_grad():
        with ops.use("reference"):
            exact = copy.deepcopy(ours).double()(images.double())
        with ops.use("triton"):
            found = ours.bfloat16()(images.bfloat16())
        timms = theirs.bfloat16()(images.bfloat16())
    assert float((found - exact).norm()) <= 2 * float((timms - exact).norm())


@pytest.mark.gpu
@pytest.mark.skipif(not GPU, reason="no CUDA device")
def test_compiling_keeps_the_kernels_and_the_gradients() -> None:
    model, images = small_network(), torch.randn(2, 3, 64, 64, device=DEVICE)
    with ops.use("triton"):
        expected = torch.autograd.grad(model(images).sum(), list(model.parameters()))
        found = torch.autograd.grad(torch.compile(model, fullgraph=True)(images).sum(), list(model.parameters()))
    for a, e in zip(found, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=2e-2, atol=2e-2)


# ---- trust


def test_kernels_that_are_right_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    from twins.ops.triton import self_test
    from twins.ops.triton.self_test import failure

    monkeypatch.setattr(self_test, "_SIZE", (1, 8, 9))

    assert failure(DEVICE) is None


@pytest.mark.parametrize("name", ["window_attention", "mlp", "peg"])
def test_kernels_that_are_wrong_are_not(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from twins.ops import triton as kernels
    from twins.ops.triton.self_test import failure

    right = getattr(kernels, name)
    monkeypatch.setattr(kernels, name, lambda *args: 1.1 * right(*args))
    assert "differs from plain PyTorch" in (failure(DEVICE) or "")


def test_a_kernel_that_does_not_compile_is_named_by_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from twins.ops import triton as kernels
    from twins.ops.triton.self_test import failure

    def fail(*_: object) -> Tensor:
        raise RuntimeError("ptxas fatal: no such card\nand much more")

    monkeypatch.setattr(kernels, "peg", fail)
    assert failure(DEVICE) == "RuntimeError: ptxas fatal: no such card"
