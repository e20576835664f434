"""Detectors as graphs of fixed shapes, against the detectors themselves: in PyTorch, ONNX Runtime and OpenVINO."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import twins
from helpers.random_detectors import finds_much
from twins import ops
from twins.heads.detection import ExportableDetector
from twins.heads.detection.boxes import nms
from twins.heads.detection.instance_masks import paste_masks
from twins.heads.detection.nms_operator import in_operators_of_torch, nms_mask, onnx_translations
from twins.heads.detection.roi_extractor import roi_align, roi_align_everywhere
from twins.optional_dependencies import need
from twins.runtimes.one_core import shared_core

Outputs = dict[str, Tensor]

TINY: dict[str, Any] = {
    **{"embed_dims": (16, 16, 32, 32), "num_heads": (1, 1, 2, 2), "depths": (1, 1, 1, 1), "mlp_ratios": (1, 1, 1, 1)},
    **{"num_classes": 4, "channels": 16, "detections_per_img": 60},
}
DETECTORS: dict[str, Callable[..., Any]] = {
    "retinanet": lambda **settings: twins.retinanet(**TINY | settings),
    "mask_rcnn": lambda **settings: twins.mask_rcnn(**TINY | {"box_channels": 32, "proposals": 80} | settings),
    "faster_rcnn": lambda **settings: twins.mask_rcnn(
        **TINY | {"box_channels": 32, "proposals": 80, "masks": False} | settings
    ),
}
ALL = pytest.mark.parametrize("kind", DETECTORS)
BATCHES = [  # images, height, width
    (1, 97, 61),
    (3, 75, 133),
    (2, 31, 17),
    (2, 200, 33),
    (1, 32, 32),
    (1, 5, 70),
    (1, 224, 320),
]


def detector(kind: str, name: str = "twins_pcpvt_small", **settings: Any) -> Any:
    """With weights that find many boxes of every class, many of them overlapping."""
    model = DETECTORS[kind](name=name, **settings)
    finds_much(model)
    return model.eval()


def images_of(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height))


def assert_detects_alike(found: Outputs, model: Any, images: Tensor, pixels: float, score: float) -> None:
    """The detections of each image are those of the detector, in any order of like scores, and the rest is padding."""
    with torch.no_grad():
        expected = model(list(images), resize=False)
    assert found["boxes"].shape == (len(images), model.selection.detections_per_img, 4)
    for i, of_image in enumerate(expected):
        count = len(of_image["scores"])
        assert count > 10
        boxes, scores, labels = (found[key][i, :count] for key in ("boxes", "scores", "labels"))
        same = (
            ((of_image["boxes"][:, None] - boxes).abs().amax(dim=-1) < pixels)
            & ((of_image["scores"][:, None] - scores).abs() < score)
            & (of_image["labels"][:, None] == labels)
        )
        assert same.any(dim=0).all()
        assert same.any(dim=1).all()
        assert labels.dtype == torch.int64
        assert (scores.diff() <= 0).all()
        assert (found["labels"][i, count:] == -1).all()
        assert not any(found[key][i, count:].any() for key in found if key != "labels")
        if model.has_masks:
            pasted = paste_masks(found["masks"][i, :count], boxes, images.shape[2:])[same.int().argmax(dim=1)]
            assert 0.001 < pasted.double().mean() < 0.9
            assert (pasted != of_image["masks"]).double().mean() < 1e-3


# ---- in PyTorch


@ALL
@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small"])
def test_detections_are_those_of_the_detector(kind: str, name: str) -> None:
    model = detector(kind, name).double()
    exportable = ExportableDetector(model)
    for batch in BATCHES:
        images = images_of(*batch).double()
        with torch.no_grad():
            found = exportable(images)
        assert tuple(found) == exportable.outputs
        assert_detects_alike(found, model, images, pixels=1e-9, score=1e-12)


SETTINGS: dict[str, dict[str, Any]] = {
    "few": {"score_thresh": 0.15, "nms_thresh": 0.3, "detections_per_img": 15},
    "more than there are": {"detections_per_img": 400},
    "one class, one channel": {"num_classes": 1, "in_chans": 1, "image_mean": (0.3,), "image_std": (0.5,)},
}


@ALL
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_settings_are_those_of_the_detector(kind: str, settings: dict[str, Any]) -> None:
    model = detector(kind, **settings).double()
    images = images_of(2, 97, 61)[:, : settings.get("in_chans", 3)].double()
    with torch.no_grad():
        found = ExportableDetector(model)(images)
    assert_detects_alike(found, model, images, pixels=1e-9, score=1e-12)


@ALL
def test_where_nothing_is_found_all_is_padding(kind: str) -> None:
    model = detector(kind, score_thresh=0.999)
    with torch.no_grad():
        found = ExportableDetector(model)(images_of(2, 64, 40))
    assert found.pop("labels").eq(-1).all()
    assert not any(values.any() for values in found.values())


def test_nms_of_a_class_and_image_is_that_of_its_boxes_alone() -> None:
    corners = torch.rand(2, 3, 40, 2, generator=torch.Generator().manual_seed(0)) * 2000
    boxes = torch.cat([corners[:, 0], corners[:, 0] + 50 + corners[:, 1]], dim=-1)
    scores = torch.rand(2, 3, 40, generator=torch.Generator().manual_seed(1)) - 0.2
    kept = nms_mask(boxes, scores, 0.5)
    dropped = 0
    for i in range(2):
        for label in range(3):
            real = (scores[i, label] > 0).nonzero().flatten()
            alone = nms(boxes[i, real], scores[i, label, real], torch.zeros_like(real), 0.5, max_count=40)
            assert kept[i, label].nonzero().flatten().tolist() == sorted(real[alone].tolist())
            dropped += len(real) - len(alone)
    assert dropped >= 30
    assert nms_mask(boxes, scores.clamp(max=0), 0.5).sum() == 0


def test_pooling_at_every_level_gives_what_each_box_reads_at_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(2, 3, 256 // stride, 320 // stride, generator=generator) for stride in (4, 8, 16, 32)]
    corner = torch.rand(2, 30, 2, generator=generator) * 100
    sides = 2 ** (torch.rand(2, 30, 2, generator=generator) * 9)
    boxes = torch.cat([corner, corner + sides], dim=-1)
    boxes[0, 7] = 0  # what padding is
    found = roi_align_everywhere(maps, boxes, 7)
    torch.testing.assert_close(found, roi_align(maps, list(boxes), 7), rtol=0, atol=0)
    assert found[7].abs().sum() == 0


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
@pytest.mark.parametrize("export", [torch.jit.trace, torch.export.export], ids=lambda export: export.__name__)
def test_a_detector_as_it_is_says_what_to_export_instead(export: Callable[..., Any]) -> None:
    with pytest.raises(twins.TwinsError, match=r"cannot be traced.* run twins export, or .*ExportableDetector"):
        export(detector("retinanet"), ([torch.rand(3, 64, 40)],))


def test_other_detectors_are_refused() -> None:
    with pytest.raises(TypeError, match="RetinaNet and MaskRCNN can be exported, not Linear"):
        ExportableDetector(nn.Linear(1, 1))  # type: ignore[arg-type]


# ---- as graphs and files


def recorded(model: nn.Module, example: Any, **axes: Any) -> torch.export.ExportedProgram:
    with torch.no_grad(), ops.for_export():
        return torch.export.export(model, example, **axes)


def written(program: torch.export.ExportedProgram, file: Path, inputs: list[str], outputs: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, of its own parts
        exported = torch.onnx.export(
            program, dynamo=True, verbose=False, custom_translation_table=onnx_translations(),
            input_names=inputs, output_names=list(outputs),
        )  # fmt: skip
    assert exported is not None
    exported.save(str(file))
    return file


def runtimes(file: Path) -> dict[str, Callable[..., Outputs]]:
    """A function of the inputs for each runtime that reads ONNX files."""
    session = need("onnxruntime", extra="export").InferenceSession(str(file), providers=["CPUExecutionProvider"])
    inputs, names = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
    compiled = shared_core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def by_onnx_runtime(*values: Tensor) -> Outputs:
        found = session.run(None, dict(zip(inputs, (value.numpy() for value in values), strict=True)))
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    def by_openvino(*values: Tensor) -> Outputs:
        found = compiled([value.numpy() for value in values])
        return {name: torch.from_numpy(found[name].copy()) for name in names}

    return {"ONNX Runtime": by_onnx_runtime, "OpenVINO": by_openvino}


class Parts(nn.Module):
    """What the detectors' graphs hold that other networks' do not: NMS, RoIAlign."""

    def forward(self, boxes: Tensor, scores: Tensor, *maps: Tensor) -> Outputs:
        return {"kept": nms_mask(boxes, scores, 0.5), "pooled": roi_align_everywhere(maps, boxes, 7)}


def parts_example(images: int, classes: int, count: int, height: int, width: int) -> tuple[Tensor, ...]:
    """Boxes of which many overlap, some are empty, and some leave the image."""
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(images, count, 2, generator=generator) * 150 - 20
    boxes = torch.cat([corner, corner + 40 + 200 * torch.rand(images, count, 2, generator=generator)], dim=-1)
    boxes[:, :2] = 0
    scores = torch.rand(images, classes, count, generator=generator) - 0.1
    strides = (4, 8, 16, 32)
    maps = [torch.rand(images, 3, height // stride, width // stride, generator=generator) for stride in strides]
    return boxes, scores, *maps


def test_nms_and_roi_align_are_the_same_in_files(tmp_path: Path) -> None:
    example = parts_example(2, 3, 20, 256, 288)
    axes = [{0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC}]
    axes += [dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC) for _ in example[2:]]
    program = recorded(Parts(), example, dynamic_shapes={"boxes": axes[0], "scores": axes[1], "maps": tuple(axes[2:])})
    inputs = ["boxes", "scores", "x0", "x1", "x2", "x3"]
    file = written(program, tmp_path / "parts.onnx", inputs, ["kept", "pooled"])
    within_torch = in_operators_of_torch(program)
    assert "twins" not in str(within_torch.graph)
    for images, height, width in ((2, 256, 288), (1, 160, 352), (3, 64, 96)):
        values = parts_example(images, 3, 20, height, width)
        expected = Parts()(*values)
        assert 0.1 < expected["kept"].double().mean() < 0.8
        for run in (within_torch.module(), *runtimes(file).values()):
            found = run(*values)
            assert torch.equal(found["kept"].bool(), expected["kept"])
            torch.testing.assert_close(found["pooled"], expected["pooled"], rtol=0, atol=1e-4)


class Suppression(nn.Module):
    def forward(self, boxes: Tensor, scores: Tensor) -> Tensor:
        return nms_mask(boxes, scores, 0.5)


def test_nms_in_operators_of_torch_takes_any_number_of_boxes(tmp_path: Path) -> None:
    """None, one and two among them, in a program that is read from a file."""
    boxes, scores, *_ = parts_example(2, 3, 20, 64, 64)
    axes = ({0: torch.export.Dim.DYNAMIC},) * 2
    program = in_operators_of_torch(recorded(Suppression(), (boxes, scores), dynamic_shapes=axes))
    torch.export.save(program, tmp_path / "nms.pt2")
    run = torch.export.load(tmp_path / "nms.pt2").module()
    best_first = scores.flatten().argsort(descending=True)
    for count in (0, 1, 2, 3, 50):
        few = torch.zeros_like(scores).flatten().index_put((best_first[:count],), torch.tensor(0.7)).view_as(scores)
        found = run(boxes, few)
        assert torch.equal(found, nms_mask(boxes, few, 0.5))
        assert min(count, 1) <= found.sum() <= count
        assert not found[few == 0].any()


def test_a_detector_of_one_size_is_the_same_as_a_graph() -> None:
    """Whole, with a batch of any length."""
    model = detector("mask_rcnn", proposals=40)
    images = images_of(2, 50, 70)
    program = recorded(ExportableDetector(model), (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    operators = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"twins.nms.default", "torchvision.roi_align.default"} <= operators
    assert not {"aten.nonzero.default", "aten.item.default"} & operators  # whose shapes and values depend on the images
    for batch in (2, 1, 3):
        images = images_of(batch, 50, 70)
        assert_detects_alike(program.module()(images), model, images, pixels=1e-2, score=1e-4)


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("name", ["twins_svt_small", "twins_pcpvt_small"])
def test_a_detector_of_any_size_is_the_same_in_files(kind: str, name: str, tmp_path: Path) -> None:
    model = detector(kind, name)
    exportable = ExportableDetector(model)
    axes = (dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC),)
    program = recorded(exportable, (exportable.example_images(),), dynamic_shapes=axes)
    file = written(program, tmp_path / "detector.onnx", ["images"], exportable.outputs)
    for run in runtimes(file).values():
        for batch in BATCHES:
            images = images_of(*batch)
            assert_detects_alike(run(images), model, images, pixels=1e-2, score=1e-4)
