"""Heat maps are those of the package `grad-cam`, and follow their formulas where that has no equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import twins
from helpers.tiny import TINY
from twins.explain.cam import CamPass
from twins.explain.observed import stages_of

cams = pytest.importorskip("pytorch_grad_cam", reason="compares with the package grad-cam: pip install grad-cam")
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, SemanticSegmentationTarget  # noqa: E402

THEIRS = {"gradcam": cams.GradCAM, "layercam": cams.LayerCAM}
TWO_EACH = TINY | {"depths": (2, 2, 2, 2)}


def lively(model: nn.Module) -> nn.Module:
    """Large weights, so that outputs depend on the image."""
    for name, parameter in model.named_parameters():
        if "norm" not in name and ".bn." not in name:
            nn.init.normal_(parameter, std=0.25)
    return model.eval()


def classifier(**settings: Any) -> twins.Twins:
    return lively(twins.create_model("twins_svt_small", num_classes=5, **TWO_EACH | settings))  # type: ignore[return-value]


def unpooled() -> twins.Twins:
    model = classifier()
    model.reset_classifier(5, global_pool="")
    return model


def segmenter(**settings: Any) -> twins.Segmenter:
    settings = TWO_EACH | {"channels": 16, "auxiliary": False} | settings
    return lively(twins.upernet("twins_svt_small", num_classes=5, **settings))  # type: ignore[return-value]


def theirs(model: nn.Module, images: Tensor, method: str, stage: int, targets: list[Any]) -> Tensor:
    """What the package makes of the last block of a stage."""
    layer = stages_of(model).blocks[stage][-1]  # type: ignore[index]
    channels_first = lambda x_BHWC: x_BHWC.permute(0, 3, 1, 2)  # noqa: E731
    with THEIRS[method](model, [layer], reshape_transform=channels_first) as cam:
        return torch.from_numpy(cam(images, targets))


def from_smallest_to_largest(heat: Tensor) -> Tensor:
    """As the package scales: ours divides by the largest alone."""
    smallest, largest = heat.amin((1, 2), keepdim=True), heat.amax((1, 2), keepdim=True)
    return (heat - smallest) / (largest - smallest + 1e-7)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_classifiers_as_the_package(method: str, stage: int) -> None:
    model, images = classifier(), torch.randn(3, 3, 96, 128)
    labels = [4, 0, 2]
    ours = twins.grad_cam(model, images, labels, method, stage)
    assert isinstance(ours, Tensor)
    assert ours.shape == (3, 96, 128)
    assert set(ours.amax((1, 2)).tolist()) <= {0, 1}
    expected = theirs(model, images, method, stage, [ClassifierOutputTarget(label) for label in labels])
    torch.testing.assert_close(from_smallest_to_largest(ours), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_segmenters_as_the_package(method: str, stage: int) -> None:
    model, images = segmenter(), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        predicted = model(images).argmax(1)
    labels = [int(of_image.flatten().bincount().argmax()) for of_image in predicted]
    pairs = zip(labels, predicted, strict=True)
    regions = [SemanticSegmentationTarget(label, np.float32(of_image == label)) for label, of_image in pairs]
    expected = theirs(model, images, method, stage, regions)
    for target in (labels, None):
        ours = twins.grad_cam(model, images, target, method, stage)
        torch.testing.assert_close(from_smallest_to_largest(ours), expected, atol=1e-5, rtol=0)
    at_pixel = np.zeros((64, 96), dtype=np.float32)
    at_pixel[40, 21] = 1
    expected = theirs(model, images, method, stage, [SemanticSegmentationTarget(3, at_pixel)] * 2)
    ours = twins.grad_cam(model, images, 3, method, stage, at=(40, 21))
    torch.testing.assert_close(from_smallest_to_largest(ours), expected, atol=1e-5, rtol=0)


def test_the_likeliest_class_is_explained_unless_another_is_named() -> None:
    model, images = classifier(), torch.randn(4, 3, 64, 64)
    likeliest = model(images).argmax(1).tolist()
    assert torch.equal(twins.grad_cam(model, images), twins.grad_cam(model, images, likeliest))
    assert torch.equal(twins.grad_cam(model, images, 2), twins.grad_cam(model, images, [2, 2, 2, 2]))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("norms", [False, True])
def test_the_map_is_the_stages_before_its_norm(norms: bool, depth: int) -> None:
    settings = {"stage_norms": norms, "depths": (depth,) * 4}
    model, images = segmenter(**settings), torch.randn(1, 3, 64, 64)
    observed: list[Tensor] = []
    backbone = model.backbone
    last = backbone.blocks[3][-1] if depth == 2 else backbone.pos_block[3]  # type: ignore[index]
    with last.register_forward_hook(lambda module, inputs, output: observed.append(output)):
        model(images)
    assert torch.equal(CamPass(model, images).map_BHWC, observed[0])


def test_what_odd_sizes_leave_over_is_as_the_pixels_beside_it() -> None:
    model, images = classifier(), torch.randn(1, 3, 75, 109)
    heat = twins.grad_cam(model, images)
    assert isinstance(heat, Tensor)
    assert heat.shape == (1, 75, 109)
    assert torch.equal(heat[:, 64:], heat[:, 63:64].expand(-1, 11, -1))
    assert torch.equal(heat[:, :, 96:], heat[:, :, 95:96].expand(-1, -1, 13))
    assert heat[:, 63].unique().numel() > 20


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_detectors_by_the_gradient_of_a_score(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient is the slope of the score, for proposals that stay as they are."""
    model, image = detector(kind).double(), torch.rand(3, 48, 64, dtype=torch.float64)
    passed = CamPass(model, [image])
    score = passed.outputs[0]["scores"][0]
    assert score.item() == pytest.approx(model([image])[0]["scores"][0].item())
    (gradient,) = torch.autograd.grad(score, passed.map_BHWC)
    direction = torch.randn(gradient.shape, dtype=torch.float64)
    if kind == "mask_rcnn":
        proposals = proposals_of(model, image)
        monkeypatch.setattr(model.rpn_head, "propose", lambda *_: proposals)
    slope = slope_along(direction, model, image)
    assert abs(slope) > 1e-4
    assert (gradient.flatten() @ direction.flatten()).item() == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("kind", ["retinanet", "mask_rcnn"])
def test_detectors_give_a_map_for_each_image_alone(kind: str) -> None:
    model, images = detector(kind), [torch.rand(3, 48, 64), torch.rand(3, 70, 50)]
    heats = twins.grad_cam(model, images)
    assert [heat.shape for heat in heats] == [(48, 64), (70, 50)]
    assert [(heat.min() >= 0, heat.max()) for heat in heats] == [(True, 1)] * 2
    assert torch.equal(twins.grad_cam(model, images[1:])[0], heats[1])


def detector(kind: str) -> Any:
    small = TINY | {"channels": 16} | ({"box_channels": 32, "proposals": 20} if kind == "mask_rcnn" else {})
    model = getattr(twins, kind)("twins_svt_small", num_classes=3, min_size=48, max_size=80, **small)
    lively(model.backbone)
    lively(model.neck)
    logits = model.bbox_head.retina_cls if kind == "retinanet" else model.roi_head.bbox_head.fc_cls
    nn.init.normal_(logits.weight, std=500.0 if kind == "retinanet" else 0.1)  # scores from 0.1 to 0.9
    nn.init.zeros_(logits.bias)
    return model.eval()


def proposals_of(model: Any, image: Tensor) -> list[Tensor]:
    image_list = model.transform([image])
    levels = model.neck(model.backbone(image_list.tensors))
    return model.rpn_head.propose(levels, model.rpn_head(levels), image_list)


def slope_along(direction_BHWC: Tensor, model: Any, image: Tensor, step: float = 1e-5) -> float:
    """The change of the best score as the last stage's map is moved by a step, in parts of that."""
    scores = []
    for moved in (-step * direction_BHWC, step * direction_BHWC):
        with model.backbone.pos_block[3].register_forward_hook(lambda module, inputs, output, by=moved: output + by):
            scores.append(model([image])[0]["scores"][0].item())
    return (scores[1] - scores[0]) / (2 * step)


def test_a_detection_is_chosen_by_its_class_and_by_a_pixel_in_its_box() -> None:
    model, image = detector("retinanet"), torch.rand(3, 48, 64)
    found = model([image])[0]
    best_of = {int(label): int((found["labels"] == label).nonzero()[0]) for label in found["labels"].unique()}
    assert len(best_of) > 1
    for label, index in best_of.items():
        passed = CamPass(model, [image])
        expected = passed.heat(passed.outputs[0]["scores"][index], "gradcam")[0, :48, :64]
        torch.testing.assert_close(twins.grad_cam(model, [image], label)[0], expected / expected.max())
    x0, y0, x1, y1 = found["boxes"].T
    x, y = 40, 20
    holding = (x0 <= x + 0.5) & (x + 0.5 < x1) & (y0 <= y + 0.5) & (y + 0.5 < y1)
    index = int(holding.nonzero()[0])
    assert index > 0
    passed = CamPass(model, [image])
    expected = passed.heat(passed.outputs[0]["scores"][index], "layercam")[0, :48, :64]
    torch.testing.assert_close(
        twins.grad_cam(model, [image], None, "layercam", at=(y, x))[0], expected / expected.max()
    )


def test_padding_of_a_detectors_input_is_cut_off() -> None:
    """33 x 50 pixels are resized to 48 x 73 and padded to 64 x 96."""
    model, image = detector("retinanet"), torch.rand(3, 33, 50)
    passed = CamPass(model, [image])
    whole = passed.heat(passed.outputs[0]["scores"][0], "gradcam")
    assert whole.shape == (1, 64, 96)
    expected = nn.functional.interpolate(whole[None, :, :48, :73], size=(33, 50), mode="bilinear")[0, 0]
    torch.testing.assert_close(twins.grad_cam(model, [image])[0], expected / expected.max())


def test_nothing_is_left_in_the_model() -> None:
    model, images = classifier(drop_path_rate=0.5), torch.randn(2, 3, 64, 64)
    expected = twins.grad_cam(model, images, 1)
    model.train().set_grad_checkpointing()
    model.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(twins.grad_cam(model, images, 1), expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def test_where_nothing_speaks_for_a_class_all_is_zero() -> None:
    model, images = classifier(), torch.randn(1, 3, 64, 64)
    nn.init.zeros_(model.head.weight)  # type: ignore[arg-type]
    assert twins.grad_cam(model, images, 1).count_nonzero() == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("make", "keywords", "message"),
    [
        (classifier, {"method": "layecam"},
         "method must be one of gradcam, layercam, not 'layecam' (did you mean layercam?)"),
        (classifier, {"stage": 4}, "stage must lie in -4..3, not 4"),
        (classifier, {"target": 5}, "target: the classes are 0 to 4, not 5"),
        (classifier, {"target": [1, 2, 3]}, "target: 3 classes for 2 images; give one, or one for each"),
        (classifier, {"at": (0, 0)}, "at: a classifier has no output at a pixel; leave it out"),
        (segmenter, {"at": (64, 0)}, "images[0]: no pixel at row 64, column 0: the image is 64 x 64"),
        (unpooled, {}, "only logits can be explained: this model has no head, or does not pool its tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_named(make: Callable[[], nn.Module], keywords: Any, message: str) -> None:
    with pytest.raises(twins.TwinsError) as error:
        twins.grad_cam(make(), torch.randn(2, 3, 64, 64), **keywords)
    assert str(error.value) == message


def test_a_class_that_is_not_predicted_has_no_region() -> None:
    model, images = segmenter(), torch.randn(1, 3, 64, 64)
    nn.init.constant_(model.decode_head.conv_seg.bias[2:3].detach(), -1e4)  # type: ignore[index]
    with pytest.raises(
        twins.TwinsError, match=r"images\[0\]: no pixel is predicted as class 2; name another, or a pixel"
    ):
        twins.grad_cam(model, images, 2)


def test_a_detector_that_finds_nothing_has_nothing_to_explain() -> None:
    model, image = detector("retinanet"), torch.rand(3, 48, 64)
    model.selection = model.selection._replace(score_thresh=1.0)
    with pytest.raises(twins.TwinsError, match="nothing is detected as class 1; lower score_thresh"):
        twins.grad_cam(model, [image], 1)
