"""Both implementations of attention against the formula, and which of them a training step runs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from twins import create_model, ops
from twins.ops import attention, eager, precision, reference

IMPLEMENTATIONS = (attention.fused, attention.products)
SHAPES = [
    (3, 2, 49, 49, 32),
    (2, 1, 50, 1, 32),
    (1, 3, 1, 7, 64),
    (2, 2, 21, 35, 24),
    (1, 1, 65, 256, 32),
    (0, 2, 9, 4, 32),
]
pytestmark = pytest.mark.usefixtures("nan_memory")


def random_qkv(B: int, h: int, N: int, M: int, D: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values; the latter two as views, as the sublayers hand them over."""
    q = torch.randn(B, h, N, D).to(dtype)
    kv = torch.randn(B, M, 2, h, D).to(dtype).permute(2, 0, 3, 1, 4)
    return q.requires_grad_(), kv[0].requires_grad_(), kv[1].requires_grad_()


def formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (torch.einsum("bhnd,bhmd->bhnm", q, k) / math.sqrt(q.shape[-1])).exp()
    return torch.einsum("bhnm,bhmd->bhnd", weights / weights.sum(dim=-1, keepdim=True), v)


def output_and_gradients(attend, q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:  # type: ignore[no-untyped-def]
    y = attend(q, k, v)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y, *torch.autograd.grad(y, (q, k, v), dy)]


@pytest.mark.parametrize("attend", IMPLEMENTATIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=str)
def test_attention_is_the_formula(attend, shape: tuple[int, ...], dtype: torch.dtype, tolerance: float):
    q, k, v = random_qkv(*shape, dtype=dtype)
    exact = output_and_gradients(formula, *(x.detach().double().requires_grad_() for x in (q, k, v)))
    for actual, expected in zip(output_and_gradients(attend, q, k, v), exact, strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", attention.NARROW, ids=str)
@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_errors_of_narrow_dtypes_are_their_rounding(shape: tuple[int, ...], dtype: torch.dtype):
    """A score s is rounded by |s| u, weights and outputs by u: relative errors of the softmax are at most (|s| + 2) u.

    Backward, weights times their gradients are rounded again, and twice that is allowed.
    """
    q, k, v = random_qkv(*shape, dtype=dtype)
    exact = output_and_gradients(formula, *(x.detach().double().requires_grad_() for x in (q, k, v)))
    score = float((torch.einsum("bhnd,bhmd->bhnm", q, k).detach().float() / math.sqrt(shape[-1])).abs().max())
    unit = torch.finfo(dtype).eps / 2
    for i, (actual, expected) in enumerate(zip(output_and_gradients(attention.products, q, k, v), exact, strict=True)):
        if shape[3] == 1 and i in (1, 2):  # one key has all the weight: nothing to learn for scores
            assert actual.abs().max() <= 8 * unit * shape[2]
            continue
        error = float(((actual.double() - expected).norm() / expected.norm()).detach())
        assert error <= (1 if i == 0 else 2) * (score + 2) * unit, f"tensor {i}: {error:.1e}"
        assert actual.dtype == dtype


@pytest.mark.parametrize("size", [(14, 14), (15, 9), (3, 7), (1, 1)], ids=str)
def test_sublayers_by_products_are_as_near_to_float32_as_the_reference(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    """Under bfloat16 autocast: errors of outputs and gradients, each against the reference without autocast."""
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, True)
    norm, qkv, proj, q, kv = (
        nn.LayerNorm(64),
        nn.Linear(64, 192),
        nn.Linear(64, 64),
        nn.Linear(64, 64),
        nn.Linear(64, 128),
    )
    sr, sr_norm = nn.Conv2d(64, 64, 2, 2), nn.LayerNorm(64)
    x = torch.randn(2, *size, 64, requires_grad=True)
    parts = [p for layer in (norm, qkv, proj, q, kv, sr, sr_norm) for p in layer.parameters()]

    def run(backend, autocast: bool) -> list[Tensor]:  # type: ignore[no-untyped-def]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = backend.window_attention(x, norm, qkv, proj, 2, 7, "mask")
            y = y.float() + backend.subsampled_attention(x, norm, q, kv, proj, 2, sr, sr_norm)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        return [y, *torch.autograd.grad((y * dy).sum(), [x, *parts])]

    exact = run(reference, autocast=False)

    def error(results: list[Tensor]) -> list[float]:
        return [
            float((a - e).detach().norm() / max(float(e.detach().norm()), 1e-3))
            for a, e in zip(results, exact, strict=True)
        ]

    for ours, theirs in zip(error(run(eager, autocast=True)), error(run(reference, autocast=True)), strict=True):
        assert ours <= 1.5 * theirs + 2e-3


# ---- which one runs


def chosen(monkeypatch: pytest.MonkeyPatch, q: Tensor, k: Tensor) -> str:
    ran: list[str] = []
    with monkeypatch.context() as patch:
        for implementation in IMPLEMENTATIONS:
            name = implementation.__name__
            patch.setattr(attention, name, lambda q, k, v, name=name: ran.append(name) or q)
        attention.attend(q, k, k)
    (name,) = ran
    return name


@pytest.mark.parametrize(
    ("dtype", "keys", "expected"),
    [
        (torch.bfloat16, 49, "products"),
        (torch.bfloat16, 1, "products"),
        (torch.float16, 256, "products"),
        (torch.bfloat16, 257, "fused"),
        (torch.float32, 49, "fused"),
        (torch.float64, 49, "fused"),
    ],
)
def test_products_where_gradients_are_computed_in_a_narrow_dtype_with_few_keys(
    dtype: torch.dtype, keys: int, expected: str, monkeypatch: pytest.MonkeyPatch
):
    q, k, _ = random_qkv(1, 1, 9, keys, 32, dtype)
    assert chosen(monkeypatch, q, k) == expected
    assert chosen(monkeypatch, q.detach(), k.detach()) == "fused"
    with torch.no_grad():
        assert chosen(monkeypatch, q, k) == "fused"
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert chosen(monkeypatch, q, k) == "fused"


def test_other_devices_keep_fused_attention(monkeypatch: pytest.MonkeyPatch):
    q = torch.empty(1, 1, 9, 32, dtype=torch.bfloat16, device="meta", requires_grad=True)
    assert chosen(monkeypatch, q, q) == "fused"


def test_the_choice_is_described(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, True)
    by_products = (
        f"PyTorch {torch.__version__}, attention on folded windows by batched products up to 256 keys while training, "
        "since the backward pass of the fused one in bfloat16 is slow on a CPU"
    )
    with ops.use("eager"):
        assert ops.backend("cpu", torch.bfloat16) == by_products
        for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16), ("cpu", None)):
            assert ops.backend(device, dtype).endswith(", fused attention on folded windows")
        monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, False)  # autocast is then left aside
        assert ops.backend("cpu", torch.bfloat16).endswith(", fused attention on folded windows")


@pytest.mark.parametrize("hardware", [True, False])
def test_a_training_step_under_autocast_compiles_to_one_graph(hardware: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, hardware)
    model = create_model("twins_svt_small", depths=(2, 2, 1, 1), num_classes=3)
    images = torch.randn(2, 3, 40, 64)

    def loss(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(images).float().square().mean()

    with ops.use("eager"):
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)(images)
        torch.testing.assert_close(compiled, loss(images), rtol=0.02, atol=1e-3)
    grads = torch.autograd.grad(compiled, list(model.parameters()))
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_an_export_holds_fused_attention_and_convolutions():
    model = create_model("twins_svt_small", depths=(2, 1, 1, 1), num_classes=3)  # gradients are on
    graph = torch.export.export(model, (torch.randn(2, 3, 56, 56),)).graph
    names = [str(node.target) for node in graph.nodes]
    assert any("scaled_dot_product_attention" in name for name in names)
    assert sum("conv2d" in name for name in names) == 9  # patches, pegs, and the one sub-sampling
    assert not any("bmm" in name for name in names)


def test_a_convolution_that_is_watched_is_called():
    conv, x = nn.Conv2d(4, 8, 2, 2), torch.randn(1, 4, 5, 4, requires_grad=True)
    calls: list[nn.Module] = []
    conv.register_forward_hook(lambda module, *_: calls.append(module))
    ops.patch_embed(x, conv, nn.LayerNorm(8))
    assert calls == [conv]


def test_steps_repeat_bit_for_bit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(precision.IN_HARDWARE, torch.bfloat16, True)
    model, images = create_model("twins_svt_small", depths=(2, 1, 1, 1), num_classes=3), torch.randn(2, 3, 56, 56)

    def gradients() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(images).float().square().mean()
        return list(torch.autograd.grad(loss, list(model.parameters())))

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))
