"""Non-maximum suppression as an operator of fixed shapes, `twins::nms`, so that a graph can hold it.

`boxes.nms` gives indices, and how many depends on the boxes; the operator says of each box whether it is kept. Whoever
writes a graph that holds it turns it into operators that others know: `onnx_translations`, `in_operators_of_torch`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

from ...optional_dependencies import need


@torch.library.custom_op("twins::nms", mutates_args=())
def nms_mask(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Which of N boxes are kept, in each of B images and for each of C classes by itself: (B, C, N) of bool.

    Of two boxes whose IoU is more than the threshold the one of lower score is dropped. Boxes are (B, N, 4), scores
    (B, C, N); where a score is 0 or less there is no box of that class.
    """
    return _nms_at_once(boxes, scores, iou_threshold)


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def in_operators_of_torch(program: ExportedProgram) -> ExportedProgram:
    """The program with torch's and torchvision's operators instead of this one, so that it runs without twins."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torchvision's use of torch
        return program.run_decompositions({torch.ops.twins.nms.default: _nms_at_once})


def onnx_translations() -> dict[Any, Callable[..., Any]]:
    """For `torch.onnx.export(custom_translation_table=...)`: the operator by ONNX's NonMaxSuppression.

    Raises TwinsError where onnxscript is missing.
    """
    return {torch.ops.twins.nms.default: _nms_in_onnx}


def _nms_at_once(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """One call for all images and classes: each has its boxes where no other has any.

    In float64, which this far out still has all the digits that boxes have in float32.
    """
    image, label, box = (scores > 0).nonzero(as_tuple=True)
    group = image * scores.shape[1] + label
    corners = boxes.double()
    apart = corners[image, box] + (group * (corners.amax() + 1))[:, None]
    # torchvision tells exporters that two boxes or more are kept. Two of no area, which overlap nothing, always are.
    apart, best = F.pad(apart, (0, 0, 0, 2)), F.pad(scores[image, label, box].double(), (0, 2))
    kept = need("torchvision.ops", extra="detect").nms(apart, best, iou_threshold)
    is_kept = torch.zeros_like(best, dtype=torch.bool).index_put((kept,), torch.ones_like(kept, dtype=torch.bool))
    return torch.zeros_like(scores, dtype=torch.bool).index_put((image, label, box), is_kept[:-2])


def _nms_in_onnx(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """ONNX counts what it keeps, too: its indices, (kept, 3) of image, class and box, are scattered into a mask."""
    op = need("onnxscript.onnx_opset", extra="export").opset18
    shape = op.Shape(scores)
    at_most = op.Gather(shape, op.Constant(value_ints=[2]))
    indices = op.NonMaxSuppression(boxes, scores, at_most, [iou_threshold], [0.0])
    count = op.Gather(op.Shape(indices), op.Constant(value_ints=[0]))
    no, yes = (op.Cast(op.Constant(value_int=value), to=_ONNX_BOOL) for value in (0, 1))
    return op.ScatterND(op.Expand(no, shape), indices, op.Expand(yes, count))


_ONNX_BOOL = 9  # TensorProto.BOOL
