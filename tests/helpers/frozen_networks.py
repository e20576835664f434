"""Networks for the tests of the CPU engine: every parameter random, so that a mistake anywhere shows in the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import twins
from twins import ops

# The two families, every kind of block and heads of 16, 32 and 64 channels, small enough to run hundreds of times.
SMALL: dict[str, dict[str, Any]] = {
    "twins_svt_small": {"embed_dims": (16, 32, 64, 96), "num_heads": (1, 2, 1, 3), "depths": (2, 3, 2, 2)},
    "twins_pcpvt_small": {"embed_dims": (64, 32, 48, 128), "num_heads": (1, 2, 3, 2), "depths": (2, 1, 2, 2)},
}


def network(name: str, **keywords: Any) -> Any:
    """One of the six, or a departure from it, with random parameters."""
    with torch.device("meta"):  # the initial weights would be drawn for nothing
        model = twins.create_model(name, **keywords)
    return randomised(model.to_empty(device="cpu"))


def small(name: str = "twins_svt_small", **keywords: Any) -> Any:
    """A classifier for 10 classes, or a backbone, of the family of `name`."""
    return network(name, **{"num_classes": 10} | SMALL[name] | keywords)


def randomised(model: nn.Module, spread: float = 1.0) -> nn.Module:
    """Parameters none of which is 0 or 1, of the size that keeps activations near 1; a larger `spread` does not."""
    with torch.no_grad():
        for module in model.modules():
            for name, parameter in module.named_parameters(recurse=False):
                noise = torch.randn(parameter.shape)
                if isinstance(module, nn.LayerNorm):
                    parameter.copy_(0.2 * noise + (name == "weight"))
                else:
                    inputs = parameter[0].numel() if parameter.ndim > 1 else 9
                    parameter.copy_(noise * spread * inputs**-0.5)
    return model.eval()


def outputs_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Logits, or maps, as a list."""
    with torch.no_grad():
        outputs = model(images)
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def reference_outputs_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The same by the reference of every sublayer."""
    with ops.use("reference"):
        return outputs_of(model, images)


def assert_close(actual: Sequence[Tensor], expected: Sequence[Tensor], within: float = 1e-5) -> None:
    """Nowhere further apart than `within`, times the largest value where that is above 1."""
    assert [a.shape for a in actual] == [e.shape for e in expected]
    for i, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
        apart = float((ours.double() - theirs.double()).abs().max())
        bound = within * max(1.0, float(theirs.abs().max()))
        assert apart <= bound, f"output {i} is {apart:.2e} away, and {bound:.2e} is allowed"


def relative_rms(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The error's root mean square over that of the outputs about their mean, the worst of the outputs."""
    return max(
        float((ours.double() - theirs.double()).pow(2).mean().sqrt() / theirs.double().std(correction=0))
        for ours, theirs in zip(actual, expected, strict=True)
    )
