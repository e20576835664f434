"""Speed of the networks in plain PyTorch against timm's, side by side in one process.

Blocks of the two alternate, and medians over blocks are compared, so that a busy moment of the machine falls on both.
No figure is given before both answer the same. Writes `benchmarks/against_timm-DATE.json`.

    python benchmarks/against_timm.py --models twins_svt_small --batch-sizes 1 16 --train
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import twins
from twins.run import provenance

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=twins.list_models(), help="networks to compare")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 16], help="pictures a forward")
    parser.add_argument("--blocks", type=int, default=7, help="alternating blocks of each")
    parser.add_argument("--seconds", type=float, default=1.0, help="least length of a block")
    parser.add_argument("--train", action="store_true", help="forward and backward too, at the largest batch")
    args = parser.parse_args()

    rows = []
    print(f"{'network':20} {'what':>14} {'timm':>8} {'twins':>8}  ratio   (images a second, medians)")
    for name in args.models:
        ours, theirs = pair(name)
        works = [(f"forward, {size}", size, forward) for size in args.batch_sizes]
        if args.train:
            works.append((f"training, {max(args.batch_sizes)}", max(args.batch_sizes), step))
        for what, size, work in works:
            images = torch.randn(size, 3, 224, 224)
            times = alternate(work, ours, theirs, images, args.blocks, args.seconds)
            speed = {who: size / statistics.median(t) for who, t in times.items()}
            row = {"network": name, "what": what, **speed, "ratio": speed["twins"] / speed["timm"]}
            rows.append(row)
            print(f"{name:20} {what:>14} {speed['timm']:8.2f} {speed['twins']:8.2f}  {row['ratio']:.2f}", flush=True)
    path = HERE / f"against_timm-{time.strftime('%Y-%m-%d')}.json"
    about: dict[str, Any] = {"timm": timm.__version__, "processor": processor(), **provenance()}
    path.write_text(json.dumps({"ran_on": about, "dtype": "float32", "rows": rows}, indent=1) + "\n")
    draw(rows, about["processor"], HERE / "against_timm.png")
    print(f"written to {path} and against_timm.png beside it")


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """Our network and timm's with the same weights, once they have answered the same."""
    theirs = timm.create_model(name).eval()
    ours = twins.create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        difference = float((ours(images) - theirs(images)).abs().max())
    if difference > 1e-5:
        raise SystemExit(f"{name}: logits differ by {difference:.1e}; no figures without parity")
    return ours, theirs


def forward(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def step(model: nn.Module, images: Tensor) -> None:
    model(images).square().mean().backward()
    model.zero_grad()


def alternate(
    work: Callable[[nn.Module, Tensor], None],
    ours: nn.Module,
    theirs: nn.Module,
    images: Tensor,
    blocks: int,
    seconds: float,
) -> dict[str, list[float]]:
    """Seconds a call, one figure a block."""
    times: dict[str, list[float]] = {"timm": [], "twins": []}
    for block in range(blocks + 1):  # the first warms up
        for who, model in (("timm", theirs), ("twins", ours)):
            started, calls = time.perf_counter(), 0
            while calls == 0 or time.perf_counter() - started < seconds:
                work(model, images)
                calls += 1
            if block:
                times[who].append((time.perf_counter() - started) / calls)
    return times


def draw(rows: list[dict[str, Any]], machine: str, path: Path) -> None:
    """How many times timm's speed, a bar for each network and kind of work."""
    kinds = list(dict.fromkeys(row["what"] for row in rows))
    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure((9, 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(kinds)
    for k, kind in enumerate(kinds):
        ratios = [row["ratio"] for row in rows if row["what"] == kind]
        bars = axes.bar([i + k * width for i in range(len(ratios))], ratios, width * 0.92, label=kind)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.axhline(1.0, color="#333333", linewidth=1)
    axes.set_xticks([i + (len(kinds) - 1) * width / 2 for i in range(len(names))], names, fontsize=8)
    axes.set_ylabel("times timm's speed")
    axes.set_title(f"plain PyTorch, float32, 224 x 224, {machine}", fontsize=9)
    axes.set_ylim(0, 1.25 * max(row["ratio"] for row in rows))
    axes.legend(frameon=False, fontsize=8, ncols=len(kinds), loc="upper right")
    figure.savefig(path, dpi=90)


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
