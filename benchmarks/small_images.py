"""A training step of small images: the network, batch and optimiser of the recipe `digits`, ours beside timm's.

python benchmarks/small_images.py [--amp]         # half a minute on two cores; blocks of both by turns, medians

A step is what the training loop does: forward, backward, the loss as a number, clipping of gradients, the update. Each
network trains in a process of its own: ours set up as `twins train` does it, timm's as its training script does.
"""

from __future__ import annotations

import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from twins.bench.worker_process import Calls, WorkerProcess
from twins.optional_dependencies import need
from twins.recipes.classify import CLASSIFY
from twins.timing import Pace, alternate
from twins.training import optim
from twins.training.malloc_settings import keep_freed_memory
from twins.zoo import create_model


def training_step(engine: str, amp: bool) -> Calls:
    recipe = CLASSIFY["digits"].resolve(processes=1)
    kwargs = {**recipe.model_kwargs, "in_chans": 1, "num_classes": 10, "drop_path_rate": recipe.drop_path}
    torch.manual_seed(0)
    if engine == "twins":
        keep_freed_memory()
        model: nn.Module = create_model(recipe.model, **kwargs)
        optimizer = optim.make_optimizer(recipe, model)
    else:
        timm = need("timm", extra="bench")
        kwargs["wss"] = [kwargs.pop("window_size")] * 4
        model = timm.create_model(recipe.model, img_size=recipe.img_size, **kwargs)
        optimizer = need("timm.optim", extra="bench").create_optimizer_v2(
            model, opt=recipe.opt, lr=recipe.lr, weight_decay=recipe.weight_decay
        )
    model.train()
    images = torch.randn(recipe.batch_size or 64, 1, recipe.img_size, recipe.img_size)
    labels = torch.arange(len(images)) % 10

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        number = loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad or 5.0)
        optimizer.step()
        optimizer.zero_grad()
        return number

    return {"step": step}


def main() -> None:
    amp = "--amp" in sys.argv[1:]
    steps = {engine: partial(WorkerProcess(training_step, engine, amp).call, "step") for engine in ("twins", "timm")}
    times: dict[str, list[float]] = {}
    alternate(steps, Pace(blocks=7, seconds=1.0), times)
    ours, theirs = (1000 * sorted(times[engine])[len(times[engine]) // 2] for engine in steps)
    dtype = "bfloat16 autocast" if amp else "float32"
    print(f"{dtype}: twins {ours:.1f} ms, timm {theirs:.1f} ms a step; {theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
