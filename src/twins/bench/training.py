"""Training steps, ours and timm's: forward, backward and AdamW's update of all weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..training.malloc_settings import keep_freed_memory
from .networks import our_network, timm_network
from .plan import Backend, Case
from .runners import Outputs, Runner, Weights
from .worker_process import Calls, WorkerProcess


def start_training(backend: Backend, case: Case, weights: Weights, images: Tensor) -> Runner:
    """A step on the same images again and again; in bf16 under autocast, with weights and update in float32.

    Each backend trains in a process of its own, set up as its own training script sets it up. Parity is judged by the
    loss of a first step and by gradients at both ends of the network, before any update.
    """
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    process = WorkerProcess(training_calls, backend, case, arrays, images.numpy())

    def outputs() -> Outputs:
        return [torch.from_numpy(array) for array in process.call("gradients")]

    return Runner(backend, outputs, partial(process.call, "step"), backend.dtype)


def training_calls(backend: Backend, case: Case, arrays: dict[str, Any], pixels: Any) -> Calls:
    """A network in training on images (B, 3, H, W): "gradients" (the loss, and two gradients) and "step"."""
    weights = {name: torch.from_numpy(array) for name, array in arrays.items()}  # which the steps change
    model = timm_network(case, weights) if backend.engine == "timm" else our_network(case, weights)
    model.train()  # no drop-path: both get every block
    fused = None if backend.engine == "timm" else True  # as each one's own training script updates
    if backend.engine != "timm":  # and as `twins train` does, for as long as this process lives
        keep_freed_memory()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=fused)
    images = torch.from_numpy(pixels)
    labels = torch.arange(len(images))
    parameters = dict(model.named_parameters())

    def gradients() -> list[Any]:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=backend.dtype == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        ends = [parameters[name].grad for name in ("patch_embeds.0.proj.weight", "head.weight")]
        return [loss.detach().numpy(), *(grad.numpy() for grad in ends if grad is not None)]

    def step() -> None:
        gradients()
        optimizer.step()

    return {"gradients": gradients, "step": step}
