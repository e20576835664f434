"""RetinaNet and Mask R-CNN against a plain formulation over their state dict; their parts against worked metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

import twins
from helpers import plain_detectors as plain
from helpers.random_detectors import finds_much
from twins.heads.detection.boxes import assign, decode, encode, make_anchors, nms, pyramid_level, sample
from twins.heads.detection.roi_extractor import roi_align

SMALL: dict[str, Any] = {"embed_dims": (32, 64, 128, 256), "num_heads": (1, 2, 4, 8), "depths": (1, 1, 2, 1)}
CLASSES = 4
EVERY = 10**6  # samples: more than there are candidates, so that nothing is left to chance
PLAIN = {twins.retinanet: plain.retinanet, twins.mask_rcnn: plain.mask_rcnn}
PLAIN_LOSSES = {twins.retinanet: plain.retinanet_losses, twins.mask_rcnn: plain.mask_rcnn_losses}
LOSSES = {
    twins.retinanet: {"loss_cls", "loss_bbox"},
    twins.mask_rcnn: {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"},
}
BOTH_HEADS = pytest.mark.parametrize("make", [twins.retinanet, twins.mask_rcnn], ids=lambda make: make.__name__)
KINDS = ("twins_svt_small", "twins_pcpvt_small")


def pairs(cases: dict[str, Any]) -> list[Any]:
    """Each case with both detectors, on both kinds of networks in turn; the other halves are slow."""
    return [
        pytest.param(
            make, name, case, id=f"{make.__name__}-{name}-{label}", marks=[pytest.mark.slow] * ((i + j + k) % 2)
        )
        for i, (label, case) in enumerate(cases.items())
        for j, make in enumerate(PLAIN)
        for k, name in enumerate(KINDS)
    ]


def detector(make: Callable[..., nn.Module], name: str = "twins_svt_small", **settings: Any) -> nn.Module:
    """With neck and heads that say something of everything: many classes, boxes and shapes, at scores near 0.1."""
    settings = (
        {"num_classes": CLASSES, "channels": 16, "min_size": 96, "max_size": 150, "detections_per_img": 300}
        | SMALL
        | settings
    )
    if make is twins.mask_rcnn:
        settings = {"box_channels": 32, "proposals": 80, "rpn_samples": EVERY, "box_samples": EVERY} | settings
    model = make(name, **settings)
    finds_much(model)
    return model.double().eval()


def plainly(model: nn.Module, state: dict[str, Tensor] | None = None, **settings: Any) -> plain.Network:
    """What the plain formulation sees of a detector."""
    state = model.state_dict() if state is None else state
    inside = {at.removeprefix("backbone."): x for at, x in state.items() if at.startswith("backbone.")}
    known = {
        "num_classes": CLASSES,
        "min_size": 96,
        "max_size": 150,
        "detections_per_img": 300,
        "proposals": 80,
    } | settings
    return plain.Network(state, lambda batch: functional_call(model.backbone, inside, (batch,)), **known)


def images_of(*sizes: tuple[int, int], channels: int = 3) -> list[Tensor]:
    return [torch.rand(channels, *size, dtype=torch.float64) for size in sizes]


def targets_of(images: list[Tensor], *counts: int) -> list[dict[str, Tensor]]:
    """Objects that begin between the pixels, and for each an ellipse that fills its box."""
    targets = []
    for image, count in zip(images, counts, strict=True):
        height, width = image.shape[1:]
        whole = torch.tensor([width, height])
        size = 26 + torch.rand(count, 2) * (whole - 28)
        corner = torch.rand(count, 2) * (whole - size)
        boxes = torch.cat([corner, corner + size], 1)
        at_y, at_x = (boxes[:, 1::2].mean(1), boxes[:, ::2].mean(1))
        off_y = (torch.arange(height) + 0.5 - at_y[:, None]) / size[:, 1:] * 2
        off_x = (torch.arange(width) + 0.5 - at_x[:, None]) / size[:, :1] * 2
        inside = off_y[:, :, None] ** 2 + off_x[:, None, :] ** 2 <= 1
        targets.append({"boxes": boxes, "labels": torch.randint(CLASSES, (count,)), "masks": inside.to(torch.uint8)})
    return targets


def settled(detections: dict[str, Tensor]) -> dict[str, Tensor]:
    """By falling score, as outputs are; where slivers at the border score the same, by box."""
    scores, boxes = detections["scores"].tolist(), detections["boxes"].tolist()
    assert scores == sorted(scores, reverse=True)
    order = sorted(range(len(scores)), key=lambda i: (-round(scores[i], 9), boxes[i]))
    return {key: value[order] for key, value in detections.items()}


def assert_same_detections(
    found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]], pixels: float = 1e-4, scores: float = 1e-7
) -> None:
    for a, b in zip(map(settled, found), map(settled, expected), strict=True):
        assert a["labels"].dtype == torch.int64
        assert a["labels"].tolist() == b["labels"].tolist()
        torch.testing.assert_close(a["scores"], b["scores"], rtol=0, atol=scores)
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=0, atol=pixels)
        assert a.keys() == b.keys()
        if "masks" in a:
            assert a["masks"].dtype == torch.bool
            assert a["masks"].shape == b["masks"].shape
            assert (a["masks"] != b["masks"]).double().mean() < 1e-3


def assert_telling(outputs: list[dict[str, Tensor]], at_least: int = 80) -> None:
    """There is something to compare: boxes of several classes and sizes, and masks neither empty nor full."""
    for detections in outputs:
        assert len(detections["boxes"]) >= at_least
        assert len(detections["labels"].unique()) >= min(3, at_least)
        if "masks" in detections:
            share = detections["masks"].double().mean()
            assert 0.001 < share < 0.9


# ---- whole detectors

BATCHES = {
    "enlarged": [(40, 70)],
    "portrait and landscape": [(97, 61), (40, 70), (75, 133)],
    "reduced": [(211, 160), (150, 390)],
    "as they are": [(96, 117)],
}


@pytest.mark.parametrize(("make", "name", "sizes"), pairs(BATCHES))
def test_detections_are_those_of_the_plain_formulation(make: Any, name: str, sizes: list[tuple[int, int]]) -> None:
    model, images = detector(make, name), images_of(*sizes)
    with torch.no_grad():
        found, expected = model(images), PLAIN[make](plainly(model), images)
    assert_telling(expected)
    assert_same_detections(found, expected)


SETTINGS: dict[str, dict[str, Any]] = {
    "few": {"score_thresh": 0.2, "nms_thresh": 0.3, "detections_per_img": 7},
    "one channel": {"in_chans": 1, "image_mean": (0.3,), "image_std": (0.5,)},
    "one class": {"num_classes": 1},
}


@BOTH_HEADS
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_are_those_of_the_plain_formulation(make: Any, settings: dict[str, Any]) -> None:
    images = images_of((97, 61), (75, 133), channels=settings.get("in_chans", 3))
    model = detector(make, **settings)
    known = {key: value for key, value in settings.items() if key != "in_chans"}
    with torch.no_grad():
        found, expected = model(images), PLAIN[make](plainly(model, **known), images)
    assert all(len(detections["boxes"]) > 2 for detections in expected)
    assert_same_detections(found, expected)


@pytest.mark.parametrize("proposals", [7, 1000])
def test_proposals_are_as_many_as_the_plain_formulation_keeps(proposals: int) -> None:
    model, images = detector(twins.mask_rcnn, proposals=proposals, masks=False), images_of((75, 133), (97, 61))
    with torch.no_grad():
        found = model(images)
        expected = plain.mask_rcnn(plainly(model, proposals=proposals), images, masks=False)
    assert all("masks" not in detections and len(detections["boxes"]) >= 5 for detections in expected)
    assert_same_detections(found, expected)


@BOTH_HEADS
def test_single_precision_finds_the_same(make: Any) -> None:
    model, images = detector(make), images_of((97, 61), (75, 133))
    with torch.no_grad():
        expected = PLAIN[make](plainly(model), images)
        found = model.float()([image.float() for image in images])
    for a, b in zip(found, expected, strict=True):
        assert a["boxes"].dtype == a["scores"].dtype == torch.float32
        apart = (a["boxes"] - b["boxes"][:, None]).abs().amax(-1)
        same = (
            (apart < 0.01) & ((a["scores"] - b["scores"][:, None]).abs() < 1e-4) & (a["labels"] == b["labels"][:, None])
        )
        assert same.any(1).double().mean() > 0.99  # rounding may change what just passes a threshold


def test_boxes_that_leave_the_image_are_those_of_the_plain_formulation() -> None:
    model, images = detector(twins.mask_rcnn), images_of((64, 96), (97, 61))
    with torch.no_grad():
        model.rpn_head.rpn_reg.weight *= 6
        model.roi_head.bbox_head.fc_reg.weight *= 30
        found, expected = model(images), plain.mask_rcnn(plainly(model), images)
    assert all((plain.area(detections["boxes"]) == 0).sum() > 5 for detections in expected)  # nothing is left of some
    assert_same_detections(found, expected)


SIDES = [(61, 97), (83, 43), (33, 61)]  # odd: in half of an even one the edge of a mask may lie right at its threshold
COUNTS = {"some": (3, 5, 1), "one empty": (4, 0, 2), "all empty": (0, 0, 0), "crowded": (30, 4, 25)}


@pytest.mark.parametrize(("make", "name", "counts"), pairs(COUNTS))
def test_losses_and_gradients_are_those_of_the_plain_formulation(make: Any, name: str, counts: tuple[int, ...]) -> None:
    model, images = detector(make, name), images_of(*SIDES)
    assert_same_losses(make, model, images, targets_of(images, *counts), resize=False)


@BOTH_HEADS
def test_each_of_two_objects_with_the_same_box_is_learnt(make: Any) -> None:
    model, images = detector(make), images_of((61, 97))
    (target,) = targets_of(images, 3)
    target["boxes"][1], target["labels"][:2] = target["boxes"][0], torch.tensor([2, 1])
    assert_same_losses(make, model, images, [target], resize=False)


@BOTH_HEADS
def test_an_object_that_no_anchor_fits_is_learnt_as_in_the_plain_formulation(make: Any) -> None:
    model, images = detector(make), images_of((63, 97))
    (target,) = targets_of(images, 1)
    target["boxes"] = torch.tensor([[20.3, 57.6, 67.4, 62.9]])  # IoU 0.23 with its best anchor
    assert_same_losses(make, model, images, [target], resize=False)


@BOTH_HEADS
def test_targets_are_resized_with_their_images(make: Any) -> None:
    model, images = detector(make, min_size=64, max_size=100), images_of((47, 80), (90, 71))
    targets = targets_of(images, 2, 3)
    assert_same_losses(make, model, images, targets, min_size=64, max_size=100)


def assert_same_losses(
    make: Any,
    model: nn.Module,
    images: list[Tensor],
    targets: list[dict[str, Tensor]],
    resize: bool = True,
    **settings: Any,
) -> None:
    """Each loss is the same, and so is the gradient of every parameter."""
    found = model.train()(images, targets, resize=resize)
    state = {at: x.detach().clone().requires_grad_() for at, x in model.state_dict().items()}
    expected = PLAIN_LOSSES[make](plainly(model, state, **settings), images, targets, resize=resize)
    assert found.keys() == expected.keys() == LOSSES[make]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)

    weights = dict(zip(sorted(expected), (1.0, 0.7, 1.3, 0.9, 1.1), strict=False))  # so that none stands in for another
    sum(weights[key] * loss for key, loss in found.items()).backward()
    sum(weights[key] * loss for key, loss in expected.items()).backward()
    for at, parameter in model.named_parameters():
        zero = torch.zeros_like(parameter)
        a, b = (zero if x.grad is None else x.grad for x in (parameter, state[at]))
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-10, msg=lambda text, at=at: f"{at}: {text}")


# ---- worked metrics


def close(found: Tensor, expected: Any, digits: float = 1e-4) -> None:
    torch.testing.assert_close(found.double(), torch.as_tensor(expected, dtype=torch.float64), rtol=0, atol=digits)


def test_anchors_of_retinanet_are_the_published_ones() -> None:
    (level,) = make_anchors([(2, 3)], (8,), (4, 4 * 2 ** (1 / 3), 4 * 2 ** (2 / 3)))
    assert level.shape == (2 * 3 * 9, 4)
    close(level[0], [-22.6274, -11.3137, 22.6274, 11.3137])  # half as high as wide
    close(level[2], [-35.9188, -17.9594, 35.9188, 17.9594])  # scales take turns first
    close(level[3], [-16, -16, 16, 16])
    close(level[4], [-20.1587, -20.1587, 20.1587, 20.1587])
    close(level[6], [-11.3137, -22.6274, 11.3137, 22.6274])
    close(level[9 * 2 + 3], [0, -16, 32, 16])  # the third position of the first row
    close(level[9 * 3 + 3], [-16, -8, 16, 24])  # the first of the second


def test_anchors_of_an_rpn_keep_to_their_strides_whatever_the_sizes() -> None:
    levels = make_anchors([(3, 5), (2, 3), (1, 1)], (4, 8, 64), (8,))
    assert [len(level) for level in levels] == [45, 18, 3]
    close(
        levels[0][:3],
        [[-22.6274, -11.3137, 22.6274, 11.3137], [-16, -16, 16, 16], [-11.3137, -22.6274, 11.3137, 22.6274]],
    )
    close(levels[0][-2], [0, -8, 32, 24])
    close(levels[1][-2], [-16, -24, 48, 40])
    close(levels[2][1], [-256, -256, 256, 256])


def test_boxes_are_decoded_as_published() -> None:
    anchors = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 5, 5]])
    deltas = torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 2, -1], [0.7, -1.9, -0.5, 0.3]])
    expected = [[0, 0, 1, 1], [0.1409, 0.1409, 2.8591, 2.8591], [0, 0.3161, 4.1945, 0.6839], [5, 5, 5, 5]]
    close(decode(deltas, anchors, (32, 32)), expected)
    close(
        decode(deltas[1:3] * 10, anchors[1:3], (2, 3), (0.1, 0.1, 0.1, 0.1)),
        [[0.1409, 0.1409, 2.8591, 2], [0, 0.3161, 3, 0.6839]],
    )


def test_a_box_grows_and_shrinks_at_most_by_the_published_ratio() -> None:
    anchor = torch.tensor([[100.0, 100, 116, 132]])
    close(decode(torch.tensor([[0.0, 0, 9, -9]]), anchor, None), [[108 - 500, 116 - 0.256, 108 + 500, 116 + 0.256]])
    close(decode(torch.tensor([[0.0, 0, 99, -99]]), anchor, (1000, 600)), [[0, 115.744, 600, 116.256]])


def test_offsets_are_counted_in_sizes_of_the_anchor() -> None:
    anchor, box = torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[15.0, 10, 35, 20]])
    close(encode(box, anchor), [[0.25, -0.625, 0, math.log(0.25)]])
    close(encode(box, anchor, (0.1, 0.1, 0.2, 0.2)), [[2.5, -6.25, 0, math.log(0.25) / 0.2]])


@pytest.mark.parametrize("stds", [(1, 1, 1, 1), (0.1, 0.1, 0.2, 0.2)])
def test_what_was_encoded_is_decoded(stds: tuple[float, ...]) -> None:
    anchors, boxes = (torch.rand(2, 50, 4, dtype=torch.float64) * 40).unbind()
    for corners in (anchors, boxes):
        corners[:, 2:] += corners[:, :2] + 1
    close(decode(encode(boxes, anchors, stds), anchors, (200, 200), stds), boxes, 1e-9)
    both = torch.stack([boxes, anchors], 1)  # two for each anchor, as a box for each class
    close(decode(encode(both, anchors[:, None], stds), anchors[:, None], None, stds), both, 1e-9)


def test_anchors_are_assigned_by_both_thresholds() -> None:
    ious = torch.tensor([[0.9, 0.5, 0.49, 0.40, 0.39, 0.0], [0.8, 0.6, 0.10, 0.20, 0.30, 0.0]]).double()
    assert assign(ious, 0.5, 0.4, None).tolist() == [0, 1, -2, -2, -1, -1]
    assert assign(ious, 0.5, 0.5, None).tolist() == [0, 1, -1, -1, -1, -1]


def test_every_object_has_its_best_anchors_and_later_objects_go_before_earlier_ones() -> None:
    ious = torch.tensor([[0.9, 0.6, 0.0, 0.00], [0.0, 0.2, 0.3, 0.30], [0.8, 0.7, 0.1, 0.0], [0.0, 0.0, 0.1, 0.29]])
    assert assign(ious, 0.7, 0.3, 0.3).tolist() == [2, 2, 1, 1]
    assert assign(ious, 0.7, 0.3, 0.0).tolist() == [2, 2, 1, 3]
    assert assign(ious[1:2], 0.7, 0.3, 0.31).tolist() == [-1, -1, -2, -2]


def test_without_objects_all_is_background() -> None:
    assert assign(torch.zeros(0, 3), 0.5, 0.4, 0.0).tolist() == [-1, -1, -1]


def test_of_two_boxes_the_better_stays_and_both_at_the_threshold_itself() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 5.1], [50, 0, 60, 10], [0, 0, 10, 10]])
    scores, groups = torch.tensor([0.8, 0.7, 0.9, 0.95, 0.3]), torch.tensor([0, 0, 1, 0, 1])
    assert nms(boxes, scores, groups * 0, 0.5, max_count=9).tolist() == [3, 2]  # 0.51 and 0.98 with the best here
    assert nms(boxes, scores, groups, 0.5, max_count=9).tolist() == [3, 2, 0, 1]  # 0.5 is not more than 0.5
    assert nms(boxes, scores, groups, 0.49, max_count=9).tolist() == [3, 2, 0]
    assert nms(boxes, scores, groups, 0.52, max_count=9).tolist() == [3, 2, 0, 1, 4]
    assert nms(boxes, scores, groups, 0.5, max_count=2).tolist() == [3, 2]


def test_positives_are_drawn_up_to_their_share_and_negatives_fill_the_rest() -> None:
    assigned = torch.tensor([-1, 2, -2, 0, -1, -1, 1, -1, -2, -1, 0, -1])
    drawn = set()
    for _ in range(50):
        positive, negative = sample(assigned, 6, 0.5)
        assert (len(positive), len(negative)) == (3, 3)
        assert len({*positive.tolist(), *negative.tolist()}) == 6
        assert (assigned[positive] >= 0).all()
        assert (assigned[negative] == -1).all()
        drawn.update(positive.tolist(), negative.tolist())
    assert drawn == {0, 1, 3, 4, 5, 6, 7, 9, 10, 11}  # any may be drawn, but none in between the thresholds
    for count, share, found in ((9, 0.5, (4, 5)), (7, 0.25, (1, 6)), (99, 0.5, (4, 6)), (4, 0.2, (0, 4))):
        assert tuple(map(len, sample(assigned, count, share))) == found


def test_regions_come_from_the_level_for_their_size() -> None:
    sides = torch.tensor([0.0, 1, 55, 56, 111.99, 112, 223.9, 224, 447.9, 448, 5000])
    boxes = torch.stack([sides * 0 + 7, sides * 0, 7 + sides * 2, sides / 2], 1)
    assert pyramid_level(boxes).tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3]


def test_pooling_a_slope_gives_its_height_at_the_middle_of_each_bin() -> None:
    maps = []
    for level, stride in enumerate((4, 8, 16, 32)):
        x, y = ((torch.arange(640 // stride) + 0.5) * stride for _ in range(2))
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        maps.append(torch.stack([grid_x, grid_y, torch.full_like(grid_x, level)]).expand(2, -1, -1, -1).double())
    maps = [torch.cat([x, x * 0 + torch.tensor([10.0, 20.0])[:, None, None, None]], 1) for x in maps]
    first = torch.tensor([[40.5, 60.25, 70.5, 95], [100, 80, 300, 190.5]], dtype=torch.float64)
    second = torch.tensor([[30.0, 100, 580, 520], [17, 300, 90, 420], [33, 33, 33.5, 34]], dtype=torch.float64)
    found = roi_align(maps, [first, second], 7)
    assert found.shape == (5, 6, 7, 7)
    for region, box, level, image in zip(
        found, torch.cat([first, second]), (0, 1, 3, 0, 0), (10, 10, 20, 20, 20), strict=True
    ):
        middles = (torch.arange(7).double() + 0.5) / 7
        close(region[0], (box[0] + middles * (box[2] - box[0])).expand(7, 7), 1e-9)
        close(region[1], (box[1] + middles * (box[3] - box[1]))[:, None].expand(7, 7), 1e-9)
        close(region[2], torch.full((7, 7), float(level)), 1e-9)
        close(region[3:], torch.full((3, 7, 7), float(image)), 1e-9)


def test_pooling_fades_to_nothing_outside_the_map() -> None:
    ones = [torch.ones(1, 1, 64 // stride, 64 // stride, dtype=torch.float64) for stride in (4, 8, 16, 32)]
    box = torch.tensor([[-30.0, 0, 26, 28]], dtype=torch.float64)  # two points a bin, those of the fourth around -1
    across = roi_align(ones, [box], 7)[0, 0, 3]
    close(across, [0, 0, 0, 0.5, 1, 1, 1])
