"""How far the outputs of an exported network lie from those of the network that it was made of, in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from ..heads.detection.boxes import box_iou
from ..runtimes.description import Description
from ..runtimes.network import ExportedNetwork

Outputs = Mapping[str, Tensor]

# A share of what there is to compare: of pixels whose class differs, and of detections that the other does not have.
# Two classes of a pixel, and two boxes of which NMS keeps one, may be as good as one another.
_SHARES = {"class_map", "unmatched"}
_SAME_BOX = 0.9  # IoU from which on two boxes of a class are taken for one detection
_SEED = 0  # of noise


def compare_outputs(
    written: ExportedNetwork, original: Callable[[Tensor], Outputs], batches: Iterable[Tensor]
) -> dict[str, float]:
    """The largest difference of each output over batches (B, C, H, W) of images in [0, 1].

    - Of `logits` it is a share of the largest value, NaN where one of them is.
    - Of a `class_map` it is the share of pixels of another class.
    - Of detections: `unmatched`, the share of them that have no partner of the same class and an IoU of 0.9 or more on
      the other side, and of the partners `scores` (absolute), `boxes` (a share of the image's longer side) and `masks`
      (absolute).
    """
    found: dict[str, list[float]] = {}
    detections = "boxes" in written.description.outputs
    for batch in batches:
        with torch.no_grad():
            ours = original(batch)
        theirs = written(batch)
        compared = _detections_apart(theirs, ours, max(batch.shape[-2:])) if detections else _apart(theirs, ours)
        for name, difference in compared.items():
            found.setdefault(name, []).append(difference)
    return {name: _summary(name, differences) for name, differences in found.items()}


def sample_images(description: Description) -> list[Tensor]:
    """Batches of noise in [0, 1] of sizes that the network takes; of any size, a small, an odd and a thin one."""
    least = description.smallest_side
    sizes = description.sizes or ((least, least), (2 * least + 1, 3 * least - 1), (9 * least + 3, least + 2))
    generator = torch.Generator().manual_seed(_SEED)
    batches = [description.batch] if description.batch else [1, 2]
    return [torch.rand(b, description.in_chans, *size, generator=generator) for size in sizes for b in batches]


def _summary(name: str, differences: list[float]) -> float:
    values = torch.tensor(differences, dtype=torch.float64)
    return float(values.mean() if name in _SHARES else values.max())  # NaN where one is


def _apart(found: Outputs, expected: Outputs) -> dict[str, float]:
    return {name: _difference(found[name], output) for name, output in expected.items()}


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    if not expected.is_floating_point():
        return float((found != expected).double().mean())
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


def _detections_apart(found: Outputs, expected: Outputs, longest: int) -> dict[str, float]:
    of_images = [
        _of_image({n: v[i] for n, v in found.items()}, {n: v[i] for n, v in expected.items()}, longest)
        for i in range(len(expected["scores"]))
    ]
    return {name: _summary(name, [of_one[name] for of_one in of_images]) for name in of_images[0]}


def _of_image(found: Outputs, expected: Outputs, longest: int) -> dict[str, float]:
    found, expected = _detected(found), _detected(expected)
    same_class = found["labels"][:, None] == expected["labels"][None]
    iou = box_iou(found["boxes"], expected["boxes"]) * same_class
    count = len(found["scores"]) + len(expected["scores"])
    differences = dict.fromkeys([name for name in ("scores", "boxes", "masks") if name in expected], 0.0)
    if not iou.numel():
        return {"unmatched": float(count > 0), **differences}
    best, partner = iou.max(dim=1)
    matched = best >= _SAME_BOX
    ours, theirs = partner[matched], matched.nonzero()[:, 0]
    lacking = int((~matched).sum()) + int((iou.amax(dim=0) < _SAME_BOX).sum())
    for name in differences if len(ours) else ():
        apart = float((found[name][theirs] - expected[name][ours]).abs().max())
        differences[name] = apart / longest if name == "boxes" else apart
    return {"unmatched": lacking / count, **differences}


def _detected(outputs: Outputs) -> Outputs:
    return {name: values[outputs["labels"] >= 0] for name, values in outputs.items()}
