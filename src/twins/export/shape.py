"""Which images an exported network takes: how many at once, and of which sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn
from torch.export import Dim

from ..errors import TwinsError
from ..heads.detection import ExportableDetector
from ..model import PATCH_SIZES, GlobalSubsampledAttention, Stages
from ..preprocessing import LONGEST_SIDE, Size

# Of the example that is recorded: enough for several windows along both axes of every stage's map.
_EXAMPLE_BATCH, _EXAMPLE_SIZE = 2, (256, 288)


class Shape(NamedTuple):
    """The images that an exported network takes."""

    batch: int | None  # None: any number
    size: Size | None  # None: any from `smallest_side` up

    def example(self, in_chans: int, least: int) -> tuple[int, int, int, int]:
        """The shape of a batch to record the network with."""
        height, width = self.size or (max(side, 8 * least) for side in _EXAMPLE_SIZE)
        return self.batch or _EXAMPLE_BATCH, in_chans, height, width

    def dynamic(self, least: int) -> dict[int, object]:
        """Which axes may be of any length, as torch.export takes it."""
        axes: dict[int, object] = {} if self.batch else {0: Dim.DYNAMIC}
        return axes if self.size else axes | {axis: Dim.DYNAMIC(min=least) for axis in (2, 3)}

    def __str__(self) -> str:
        size = "any size" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return f"{self.batch or 'any number of'} image{'' if self.batch == 1 else 's'} of {size}"


def shape_of(batch: int | None, img_size: int | tuple[int, ...] | None) -> Shape:
    """Of a batch and a square's side or (height, width), each None for any. Raises TwinsError for what is none."""
    sides = (img_size,) * 2 if isinstance(img_size, int) else img_size
    if batch is not None and batch < 1:
        raise TwinsError(f"--batch must be 1 or more, or dynamic, not {batch}")
    if sides is None:
        return Shape(batch, None)
    if len(sides) != 2 or not all(1 <= side <= LONGEST_SIDE for side in sides):
        raise TwinsError(f"--img-size takes one side or height and width, 1 to {LONGEST_SIDE} pixels, or dynamic")
    return Shape(batch, (sides[0], sides[1]))


def smallest_side(network: nn.Module) -> int:
    """The least height and width, in pixels, at which no map is shorter than a kernel: what a graph of any size takes.

    Below, PyTorch pads the map, which a graph without branches cannot; a detector pads every image to whole cells.
    """
    if any(isinstance(module, ExportableDetector) for module in network.modules()):
        return 1
    stages = next(module for module in network.modules() if isinstance(module, Stages))
    return max(_least_sides(stages))


def _least_sides(stages: Stages) -> Iterator[int]:
    stride = 1
    for patch, blocks in zip(PATCH_SIZES, stages.blocks, strict=False):
        stride *= patch
        attentions = [module for module in blocks.modules() if isinstance(module, GlobalSubsampledAttention)]
        yield stride * max((a.sr.kernel_size[0] for a in attentions if a.sr is not None), default=1)
