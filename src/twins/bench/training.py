"""Training steps, ours and timm's: forward, backward and AdamW's update of all weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .contenders import our_network, timm_network
from .plan import Case, Contender
from .runners import Answer, Runner, Weights


def start_training(contender: Contender, case: Case, weights: Weights, images: Tensor) -> Runner:
    """A step on the same pictures again and again; in bf16 under autocast, with weights and update in float32.

    Parity is judged by the loss of a first step and by gradients at both ends of the network, before any update.
    """
    own = {name: weight.clone() for name, weight in weights.items()}  # which the steps change
    model = timm_network(case, own) if contender.engine == "timm" else our_network(case, own)
    model.train()  # no drop-path: both get every block
    fused = None if contender.engine == "timm" else True  # as each one's own training script updates
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=fused)
    labels = torch.arange(len(images))
    parameters = dict(model.named_parameters())

    def gradients() -> Answer:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=contender.dtype == "bf16"):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        ends = [parameters[name].grad for name in ("patch_embeds.0.proj.weight", "head.weight")]
        return [loss.detach(), *(grad for grad in ends if grad is not None)]

    def step() -> None:
        gradients()
        optimizer.step()

    return Runner(contender, gradients, step, contender.dtype)
