"""Mask R-CNN's second stage: the class, the box and the mask of what a proposal holds (He et al., 1703.06870)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .anchor_head import at_least_float32, conv_stack, initialise, mean_count
from .boxes import assign, box_iou, decode, encode, sample
from .instance_masks import mask_targets, paste_masks
from .roi_extractor import roi_align
from .selection import Detections, Selection
from .transform import ImageList, Target

BOX_SIZE, MASK_SIZE = 7, 14  # cells along a side of the features that the two heads read
BOX_STDS = (0.1, 0.1, 0.2, 0.2)
IOU_THR = 0.5  # IoU with an object from which a proposal is a positive one, and below which it is background
POSITIVE_FRACTION = 0.25


class Samples(NamedTuple):
    """The proposals of an image that the losses are of, those of an object first."""

    boxes: Tensor  # (N, 4)
    labels: Tensor  # (N,): num_classes is background
    objects: Tensor  # (those of an object,): index of the object


class BoxHead(nn.Module):
    """(N, channels, 7, 7) features -> (N, num_classes + 1) logits, background last, and (N, num_classes, 4) deltas."""

    def __init__(self, channels: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        widths = (channels * BOX_SIZE**2, hidden)
        self.shared_fcs = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.fc_cls = nn.Linear(hidden, num_classes + 1)
        self.fc_reg = nn.Linear(hidden, num_classes * 4)
        for fc in self.shared_fcs:
            assert isinstance(fc, nn.Linear)
            nn.init.xavier_uniform_(fc.weight)
            nn.init.zeros_(fc.bias)
        initialise(self.fc_cls, std=0.01)
        initialise(self.fc_reg, std=0.001)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x_NC = features.flatten(1)
        for fc in self.shared_fcs:
            x_NC = F.relu(fc(x_NC))
        return at_least_float32(self.fc_cls(x_NC)), at_least_float32(self.fc_reg(x_NC)).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """(N, channels, 14, 14) features -> (N, num_classes, 28, 28) logits, a mask for whichever class it is."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = conv_stack(4, channels)
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        return at_least_float32(self.conv_logits(F.relu(self.upsample(self.convs(features)))))


class RoIHead(nn.Module):
    """Both heads on the proposals. The losses are of `samples` of an image, a quarter of them an object's at most."""

    def __init__(
        self, channels: int, num_classes: int, box_channels: int = 1024, samples: int = 512, masks: bool = True
    ) -> None:
        super().__init__()
        self.num_classes, self.samples = num_classes, samples
        self.bbox_head = BoxHead(channels, box_channels, num_classes)
        self.mask_head = MaskHead(channels, num_classes) if masks else None

    def losses(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Three named losses, the last where there is a mask head.

        `loss_cls`, cross-entropy of sampled proposals, and `loss_bbox`, L1 of the deltas of the objects' boxes, are
        divided by the number of samples, `loss_mask`, binary cross-entropy of their masks, by that of its pixels. An
        object that has no mask takes no part in the last.
        """
        samples = [self._sample(*of_image) for of_image in zip(proposals, targets, strict=True)]
        boxes, labels = torch.cat([s.boxes for s in samples]), torch.cat([s.labels for s in samples])
        logits, deltas = self.bbox_head(roi_align(maps, [s.boxes for s in samples], BOX_SIZE))
        positive = (labels < self.num_classes).nonzero().flatten()
        truth = torch.cat([target["boxes"][s.objects] for s, target in zip(samples, targets, strict=True)])
        true_deltas = encode(truth, boxes[positive], BOX_STDS)
        box_loss = F.l1_loss(deltas[positive, labels[positive]], true_deltas, reduction="sum")
        divisor = mean_count(len(labels), like=logits)
        losses = {
            "loss_cls": F.cross_entropy(logits, labels, reduction="sum") / divisor,
            "loss_bbox": box_loss / divisor,
        }
        if self.mask_head is not None:
            losses["loss_mask"] = self._mask_loss(self.mask_head, maps, samples, labels[positive], targets)
        return losses

    def detections(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], image_list: ImageList, selection: Selection
    ) -> list[Detections]:
        """Boxes, scores, labels and masks in each image as it came, best first."""
        counts = [len(of_image) for of_image in proposals]
        logits, deltas = self.bbox_head(roi_align(maps, proposals, BOX_SIZE))
        probabilities = logits.softmax(dim=1)[:, : self.num_classes].split(counts)
        detections = []
        outputs = zip(proposals, probabilities, deltas.split(counts), strict=True)
        sizes = zip(image_list.image_sizes, image_list.scale_factors, strict=True)
        for (proposal, score, delta), (size, scale) in zip(outputs, sizes, strict=True):
            index, label = (score > selection.score_thresh).nonzero(as_tuple=True)
            boxes = decode(delta[index, label], proposal[index], size, BOX_STDS) / scale
            detections.append(selection.best(boxes, score[index, label], label))
        if self.mask_head is not None:
            masks = self._masks(self.mask_head, maps, detections, image_list)
            for of_image, masks_of_image in zip(detections, masks, strict=True):
                of_image["masks"] = masks_of_image
        return detections

    def _sample(self, proposals: Tensor, target: Target) -> Samples:
        """The objects themselves are proposals too, each its own, so that there is always something to learn from."""
        objects = target["boxes"].to(proposals.dtype)
        of_proposals = assign(box_iou(objects, proposals), IOU_THR, IOU_THR, min_pos_iou=IOU_THR)
        assigned = torch.cat([torch.arange(len(objects), device=proposals.device), of_proposals])
        candidates = torch.cat([objects, proposals])
        positive, negative = sample(assigned, self.samples, POSITIVE_FRACTION)
        background = torch.full_like(negative, self.num_classes)
        labels = torch.cat([target["labels"][assigned[positive]], background])
        return Samples(candidates[torch.cat([positive, negative])], labels, assigned[positive])

    @staticmethod
    def _mask_loss(
        mask_head: MaskHead,
        maps: Sequence[Tensor],
        samples: Sequence[Samples],
        labels: Tensor,
        targets: Sequence[Target],
    ) -> Tensor:
        with_mask = [_with_mask(target, s.objects) for target, s in zip(targets, samples, strict=True)]
        boxes = [s.boxes[: len(s.objects)][chosen] for s, chosen in zip(samples, with_mask, strict=True)]
        logits = of_label(mask_head(roi_align(maps, boxes, MASK_SIZE)), labels[torch.cat(with_mask)])
        truth = torch.cat(
            [
                mask_targets(target["masks"], of_image, s.objects[chosen], logits.shape[-1])
                for target, of_image, s, chosen in zip(targets, boxes, samples, with_mask, strict=True)
            ]
        )
        loss = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="sum")
        return loss / mean_count(logits.numel(), like=logits)

    @staticmethod
    def _masks(
        mask_head: MaskHead, maps: Sequence[Tensor], detections: Sequence[Detections], image_list: ImageList
    ) -> list[Tensor]:
        """(N, 1, H, W) of bool for each image as it came."""
        boxes = [
            of_image["boxes"] * scale for of_image, scale in zip(detections, image_list.scale_factors, strict=True)
        ]
        labels = torch.cat([of_image["labels"] for of_image in detections])
        probabilities = of_label(mask_head(roi_align(maps, boxes, MASK_SIZE)), labels).sigmoid()
        return [
            paste_masks(masks, of_image["boxes"], size)
            for masks, of_image, size in zip(
                probabilities.split([len(b) for b in boxes]), detections, image_list.original_image_sizes, strict=True
            )
        ]


def _with_mask(target: Target, objects: Tensor) -> Tensor:
    """(N,) bool: which of these objects, indices into the target, have a mask to learn."""
    has_mask = target.get("has_mask")
    return torch.ones_like(objects, dtype=torch.bool) if has_mask is None else has_mask[objects]


def of_label(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, num_classes, M, M) -> (N, M, M): those of each object's own class."""
    return logits[torch.arange(labels.shape[0], device=labels.device), labels]
