"""A segmenter's output for one image, from several views of it, whole or by overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TwinsError
from ..preprocessing import Size

WINDOWS_AT_ONCE = 8
LOGITS_AT_ONCE = 2**26  # resized to an image's size: 256 MB, where all classes of a large photo fill gigabytes


@torch.no_grad()
def class_probabilities(
    model: nn.Module,
    views: Sequence[Tensor],
    size: Size,
    slide: int | None = None,
    stride: int | None = None,
    flip: bool = False,
) -> Tensor:
    """(classes, H, W) float32 probabilities at `size` = (H, W): the mean over views and, with `flip`, their mirrors.

    `views` are one image's, (C, h, w) of any sizes, on the model's device; the model maps (B, C, h, w) to
    (B, classes, h, w) logits. With `slide` each view is seen by windows of that side, `stride` apart, as in
    `slide_logits`. Raises TwinsError for a `stride` that leaves gaps.
    """
    probabilities = _probabilities_of_views(model, views, size, slide, stride, flip)
    total = next(probabilities)
    for of_view in probabilities:
        total += of_view
    return total.div_(len(views) * (2 if flip else 1))


@torch.no_grad()
def slide_logits(model: nn.Module, image: Tensor, window: int, stride: int | None = None) -> Tensor:
    """(classes, h, w) float32 logits of a (C, h, w) image: the mean over overlapping square windows.

    Windows are `stride` apart (two thirds of their side by default), and the last one in each direction ends at the
    border. A window is cut to the image where that is smaller; one that covers it gives the model's own logits.
    Raises TwinsError for a stride that leaves gaps.
    """
    stride = max(2 * window // 3, 1) if stride is None else stride
    if not 1 <= stride <= window:
        raise TwinsError(f"--slide-stride must be between 1 and --slide, {window}, to leave no gaps; not {stride}")
    height, width = image.shape[-2:]
    windows = [
        (slice(top, top + window), slice(left, left + window))
        for top in _starts(height, window, stride)
        for left in _starts(width, window, stride)
    ]
    crops = torch.stack([image[:, rows, columns] for rows, columns in windows])
    outputs = (logits for batch in crops.split(WINDOWS_AT_ONCE) for logits in model(batch))
    covering = crops.new_zeros(height, width, dtype=torch.float32)
    total: Tensor | None = None
    for (rows, columns), logits in zip(windows, outputs, strict=True):
        if total is None:
            total = covering.new_zeros(len(logits), height, width)
        total[:, rows, columns] += logits
        covering[rows, columns] += 1
    assert total is not None
    return total.div_(covering)


def best_class(logits: Tensor, size: Size) -> Tensor:
    """(H, W) uint8: the class of the largest of (classes, h, w) logits, once these are resized to `size` = (H, W).

    The memory for resized logits is bounded, however many classes there are. Of equal logits the first class is taken.
    """
    classes = len(logits)
    step = max(LOGITS_AT_ONCE // (size[0] * size[1]), 1)
    highest = logits.new_full(size, -torch.inf)
    best = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for first in range(0, classes, step):
        some = logits[None, first : first + step]
        if logits.shape[1:] != size:
            some = F.interpolate(some, size, mode="bilinear", align_corners=False)
        values, indices = some[0].max(dim=0)
        higher = values > highest
        highest = torch.where(higher, values, highest)
        best = torch.where(higher, (first + indices).to(torch.uint8), best)
    return best


def _probabilities_of_views(
    model: nn.Module, views: Sequence[Tensor], size: Size, slide: int | None, stride: int | None, flip: bool
) -> Iterator[Tensor]:
    """Each view's probabilities, and those of its mirror image mirrored back, one at a time."""

    def logits(view: Tensor) -> Tensor:
        return model(view[None])[0] if slide is None else slide_logits(model, view, slide, stride)

    for view in views:
        yield _probabilities(logits(view), size)
        if flip:
            yield _probabilities(logits(view.flip(-1)).flip(-1), size)


def _probabilities(logits: Tensor, size: Size) -> Tensor:
    logits = logits.float()
    if logits.shape[-2:] != size:
        logits = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
    return logits.softmax(dim=0)


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along an axis, so that they cover it and none reaches beyond."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]
