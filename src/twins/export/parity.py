"""Whether an exported file computes what the network did in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TwinsError
from ..runtimes.description import Description
from ..runtimes.network import ExportedNetwork

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-2}  # of an output's largest value
_PIXELS_APART = 1e-3  # of a class map: two classes may be as likely as one another
_SEED = 0


class DiffersError(TwinsError):
    """What was written computes something else than the network it was made of."""


def judge(written: ExportedNetwork, original: nn.Module) -> dict[str, Any]:
    """How a file was judged, for its description. Raises DiffersError, naming the output, beyond tolerance."""
    differences = compare_outputs(written, original, sample_images(written.description))
    tolerance = TOLERANCE[written.description.dtype]
    for name, difference in differences.items():
        allowed = _PIXELS_APART if name == "class_map" else tolerance
        if not difference <= allowed:
            raise DiffersError(
                f"{name} of the exported network differs by {difference:.1e} from PyTorch's, and {allowed:.0e} is "
                f"allowed ({written.runtime}): nothing was written"
            )
    return {"differences": differences, "runtime": written.runtime}


def compare_outputs(written: ExportedNetwork, original: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """The largest difference of each output, over the batches.

    Of logits it is a share of the largest value; of a class map, the share of pixels of another class.
    """
    differences = dict.fromkeys(written.description.outputs, 0.0)
    for images in batches:
        with torch.no_grad():
            expected = original(images)
        found = written(images)
        for name, output in expected.items():
            differences[name] = max(differences[name], _difference(found[name], output))
    return differences


def sample_images(description: Description) -> list[Tensor]:
    """Batches of noise in [0, 1] of sizes that the network takes; of any size, a small, an odd and a thin one."""
    least = description.smallest_side
    sizes = description.sizes or ((least, least), (2 * least + 1, 3 * least - 1), (9 * least + 3, least + 2))
    generator = torch.Generator().manual_seed(_SEED)
    batches = [description.batch] if description.batch else [1, 2]
    return [torch.rand(b, description.in_chans, *size, generator=generator) for size in sizes for b in batches]


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    if not expected.is_floating_point():
        return float((found != expected).double().mean())
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
