"""Mask R-CNN's second stage: the class, the box and the mask of what a proposal holds (He et al., 1703.06870)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .anchor_head import convolutions, initialise, mean_count, precise
from .boxes import assign, best_apart, decode, encode, overlaps, sample
from .instance_masks import mask_targets, paste_masks
from .roi_extractor import pool_regions
from .transform import ImageList, Target

BOX_SIZE, MASK_SIZE = 7, 14  # cells along a side of what the two heads read
DEVIATIONS = (0.1, 0.1, 0.2, 0.2)
POSITIVE = 0.5  # overlap with an object from which a proposal is one of it
POSITIVE_SHARE = 0.25


class Samples(NamedTuple):
    """The proposals of an image that are learnt from, those of an object first."""

    boxes: Tensor  # (N, 4)
    labels: Tensor  # (N,): num_classes is background
    objects: Tensor  # (those of an object,): which one


class BoxHead(nn.Module):
    """(N, channels, 7, 7) regions -> (N, num_classes + 1) logits, background last, and (N, num_classes, 4) changes."""

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

    def forward(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        x_NC = regions.flatten(1)
        for fc in self.shared_fcs:
            x_NC = F.relu(fc(x_NC))
        return precise(self.fc_cls(x_NC)), precise(self.fc_reg(x_NC)).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """(N, channels, 14, 14) regions -> (N, num_classes, 28, 28) logits, a mask for whichever class it is."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = convolutions(4, channels)
        self.upsample = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv_logits = nn.Conv2d(channels, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, regions: Tensor) -> Tensor:
        return precise(self.conv_logits(F.relu(self.upsample(self.convs(regions)))))


class RoIHead(nn.Module):
    """Both heads on the proposals. An image's `samples` are learnt from, a quarter of an object at most."""

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
        """Cross-entropy of sampled proposals, L1 of the objects' boxes, cross-entropy of the pixels of their masks.

        The first two are divided by the number of samples, the last by that of its pixels.
        """
        samples = [self._sampled(*of_image) for of_image in zip(proposals, targets, strict=True)]
        box, label = torch.cat([s.boxes for s in samples]), torch.cat([s.labels for s in samples])
        logits, changes = self.bbox_head(pool_regions(maps, [s.boxes for s in samples], BOX_SIZE))
        of_object = (label < self.num_classes).nonzero().flatten()
        truth = torch.cat([target["boxes"][s.objects] for s, target in zip(samples, targets, strict=True)])
        box_loss = F.l1_loss(
            changes[of_object, label[of_object]], encode(truth, box[of_object], DEVIATIONS), reduction="sum"
        )
        divisor = mean_count(len(label), like=logits)
        losses = {
            "loss_cls": F.cross_entropy(logits, label, reduction="sum") / divisor,
            "loss_bbox": box_loss / divisor,
        }
        if self.mask_head is not None:
            losses["loss_mask"] = self._mask_loss(maps, samples, label[of_object], targets)
        return losses

    def detections(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        image_list: ImageList,
        score_thresh: float,
        nms_thresh: float,
        most: int,
    ) -> list[dict[str, Tensor]]:
        """Boxes, scores, labels and masks in each image as it came, best first."""
        counts = [len(of_image) for of_image in proposals]
        logits, changes = self.bbox_head(pool_regions(maps, proposals, BOX_SIZE))
        likely = logits.softmax(dim=1)[:, : self.num_classes].split(counts)
        found = []
        for proposal, score, change, size, ratio in zip(
            proposals, likely, changes.split(counts), image_list.sizes, image_list.ratios, strict=True
        ):
            place, label = (score > score_thresh).nonzero(as_tuple=True)
            boxes = decode(change[place, label], proposal[place], size, DEVIATIONS) / ratio
            every = {"boxes": boxes, "scores": score[place, label], "labels": label}
            kept = best_apart(every["boxes"], every["scores"], every["labels"], nms_thresh, most)
            found.append({name: values[kept] for name, values in every.items()})
        if self.mask_head is not None:
            for of_image, masks in zip(found, self._masks(maps, found, image_list), strict=True):
                of_image["masks"] = masks
        return found

    def _sampled(self, proposals: Tensor, target: Target) -> Samples:
        """The objects themselves are proposals too, each its own, so that there is always something to learn from."""
        objects = target["boxes"].to(proposals.dtype)
        of_proposals = assign(overlaps(objects, proposals), POSITIVE, POSITIVE, low_quality=POSITIVE)
        assigned = torch.cat([torch.arange(len(objects), device=proposals.device), of_proposals])
        candidates = torch.cat([objects, proposals])
        positive, negative = sample(assigned, self.samples, POSITIVE_SHARE)
        background = torch.full_like(negative, self.num_classes)
        labels = torch.cat([target["labels"][assigned[positive]], background])
        return Samples(candidates[torch.cat([positive, negative])], labels, assigned[positive])

    def _mask_loss(
        self, maps: Sequence[Tensor], samples: Sequence[Samples], labels: Tensor, targets: Sequence[Target]
    ) -> Tensor:
        assert self.mask_head is not None
        boxes = [s.boxes[: len(s.objects)] for s in samples]
        logits = self.mask_head(pool_regions(maps, boxes, MASK_SIZE))
        logits = logits[torch.arange(len(labels), device=labels.device), labels]
        truth = torch.cat(
            [
                mask_targets(target["masks"], of_image, s.objects, logits.shape[-1])
                for target, of_image, s in zip(targets, boxes, samples, strict=True)
            ]
        )
        loss = F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="sum")
        return loss / mean_count(logits.numel(), like=logits)

    def _masks(self, maps: Sequence[Tensor], found: Sequence[dict[str, Tensor]], image_list: ImageList) -> list[Tensor]:
        assert self.mask_head is not None
        boxes = [of_image["boxes"] * ratio for of_image, ratio in zip(found, image_list.ratios, strict=True)]
        labels = torch.cat([of_image["labels"] for of_image in found])
        logits = self.mask_head(pool_regions(maps, boxes, MASK_SIZE))
        likely = logits[torch.arange(len(labels), device=labels.device), labels].sigmoid()
        return [
            paste_masks(masks, of_image["boxes"], size)
            for masks, of_image, size in zip(
                likely.split([len(b) for b in boxes]), found, image_list.sizes_before, strict=True
            )
        ]
