"""Speed and memory on a GPU: us, timm as it is and timm with one reshape repaired, eager and compiled, in one run.

Everything is in pure bfloat16 with TF32 allowed, the images are on the card, and all have the same weights. The window
attention of timm hands five-dimensional tensors to PyTorch's, whose fused kernels take four: `repair` folds windows
into the batch, so that nothing is claimed which is that reshape's merit.

A figure is written as soon as it is there, and a second call goes on with what is missing: compiling for the largest
networks takes minutes.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cuda_graphs import graphed
from .contenders import Weights, draw_weights, infer, our_network, timm_network
from .machine import versions
from .measuring import Say, or_say
from .parity import compare
from .plan import Case, Contender
from .results import Row, results_file, row_of, write_rows

_COMPILE = {"compiled": "default", "max-autotune": "max-autotune"}
WORK = (
    ("classifier", (224, 224), 256),
    ("classifier", (224, 224), 1),
    ("backbone", (800, 1216), 1),
    ("training", (224, 224), 256),
)


class GpuContender(NamedTuple):
    """Whose network, and how it is run."""

    whose: str  # "twins", "timm" or "timm repaired"
    how: str = ""  # a key of _COMPILE, or "graphed"; empty: as it is

    @property
    def title(self) -> str:
        return f"{self.whose} {self.how or 'eager'} bf16"


CONTENDERS = (
    GpuContender("twins"),
    GpuContender("timm"),
    GpuContender("twins", "compiled"),
    GpuContender("timm", "compiled"),
    GpuContender("timm repaired"),
    GpuContender("timm repaired", "compiled"),
    GpuContender("twins", "graphed"),
    GpuContender("timm", "max-autotune"),
)


def bench_gpu(network: str, out: Path, limit: float, say: Say) -> bool:
    """Measure what today's file of this card lacks of a network; no contender begins after `limit` seconds.

    Answers whether nothing is missing. Without a CUDA device it says so, writes nothing and answers True.
    """
    if not torch.cuda.is_available():
        say("not measured: no CUDA device")
        return True
    torch.set_float32_matmul_precision("high")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((out / ".inductor").resolve()))
    machine = {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    path = results_file(machine, out, kind="gpu")
    done = _measured(path, network)
    started = time.perf_counter()
    for case, contender in _missing(network, done):
        if time.perf_counter() - started > limit:
            say(f"{limit:.0f} s have passed; call again to go on with {contender.title}, {case.title}")
            return False
        row = row_of(case, contender.title) | _measure_or_say(case, contender, say)
        write_rows([row], machine, versions(), path)
        say(_line(case, row))
    for line in ratios(json.loads(path.read_text(encoding="utf-8"))["rows"], network):
        say(line)
    say(f"written to {path}")
    return True


def _missing(network: str, done: set[tuple[Any, ...]]) -> Iterator[tuple[Case, GpuContender]]:
    for what, size, batch in WORK:
        case = Case(what, network, size, batch, ())
        for contender in CONTENDERS:
            if contender.how == "graphed" and (what == "training" or batch > 1):
                continue
            if (what, f"{size[0]}x{size[1]}", batch, contender.title) not in done:
                yield case, contender


def _measured(path: Path, network: str) -> set[tuple[Any, ...]]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return {(r["what"], r["size"], r["batch"], r["contender"]) for r in rows if r["network"] == network}


def _measure_or_say(case: Case, contender: GpuContender, say: Say) -> Row:
    """Figures, or a note that tells why there are none; memory is given back either way."""
    try:
        return or_say(partial(_measure, case, contender), contender.title, say) or {"note": "failed"}
    finally:
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()


def _measure(case: Case, contender: GpuContender) -> Row:
    weights = draw_weights(case)
    images = torch.randn(case.batch, 3, *case.size, generator=torch.Generator().manual_seed(1)).cuda()
    reference = _reference(case, weights, images)
    model = _network(case, contender, weights)
    torch.cuda.reset_peak_memory_stats()
    if case.what == "training":
        work, answer = _training_step(model, images.bfloat16())
    else:
        work = answer = partial(infer, model, images.bfloat16())
    parity = compare(Contender("twins", "bf16"), [t.float() for t in answer()], reference)
    row: Row = {"error": parity.error, "bound": parity.bound, "parity": parity.holds}
    if not parity.holds:
        return row
    seconds = median_seconds(work)
    row |= {"images_per_second": case.batch / seconds, "ms_per_image": 1000 * seconds / case.batch}
    return row | {"peak_mb": torch.cuda.max_memory_allocated() / 1e6}


def _network(case: Case, contender: GpuContender, weights: Weights) -> nn.Module:
    if contender.whose == "twins":
        model = our_network(case, weights)
    else:
        model = timm_network(case, weights)
        if contender.whose == "timm repaired":
            repair(model)
    model = model.cuda().bfloat16()
    if contender.how == "graphed":
        return graphed(model)
    if contender.how:
        mode = _COMPILE[contender.how]
        if case.what == "training" and mode == "max-autotune":
            mode += "-no-cudagraphs"  # gradients outlive the step that they are recorded in
        model.compile(mode=mode, dynamic=False)
    return model


def repair(model: nn.Module) -> None:
    """Let timm's window attention call PyTorch's with four dimensions: windows and pictures are one batch."""
    for module in model.modules():
        if type(module).__name__ == "LocallyGroupedAttn":
            module.forward = partial(_attend_in_four_dimensions, module)


def _attend_in_four_dimensions(module: Any, x: Tensor, size: tuple[int, int]) -> Tensor:
    (B, N, C), (H, W), side = x.shape, size, module.ws
    x = F.pad(x.view(B, H, W, C), (0, 0, 0, -W % side, 0, -H % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    x = x.view(B, rows, side, columns, side, C).transpose(2, 3).reshape(-1, side * side, C)
    q, k, v = module.qkv(x).unflatten(2, (3, module.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, rows, columns, side, side, C)
    y = y.transpose(2, 3).reshape(B, rows * side, columns * side, C)[:, :H, :W].reshape(B, N, C)
    answer: Tensor = module.proj(y)
    return answer


def _reference(case: Case, weights: Weights, images: Tensor) -> list[Tensor]:
    """timm in float32 proper, so that nothing of ours judges our kernels."""
    model = timm_network(case, weights).cuda()
    with _full_precision():
        if case.what == "training":
            return _gradients(model.train(), images, pieces=8)
        parts = [infer(model, part) for part in images.split(16)]
    return [torch.cat(maps) for maps in zip(*parts, strict=True)]


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _gradients(model: nn.Module, images: Tensor, pieces: int = 1) -> list[Tensor]:
    """The loss, and gradients at both ends of the network; in pieces where memory would not do for all at once."""
    model.zero_grad()
    loss = torch.zeros((), device=images.device)
    labels = torch.arange(len(images), device=images.device)
    for part, wanted in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
        share = F.cross_entropy(model(part).float(), wanted, reduction="sum") / len(images)
        share.backward()
        loss += share.detach()
    ends = [model.get_parameter(name).grad for name in ("patch_embeds.0.proj.weight", "head.weight")]
    return [loss, *(grad.clone() for grad in ends if grad is not None)]


def _training_step(model: nn.Module, images: Tensor) -> tuple[Callable[[], object], Callable[[], list[Tensor]]]:
    model.train()  # no drop-path: both get every block
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step() -> None:
        _gradients(model, images)
        optimizer.step()

    return step, partial(_gradients, model, images)


def median_seconds(work: Callable[[], object], blocks: int = 7, seconds: float = 0.5) -> float:
    """Seconds a call: the median over blocks of calls, each timed between two waits for the card."""
    for _ in range(3):
        work()
    calls = max(1, round(seconds / max(_block(work, 3), 1e-6)))
    return sorted(_block(work, calls) for _ in range(blocks))[blocks // 2]


def _block(work: Callable[[], object], calls: int) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(calls):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / calls


def _line(case: Case, row: Row) -> str:
    if "images_per_second" not in row:
        return f"{case.title}: {row['contender']}: {row['note'] or 'differs, no figure'}"
    speed, memory = row["images_per_second"], row["peak_mb"]
    return f"{case.title}: {row['contender']}: {speed:,.0f} images/s, peak {memory:,.0f} MB, error {row['error']:.1e}"


def ratios(rows: Sequence[Row], network: str) -> list[str]:
    """For each piece of a network's work, how many times as fast our best form is as each of the peers."""
    lines = []
    for what, size, batch in WORK:
        key = (network, what, f"{size[0]}x{size[1]}", batch)
        here = [row for row in rows if (row["network"], row["what"], row["size"], row["batch"]) == key]
        speeds = {row["contender"]: row["images_per_second"] for row in here if "images_per_second" in row}
        ours = max((speed for title, speed in speeds.items() if title.startswith("twins ")), default=None)
        peers = {title: speed for title, speed in speeds.items() if not title.startswith("twins ")}
        if ours is not None and peers:
            times = ", ".join(f"{ours / speed:.2f} x {title}" for title, speed in peers.items())
            lines.append(f"{', '.join(map(str, key))}: {times}")
    return lines
