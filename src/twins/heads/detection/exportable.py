"""Detectors that can be exported: the same detections, by shapes that do not depend on what is in an image.

`Detector` goes on with as many candidates as pass a threshold. A graph cannot: here each image has as many as there can
be, and what is none of them has a score of 0 (`padded_candidates`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...preprocessing import Size
from .boxes import decode, has_area
from .detector import Detector, MaskRCNN, RetinaNet
from .nms_operator import nms_mask
from .padded_candidates import Candidates, rows, top_k
from .retina_head import CANDIDATES_PER_LEVEL, RetinaHead
from .roi_extractor import roi_align_everywhere
from .roi_head import BOX_SIZE, BOX_STDS, MASK_SIZE, MaskHead, RoIHead, of_label
from .rpn_head import NMS_THRESH, RPNHead
from .selection import Selection
from .transform import whole_cells


class ExportableDetector(nn.Module):
    """A detector for `torch.export` and `torch.onnx`: a batch in, detections out, in tensors of fixed shapes.

    Takes (B, in_chans, H, W) floats in [0, 1], all of the size that the network shall see: nothing is resized.
    Returns K = detections_per_img detections an image, best first, those that the detector itself finds with
    `resize=False`; where there are fewer, boxes, scores and masks are 0 and labels -1:

    - `boxes` (B, K, 4) x0, y0, x1, y1 in pixels of the batch, `scores` (B, K) from 0 to 1, `labels` (B, K) int64;
    - with a mask head `masks` (B, K, 28, 28), the probabilities inside each box, which `paste_masks` puts into images.

    B, H and W may be dynamic. The graph holds the operator `twins::nms`; `nms_operator` has what exporters need to know
    of it. The detector is put into eval mode and keeps its parameters, which are shared.

    Raises TypeError for a detector that is neither a RetinaNet nor a MaskRCNN.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        if not isinstance(detector, RetinaNet | MaskRCNN):
            raise TypeError(f"RetinaNet and MaskRCNN can be exported, not {type(detector).__name__}")
        self.detector = detector
        self.eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The keys of what is returned, in their order."""
        return ("boxes", "scores", "labels", *(["masks"] if self.detector.has_masks else []))

    def example_images(self) -> Tensor:
        """A batch to trace with: no axis of any map is 1 long, which a graph would take for a constant."""
        like = next(self.detector.parameters())
        return like.new_full((2, self.detector.backbone.in_chans, 260, 340), 0.5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        detector, (height, width) = self.detector, images.shape[2:]
        overhang = (0, whole_cells(width) - width, 0, whole_cells(height) - height)
        levels = detector.neck(detector.backbone(F.pad(detector.transform.normalised(images), overhang)))
        if isinstance(detector, RetinaNet):
            return detect_in_one_stage(detector, levels, (height, width))
        return detect_in_two_stages(detector, levels, (height, width))


def detect_in_one_stage(detector: RetinaNet, levels: Sequence[Tensor], size: Size) -> dict[str, Tensor]:
    """What `RetinaNet.detections` finds in images of this size."""
    selection, head = detector.selection, detector.bbox_head
    candidates = retina_candidates(head, levels, size, selection.score_thresh)
    kept = candidates.after_nms(selection.nms_thresh, head.num_classes)
    return kept.best(selection.detections_per_img)._asdict()


def detect_in_two_stages(detector: MaskRCNN, levels: Sequence[Tensor], size: Size) -> dict[str, Tensor]:
    """What `MaskRCNN.detections` finds in images of this size, its masks not yet put into the images."""
    selection, head, maps = detector.selection, detector.roi_head, levels[:-1]
    proposals = propose(detector.rpn_head, levels, size)
    found = roi_candidates(head, maps, proposals, size, selection).best(selection.detections_per_img)
    detections = found._asdict()
    if head.mask_head is not None:
        detections["masks"] = masks_in_boxes(head.mask_head, maps, found)
    return detections


def retina_candidates(head: RetinaHead, levels: Sequence[Tensor], size: Size, score_thresh: float) -> Candidates:
    """The best pairs of an anchor and a class of each level, (B, levels x CANDIDATES_PER_LEVEL)."""
    of_levels = []
    for logits, deltas, anchors in zip(*head(levels), head.anchors(levels), strict=True):
        # They are pairs of the anchors whose best class is among the best: far fewer than all to look through.
        best_class, anchor = top_k(logits.amax(dim=2).sigmoid(), CANDIDATES_PER_LEVEL)
        probabilities = torch.where(best_class[:, :, None] > 0, rows(logits, anchor).sigmoid(), 0)
        scores, pair = probabilities.flatten(1).topk(CANDIDATES_PER_LEVEL)
        anchor, label = anchor.gather(1, pair // head.num_classes), pair % head.num_classes
        of_levels.append(Candidates(decode(rows(deltas, anchor), anchors[anchor], size), scores, label))
    candidates = Candidates(*(torch.cat(parts, dim=1) for parts in zip(*of_levels, strict=True)))
    return candidates.only(has_area(candidates.boxes) & (candidates.scores > score_thresh))


def propose(head: RPNHead, levels: Sequence[Tensor], size: Size) -> Candidates:
    """What `RPNHead.propose` finds, (B, proposals); a label is the index of a level."""
    of_levels = []
    for i, (logits, deltas, anchors) in enumerate(zip(*head(levels), head.anchors(levels), strict=True)):
        scores, anchor = top_k(logits.sigmoid(), head.proposals)
        boxes = decode(rows(deltas, anchor), anchors[anchor], size)
        of_levels.append(Candidates(boxes, scores, torch.full_like(anchor, i)))
    candidates = Candidates(*(torch.cat(parts, dim=1) for parts in zip(*of_levels, strict=True)))
    return candidates.only(has_area(candidates.boxes)).after_nms(NMS_THRESH, len(levels)).best(head.proposals)


def roi_candidates(
    head: RoIHead, maps: Sequence[Tensor], proposals: Candidates, size: Size, selection: Selection
) -> Candidates:
    """What is kept of the box of each class that each proposal may be, (B, num_classes x proposals)."""
    count = proposals.scores.shape[1]
    logits, deltas = head.bbox_head(roi_align_everywhere(maps, proposals.boxes, BOX_SIZE))
    probabilities = logits.softmax(dim=1)[:, : head.num_classes].unflatten(0, (-1, count))  # (B, proposals, classes)
    wanted = (probabilities > selection.score_thresh) & (proposals.scores[:, :, None] > 0)
    scores = torch.where(wanted, probabilities, 0).transpose(1, 2)
    boxes = decode(deltas.unflatten(0, (-1, count)), proposals.boxes[:, :, None], size, BOX_STDS).transpose(1, 2)
    # A class has boxes of its own, which to NMS is an image by itself.
    kept = nms_mask(boxes.flatten(0, 1), scores.flatten(0, 1)[:, None], selection.nms_thresh).reshape(scores.shape)
    labels = torch.arange(head.num_classes, device=scores.device)[:, None].expand_as(scores)
    return Candidates(boxes.flatten(1, 2), scores.flatten(1), labels.flatten(1)).only(kept.flatten(1))


def masks_in_boxes(mask_head: MaskHead, maps: Sequence[Tensor], detections: Candidates) -> Tensor:
    """(B, K, 28, 28) probabilities, those of each detection's own class; 0 where there is no detection."""
    logits = mask_head(roi_align_everywhere(maps, detections.boxes, MASK_SIZE))
    own = of_label(logits, detections.labels.clamp(min=0).flatten()).sigmoid()
    masks = own.unflatten(0, (-1, detections.scores.shape[1]))
    return torch.where(detections.scores[:, :, None, None] > 0, masks, 0)
