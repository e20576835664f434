"""The tables of docs/planning.md: published recipes planned on GPUs, and the model beside speeds that timm published.

python benchmarks/plans.py            # some minutes of one core; no GPU
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from twins.bench.machine import cpu_name
from twins.errors import TwinsError
from twins.planning.assumptions import Assumptions
from twins.planning.compute import roofline, update_bytes
from twins.planning.counted_step import count_step
from twins.planning.hardware import GPUS, Gpu
from twins.planning.plan_text import figures
from twins.planning.planned import plan_run
from twins.planning.subject import subject_of_recipe
from twins.recipes import find_recipe, list_recipes
from twins.zoo import create_model

COUNTS = {"classify": (8, 64, 512), "segment": (8,)}
# (images a second, batch) that timm 0.6 trained on an RTX 3090 under autocast, PyTorch 1.12: its repository's
# results/benchmark-train-amp-nchw-pt112-cu113-rtx3090.csv.
TIMM_ON_RTX_3090 = {
    "twins_pcpvt_small": (714.45, 256),
    "twins_pcpvt_base": (466.47, 192),
    "twins_pcpvt_large": (322.96, 128),
    "twins_svt_small": (851.73, 384),
    "twins_svt_base": (411.80, 192),
    "twins_svt_large": (289.11, 128),
}


def share_of_roofline(name: str, gpu: Gpu, images_per_second: float, batch: int) -> tuple[float, float, float]:
    """(images a second at the roofline, the share of it that was reached, the share of the peak)."""
    step = count_step(find_recipe(name), 1000, batch)
    update = update_bytes(step.trained, clip=False, ema=False) / (gpu.bandwidth * 1e9)
    most = batch / (roofline(step.operators, gpu).seconds + update)
    return most, images_per_second / most, images_per_second * step.flops_per_image / gpu.products("half")


def calibration() -> Iterator[str]:
    yield "| network | batch | timm, images/s | roofline of ours | reached | share of the peak |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, (speed, batch) in TIMM_ON_RTX_3090.items():
        most, share, mfu = share_of_roofline(name, GPUS["rtx3090"], speed, batch)
        yield f"| `{name}` | {batch} | {speed:.0f} | {most:.0f} | {100 * share:.0f} % | {100 * mfu:.0f} % |"


def published(task: str, gpu: Gpu) -> Iterator[str]:
    """A line for each published recipe and number of GPUs."""
    columns = ("images a GPU and step", "images a second, all GPUs", "hours", "cost, dollars",
               f"memory a GPU, GB of {gpu.memory:g}", "reading, MB/s, all GPUs", "CPU cores a GPU", "all-reduce, ms",
               "what binds")  # fmt: skip
    yield f"| recipe | GPUs | {' | '.join(columns)} |"
    yield f"|---|{'--:|' * len(columns)}---|"
    for name in list_recipes(task):
        if name in ("digits", "pictures"):
            continue
        subject = subject_of_recipe(name, task)
        for gpus in COUNTS[task]:
            try:
                plan = figures(plan_run(subject, gpus, gpu, Assumptions()), gpu)
                yield f"| `{name}` | {gpus} | {' | '.join(plan[column] for column in columns)} |"
            except TwinsError:
                yield f"| `{name}` | {gpus} | cannot share out the batch |{' |' * (len(columns) - 1)}"


def starting_an_operator(name: str) -> float:
    """Seconds of the CPU an operator of a training step, on maps so small that there is nothing to compute."""
    narrow = {"embed_dims": (8, 8, 8, 8), "num_heads": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)}
    recipe = find_recipe(name).replace(model_kwargs=narrow, img_size=32, amp=False)
    model = create_model(name, num_classes=10, drop_path_rate=recipe.drop_path, **narrow).train()
    images, labels = torch.randn(1, 3, 32, 32), torch.full((1, 10), 0.1)
    times = []
    for _ in range(60):
        started = time.process_time()
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        times.append(time.process_time() - started)
    return statistics.median(times) / len(count_step(recipe, 10, batch=1).operators)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"starting an operator: {1e6 * starting_an_operator('twins_svt_small'):.1f} µs of {cpu_name()}", end="\n\n")
    print(*calibration(), sep="\n")
    for task in ("classify", "segment"):
        print("", *published(task, GPUS["h100"]), sep="\n")
