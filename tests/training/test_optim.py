"""The optimiser that a recipe asks for: which parameters it moves, and by how much."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from twins.recipes import ClassifyRecipe
from twins.training.optim import make_optimizer

pytest.importorskip("timm")


def updates(model: nn.Module, optimizer: torch.optim.Optimizer, count: int = 5) -> None:
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_in_one_pass_is_adam(name: str):
    recipe = ClassifyRecipe(opt=name, lr=1e-2, weight_decay=0.05)
    model = nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.Linear(5, 3, bias=False))
    plain = copy.deepcopy(model)
    optimizer, plain_optimizer = make_optimizer(recipe, model), make_optimizer(recipe, plain)
    assert optimizer.defaults["fused"]
    for group in plain_optimizer.param_groups:
        group.update(fused=False, foreach=False)
    updates(model, optimizer)
    updates(plain, plain_optimizer)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_an_optimiser_that_cannot_is_not_asked_to():
    optimizer = make_optimizer(ClassifyRecipe(opt="lamb", lr=1e-2), nn.Linear(3, 2))
    assert "fused" not in optimizer.defaults
