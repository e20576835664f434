"""RetinaNet and Mask R-CNN at their plainest: functions over a state dict, which the package's detectors are held to.

The conventions are OpenMMLab's (mmdetection), under which the published weights were trained. Nothing is shared with
`twins.heads.detection`, so that a slip would have to be made twice; only the backbone is taken as it is.
Losses take every candidate there is, as samplers do that may draw more than there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

Size = tuple[int, int]  # height, width

RATIOS = (0.5, 1.0, 2.0)  # height over width
RETINA = ((8, 16, 32, 64, 128), (4.0, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)))  # strides, scales
RPN = ((4, 8, 16, 32, 64), (8.0,))
BOX_STDS = (0.1, 0.1, 0.2, 0.2)
LARGEST_LOG = math.log(1000 / 16)


class Network(NamedTuple):
    """A detector's tensors, its backbone, and the settings it was made with."""

    state: dict[str, Tensor]
    backbone: Callable[[Tensor], list[Tensor]]
    num_classes: int
    min_size: int
    max_size: int
    image_mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    image_std: tuple[float, ...] = (0.229, 0.224, 0.225)
    score_thresh: float = 0.05
    nms_thresh: float = 0.5
    detections_per_img: int = 100
    proposals: int = 1000

    def conv(self, at: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.state[f"{at}.weight"]
        return F.conv2d(x, weight, self.state[f"{at}.bias"], stride, padding=weight.shape[-1] // 2)

    def linear(self, at: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{at}.weight"].T + self.state[f"{at}.bias"]


# ---- boxes


def area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """(N, 4), (M, 4) -> (N, M): intersection over union."""
    a = a[:, None]
    left_top, right_bottom = torch.maximum(a[..., :2], b[:, :2]), torch.minimum(a[..., 2:], b[:, 2:])
    shared = (right_bottom - left_top).clamp(min=0).prod(-1)
    return shared / (area(a) + area(b) - shared).clamp(min=1e-6)


def anchors_of(height: int, width: int, stride: int, scales: tuple[float, ...], like: Tensor) -> Tensor:
    boxes = []
    for y in range(0, height * stride, stride):
        for x in range(0, width * stride, stride):
            for ratio in RATIOS:
                for scale in scales:
                    w, h = stride * scale / math.sqrt(ratio), stride * scale * math.sqrt(ratio)
                    boxes.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return torch.tensor(boxes, dtype=torch.float64).to(like)


def centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def deltas_to(boxes: Tensor, anchors: Tensor, stds: tuple[float, ...] = (1, 1, 1, 1)) -> Tensor:
    (at, size), (anchor_at, anchor_size) = centres(boxes), centres(anchors)
    return torch.cat([(at - anchor_at) / anchor_size, (size / anchor_size).log()], -1) / boxes.new_tensor(stds)


def decoded(anchors: Tensor, deltas: Tensor, size: Size, stds: tuple[float, ...] = (1, 1, 1, 1)) -> Tensor:
    """The boxes that deltas make of anchors, inside an image of this size."""
    at, anchor_size = centres(anchors)
    deltas = deltas * deltas.new_tensor(stds)
    at = at + deltas[..., :2] * anchor_size
    half = anchor_size * deltas[..., 2:].clamp(-LARGEST_LOG, LARGEST_LOG).exp() / 2
    height, width = size
    return torch.cat([at - half, at + half], -1).clamp(min=0).minimum(at.new_tensor([width, height, width, height]))


def assigned(objects: Tensor, boxes: Tensor, positive: float, negative: float, min_pos_iou: float | None) -> list[int]:
    """For each box the object that it stands for, -1 for the background, -2 for neither."""
    output = [-1] * len(boxes)
    if len(objects) == 0:
        return output
    ious = box_iou(objects, boxes)
    for i, column in enumerate(ious.T.tolist()):
        if max(column) >= positive:
            output[i] = column.index(max(column))
        elif max(column) >= negative:
            output[i] = -2
    for k, row in enumerate(ious.tolist()):
        best = max(row)
        if min_pos_iou is not None and best >= min_pos_iou:
            for i, iou in enumerate(row):
                if iou == best:
                    output[i] = k
    return output


def best_of_each_class(net: Network, boxes: Tensor, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
    kept = []
    for label in range(net.num_classes):
        own = (labels == label).nonzero()[:, 0]
        kept.append(own[nms(boxes[own], scores[own], net.nms_thresh)])
    keep = torch.cat(kept)
    keep = keep[scores[keep].argsort(descending=True)][: net.detections_per_img]
    return {"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]}


# ---- pooling and pasting: both are weighted sums over rows, then over columns


def tents(at: Tensor, length: int) -> Tensor:
    """Linear interpolation between pixels at 0, 1 ... length - 1 and zeros outside: (N,) positions -> (N, length)."""
    return (1 - (at[:, None] - torch.arange(length).to(at)).abs()).clamp(min=0)


def bin_weights(start: Tensor, end: Tensor, bins: int, length: int) -> Tensor:
    """(bins, length): what each of the equal bins from start to end takes of each pixel."""
    points = math.ceil((end - start) / bins)
    if points == 0:
        return start.new_zeros(bins, length)
    at = start + (end - start) * (torch.arange(bins * points).to(start) + 0.5) / (bins * points)
    near = (at >= -1) & (at <= length)
    return (tents(at.clamp(0, length - 1), length) * near[:, None]).unflatten(0, (bins, points)).mean(1)


def roi_align(map_CHW: Tensor, box: Tensor, scale: float, bins: int) -> Tensor:
    x0, y0, x1, y1 = box * scale - 0.5
    height, width = map_CHW.shape[1:]
    return bin_weights(y0, y1, bins, height) @ map_CHW @ bin_weights(x0, x1, bins, width).T


def level_of(box: Tensor) -> int:
    return min(max(math.floor(math.log2(area(box).sqrt() / 56 + 1e-6)), 0), 3)


def pooled(levels: list[Tensor], boxes: list[Tensor], bins: int) -> Tensor:
    """Regions of all images, one image after the other, each from the level for its size."""
    regions = [levels[0].new_zeros(0, levels[0].shape[1], bins, bins)]
    for image, own in enumerate(boxes):
        for box in own:
            level = level_of(box)
            regions.append(roi_align(levels[level][image], box, 1 / RPN[0][level], bins)[None])
    return torch.cat(regions)


def pasted(mask: Tensor, box: Tensor, size: Size) -> Tensor:
    x0, y0, x1, y1 = box
    height, width = size
    y = (torch.arange(height).to(box) + 0.5 - y0) / (y1 - y0) * len(mask) - 0.5
    x = (torch.arange(width).to(box) + 0.5 - x0) / (x1 - x0) * len(mask) - 0.5
    return tents(y, len(mask)) @ mask @ tents(x, len(mask)).T


# ---- from images to levels


def ready(net: Network, images: list[Tensor], resize: bool = True) -> tuple[Tensor, list[Size]]:
    """The batch that the backbone sees, and the size of each image in it."""
    resized = []
    for image in images:
        height, width = image.shape[1:]
        if resize:
            scale = min(net.max_size / max(height, width), net.min_size / min(height, width))
            height, width = int(height * scale + 0.5), int(width * scale + 0.5)
            image = F.interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
        mean, std = (image.new_tensor(x)[:, None, None] for x in (net.image_mean, net.image_std))
        resized.append((image - mean) / std)
    sizes = [(x.shape[1], x.shape[2]) for x in resized]
    height, width = (max(round_up(side) for side in sides) for sides in zip(*sizes, strict=True))
    batch = [F.pad(x, (0, width - x.shape[2], 0, height - x.shape[1])) for x in resized]
    return torch.stack(batch), sizes


def round_up(side: int) -> int:
    return math.ceil(side / 32) * 32


def stretch(images: list[Tensor], sizes: list[Size]) -> list[Tensor]:
    """For each image what x, y, x, y are multiplied with when it is resized."""
    return [
        image.new_tensor([width / image.shape[2], height / image.shape[1]] * 2)
        for image, (height, width) in zip(images, sizes, strict=True)
    ]


def pyramid(net: Network, maps: list[Tensor]) -> list[Tensor]:
    levels = [net.conv(f"neck.lateral_convs.{i}.conv", x) for i, x in enumerate(maps)]
    for i in reversed(range(len(levels) - 1)):
        levels[i] = levels[i] + F.interpolate(levels[i + 1], size=levels[i].shape[2:], mode="nearest")
    return [net.conv(f"neck.fpn_convs.{i}.conv", x) for i, x in enumerate(levels)]


def per_anchor(x: Tensor, numbers: int) -> Tensor:
    """(B, A * numbers, H, W) -> (B, H * W * A, numbers)."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)


class Dense(NamedTuple):
    """What a head says of each anchor of a level, for all images."""

    logits: Tensor  # (B, N, classes)
    deltas: Tensor  # (B, N, 4)
    anchors: Tensor  # (N, 4)
    positions: list[tuple[int, int]]  # row and column of each anchor
    stride: int

    def within(self, size: Size) -> Tensor:
        """(N,) bool: whether an anchor's position lies in the image, padded for itself."""
        rows, columns = (math.ceil(round_up(side) / self.stride) for side in size)
        return torch.tensor([row < rows and column < columns for row, column in self.positions])


def dense(
    setting: tuple[tuple[int, ...], tuple[float, ...]], logits: list[Tensor], deltas: list[Tensor], classes: int
) -> list[Dense]:
    strides, scales = setting
    output = []
    for stride, level_logits, level_deltas in zip(strides, logits, deltas, strict=True):
        height, width = level_logits.shape[2:]
        anchors = anchors_of(height, width, stride, scales, like=level_deltas)
        positions = [(row, column) for row in range(height) for column in range(width) for _ in RATIOS for _ in scales]
        both = per_anchor(level_logits, classes), per_anchor(level_deltas, 4)
        output.append(Dense(*both, anchors, positions, stride))
    return output


# ---- RetinaNet


def retina_head(net: Network, batch: Tensor) -> list[Dense]:
    maps = net.backbone(batch)[-3:]
    levels = pyramid(net, maps)
    levels.append(net.conv("neck.fpn_convs.3.conv", maps[-1], stride=2))
    levels.append(net.conv("neck.fpn_convs.4.conv", levels[-1], stride=2))
    logits, deltas = [], []
    for level in levels:
        for kind, last, outputs in (("cls", "retina_cls", logits), ("reg", "retina_reg", deltas)):
            x = level
            for i in range(4):
                x = net.conv(f"bbox_head.{kind}_convs.{i}.conv", x).relu()
            outputs.append(net.conv(f"bbox_head.{last}", x))
    return dense(RETINA, logits, deltas, net.num_classes)


def retinanet(net: Network, images: list[Tensor]) -> list[dict[str, Tensor]]:
    batch, sizes = ready(net, images)
    levels = retina_head(net, batch)
    outputs = []
    for b, (size, factor) in enumerate(zip(sizes, stretch(images, sizes), strict=True)):
        found = []
        for level in levels:
            scores = level.logits[b].sigmoid()
            anchor, label = (scores > net.score_thresh).nonzero().T
            best = scores[anchor, label].argsort(descending=True)[:1000]
            anchor, label = anchor[best], label[best]
            found.append((decoded(level.anchors[anchor], level.deltas[b, anchor], size), scores[anchor, label], label))
        boxes, score, label = (torch.cat(parts) for parts in zip(*found, strict=True))
        boxes, real = boxes / factor, has_area(boxes)
        outputs.append(best_of_each_class(net, boxes[real], score[real], label[real]))
    return outputs


def has_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def retinanet_losses(
    net: Network, images: list[Tensor], targets: list[dict[str, Tensor]], resize: bool = True
) -> dict[str, Tensor]:
    batch, sizes = ready(net, images, resize)
    levels = retina_head(net, batch)
    logits, deltas = torch.cat([x.logits for x in levels], 1), torch.cat([x.deltas for x in levels], 1)
    anchors = torch.cat([x.anchors for x in levels])
    of_classes, of_boxes, count = [], [], 0
    for b, (target, size, factor) in enumerate(zip(targets, sizes, stretch(images, sizes), strict=True)):
        objects = target["boxes"].to(anchors) * factor
        within = torch.cat([x.within(size) for x in levels])
        match = torch.tensor(assigned(objects, anchors[within], positive=0.5, negative=0.4, min_pos_iou=0.0))
        positive = match >= 0
        label = torch.full_like(match, net.num_classes)
        label[positive] = target["labels"][match[positive]]
        truth = F.one_hot(label, net.num_classes + 1)[:, :-1]
        of_classes.append(focal(logits[b, within], truth)[match != -2].sum())
        of_boxes.append(distance(deltas[b, within][positive], objects[match[positive]], anchors[within][positive]))
        count += max(1, int(positive.sum()))
    return {"loss_cls": sum(of_classes) / count, "loss_bbox": sum(of_boxes) / count}


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    p = logits.sigmoid()
    present, absent = -0.25 * (1 - p) ** 2 * F.logsigmoid(logits), -0.75 * p**2 * F.logsigmoid(-logits)
    return truth * present + (1 - truth) * absent


def distance(deltas: Tensor, objects: Tensor, anchors: Tensor, stds: tuple[float, ...] = (1, 1, 1, 1)) -> Tensor:
    """How far all deltas together are from those that would turn the anchors into the objects."""
    return (deltas - deltas_to(objects, anchors, stds)).abs().sum()


# ---- Mask R-CNN: proposals


def features(net: Network, batch: Tensor) -> tuple[list[Tensor], list[Dense]]:
    """The four levels that regions are pooled from, and what the RPN says on them and on a fifth."""
    levels = pyramid(net, net.backbone(batch))
    logits, deltas = [], []
    for level in (*levels, levels[-1][:, :, ::2, ::2]):
        x = net.conv("rpn_head.rpn_conv", level).relu()
        logits.append(net.conv("rpn_head.rpn_cls", x))
        deltas.append(net.conv("rpn_head.rpn_reg", x))
    return levels, dense(RPN, logits, deltas, 1)


def propose(net: Network, rpn: list[Dense], sizes: list[Size], per_level: int) -> list[Tensor]:
    outputs = []
    for b, size in enumerate(sizes):
        kept_boxes, kept_scores = [], []
        for level in rpn:
            scores = level.logits[b, :, 0].detach().sigmoid()
            best = scores.argsort(descending=True)[:per_level]
            boxes, scores = decoded(level.anchors[best], level.deltas[b, best].detach(), size), scores[best]
            boxes, scores = boxes[has_area(boxes)], scores[has_area(boxes)]
            kept = nms(boxes, scores, 0.7)
            kept_boxes.append(boxes[kept])
            kept_scores.append(scores[kept])
        best = torch.cat(kept_scores).argsort(descending=True)[: net.proposals]
        outputs.append(torch.cat(kept_boxes)[best])
    return outputs


def rpn_losses(rpn: list[Dense], objects: list[Tensor], sizes: list[Size]) -> tuple[Tensor, Tensor]:
    logits, deltas = torch.cat([x.logits[..., 0] for x in rpn], 1), torch.cat([x.deltas for x in rpn], 1)
    anchors = torch.cat([x.anchors for x in rpn])
    of_classes, of_boxes, count = [], [], 0
    for b, (boxes, size) in enumerate(zip(objects, sizes, strict=True)):
        within = torch.cat([x.within(size) for x in rpn])
        match = torch.tensor(assigned(boxes, anchors[within], positive=0.7, negative=0.3, min_pos_iou=0.3))
        positive, negative = match >= 0, match == -1
        of_classes.append(-F.logsigmoid(logits[b, within][positive]).sum())
        of_classes.append(-F.logsigmoid(-logits[b, within][negative]).sum())
        of_boxes.append(distance(deltas[b, within][positive], boxes[match[positive]], anchors[within][positive]))
        count += max(1, int(positive.sum())) + max(1, int(negative.sum()))
    return sum(of_classes) / count, sum(of_boxes) / count


# ---- Mask R-CNN: regions


def box_head(net: Network, levels: list[Tensor], boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """For the regions of all images: (N, classes + 1) logits, the background last, and (N, classes, 4) deltas."""
    x = pooled(levels, boxes, 7).flatten(1)
    for i in range(2):
        x = net.linear(f"roi_head.bbox_head.shared_fcs.{i}", x).relu()
    deltas = net.linear("roi_head.bbox_head.fc_reg", x)
    return net.linear("roi_head.bbox_head.fc_cls", x), deltas.unflatten(1, (net.num_classes, 4))


def mask_head(net: Network, levels: list[Tensor], boxes: list[Tensor], labels: Tensor) -> Tensor:
    """(N, 28, 28) logits, those of each region's class."""
    x = pooled(levels, boxes, 14)
    for i in range(4):
        x = net.conv(f"roi_head.mask_head.convs.{i}.conv", x).relu()
    at = "roi_head.mask_head.upsample"
    x = F.conv_transpose2d(x, net.state[f"{at}.weight"], net.state[f"{at}.bias"], stride=2).relu()
    return net.conv("roi_head.mask_head.conv_logits", x)[torch.arange(len(labels)), labels]


def mask_rcnn(net: Network, images: list[Tensor], masks: bool = True) -> list[dict[str, Tensor]]:
    batch, sizes = ready(net, images)
    factors = stretch(images, sizes)
    levels, rpn = features(net, batch)
    outputs = []
    for b, regions in enumerate(propose(net, rpn, sizes, per_level=net.proposals)):
        own = [level[b : b + 1] for level in levels]
        logits, deltas = box_head(net, own, [regions])
        scores = logits.softmax(-1)[:, :-1]
        boxes = decoded(regions[:, None], deltas, sizes[b], BOX_STDS) / factors[b]
        region, label = (scores > net.score_thresh).nonzero().T
        output = best_of_each_class(net, boxes[region, label], scores[region, label], label)
        if masks:
            shapes = mask_head(net, own, [output["boxes"] * factors[b]], output["labels"]).sigmoid()
            size = images[b].shape[1:]
            whole = [pasted(shape, box, size) >= 0.5 for shape, box in zip(shapes, output["boxes"], strict=True)]
            output["masks"] = torch.stack(whole)[:, None] if whole else torch.zeros(0, 1, *size, dtype=torch.bool)
        outputs.append(output)
    return outputs


def mask_rcnn_losses(
    net: Network, images: list[Tensor], targets: list[dict[str, Tensor]], resize: bool = True, masks: bool = True
) -> dict[str, Tensor]:
    batch, sizes = ready(net, images, resize)
    levels, rpn = features(net, batch)
    objects = [
        target["boxes"].to(batch) * factor for target, factor in zip(targets, stretch(images, sizes), strict=True)
    ]
    losses = {}
    losses["loss_rpn_cls"], losses["loss_rpn_bbox"] = rpn_losses(rpn, objects, sizes)

    regions, labels, wanted, positive_regions, shapes = [], [], [], [], []
    proposals = propose(net, rpn, sizes, per_level=2 * net.proposals)
    for own, boxes, target, size in zip(proposals, objects, targets, sizes, strict=True):
        match = torch.tensor(assigned(boxes, own, positive=0.5, negative=0.5, min_pos_iou=0.5), dtype=torch.int64)
        match = torch.cat([torch.arange(len(boxes)), match])  # each object is a region too, and its own match
        own = torch.cat([boxes, own])
        positive = match >= 0
        regions.append(own)
        positive_regions.append(own[positive])
        wanted.append(torch.zeros_like(own))
        wanted[-1][positive] = deltas_to(boxes[match[positive]], own[positive], BOX_STDS)
        labels.append(torch.full((len(own),), net.num_classes))
        labels[-1][positive] = target["labels"][match[positive]]
        if masks:
            bitmaps = target["masks"].to(batch)
            if len(bitmaps):
                bitmaps = F.interpolate(bitmaps[None], size=size, mode="nearest")[0]
            for box, k in zip(own[positive], match[positive], strict=True):
                shapes.append(roi_align(bitmaps[k][None], box, 1.0, 28)[0] >= 0.5)

    logits, deltas = box_head(net, levels, regions)
    label = torch.cat(labels)
    positive = (label < net.num_classes).nonzero()[:, 0]
    losses["loss_cls"] = -logits.log_softmax(-1)[torch.arange(len(label)), label].mean()
    off = deltas[positive, label[positive]] - torch.cat(wanted)[positive]
    losses["loss_bbox"] = off.abs().sum() / len(label)
    if masks:
        logits = mask_head(net, levels, positive_regions, label[positive])
        truth = torch.stack(shapes).to(logits) if shapes else logits
        each = -truth * F.logsigmoid(logits) - (1 - truth) * F.logsigmoid(-logits)
        losses["loss_mask"] = each.mean() if shapes else logits.sum()
    return losses
