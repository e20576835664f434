"""Exported networks behind the interfaces of the networks that they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import twins
from helpers.tiny import TINY
from twins.errors import TwinsError
from twins.export.eager_network import EagerNetwork
from twins.heads.detection.selection import Selection
from twins.networks import open_network
from twins.runtimes.description import Description
from twins.runtimes.exported_info import info_of_exported
from twins.runtimes.modules import ExportedDetector, ExportedModule

CPU = torch.device("cpu")
OUTPUTS = {
    "classify": ("logits",),
    "segment": ("class_map", "logits"),
    "detect": ("boxes", "scores", "labels", "masks"),
}
RUN_SELECTION = Selection(0.05, 0.5, 100)


def described(task: str, preprocessing: Mapping[str, Any], **fields: Any) -> Description:
    """Of a network of 3 classes, of any size and batch if `fields` do not say otherwise."""
    normal = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    settings: dict[str, Any] = {
        **{"task": task, "name": "twins_svt_small", "classes": ("ant", "bee", "cat"), "classes_named": True},
        **{"head": {"segment": "upernet", "detect": "mask_rcnn"}.get(task), "create_model": {"num_classes": 3}},
        **{"category_ids": (1, 2, 3), "preprocessing": {**preprocessing, **normal}, "outputs": OUTPUTS[task]},
        **{"sizes": (), "smallest_side": 1, "batch": None, "dtype": "fp32"},
    }
    return Description(**settings | fields)


class Recorded(nn.Module):
    """Outputs that are functions of the images, and the shapes that were asked for."""

    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.of_images, self.shapes = outputs, []

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.shapes.append(tuple(images.shape))
        return self.of_images(images)


def opened(description: Description, network: nn.Module, **settings: Any) -> ExportedModule:
    info = info_of_exported(EagerNetwork(Path("net.onnx"), description, network))
    module = open_network(info, CPU, **settings).model
    assert isinstance(module, ExportedModule)
    return module


def test_a_fixed_batch_is_called_as_often_as_it_takes() -> None:
    network = Recorded(lambda images: {"logits": images.mean(dim=(2, 3))})
    module = opened(described("classify", {"img_size": 8}, batch=4), network)
    images = torch.rand(6, 3, 8, 8)
    assert torch.equal(module(images), images.mean(dim=(2, 3)))
    assert network.shapes == [(4, 3, 8, 8)] * 2
    assert next(module.parameters()).device == CPU


def test_a_classifier_of_a_fixed_size_is_shown_images_of_it() -> None:
    network = EagerNetwork(Path("net.onnx"), described("classify", {"img_size": 8}, sizes=((8, 12),)), nn.Identity())
    assert info_of_exported(network).preprocessing.size == (8, 12)  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [(32, 40), (33, 57)])
def test_a_segmenter_gives_logits_of_the_images_size(size: tuple[int, int]) -> None:
    """Just as the segmenter itself does, from the logits at a quarter of it."""
    torch.manual_seed(0)
    segmenter = twins.upernet("twins_svt_small", num_classes=3, channels=16, auxiliary=False, **TINY).eval()

    def outputs(images: Tensor) -> dict[str, Tensor]:
        logits = segmenter.decode_head(segmenter.maps(images))
        return {"class_map": segmenter(images).argmax(dim=1), "logits": logits}

    module = opened(described("segment", {"resize": (192, 48)}), Recorded(outputs))
    images = torch.rand(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(module(images), segmenter(images))
    assert module.remarks == [f"net.onnx: PyTorch {torch.__version__}, cpu, fp32"]


def test_a_segmenter_of_fixed_sizes_resizes_to_the_one_most_like_the_image() -> None:
    network = Recorded(lambda images: {"class_map": images[:, 0].long(), "logits": images[:, :, ::4, ::4]})
    module = opened(described("segment", {"resize": (192, 48)}, sizes=((32, 32), (32, 64))), network)
    assert module(torch.rand(1, 3, 40, 90)).shape == (1, 3, 40, 90)
    assert module(torch.rand(1, 3, 40, 44)).shape == (1, 3, 40, 44)
    assert network.shapes == [(1, 3, 32, 64), (1, 3, 32, 32)]
    assert module.remarks[1].startswith("net.onnx: resizes every image to 32x32 or 32x64 pixels")


def padded(found: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """An image's detections as an exported detector has them; masks fill their boxes."""
    lacking = count - len(found["scores"])
    boxes, scores = (torch.cat([found[name], found[name].new_zeros(lacking, *found[name].shape[1:])])[None]
                     for name in ("boxes", "scores"))  # fmt: skip
    labels = torch.cat([found["labels"], found["labels"].new_full((lacking,), -1)])[None]
    return {"boxes": boxes, "scores": scores, "labels": labels, "masks": torch.ones(1, count, 28, 28)}


def detector_outputs(images: Tensor) -> dict[str, Tensor]:
    """Three detections whose boxes are shares of the image's sides."""
    height, width = images.shape[-2:]
    shares = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    found = {"boxes": shares * torch.tensor([width, height] * 2), "scores": torch.tensor([0.9, 0.5, 0.1])}
    return padded(found | {"labels": torch.tensor([2, 0, 1])}, count=5)


def test_a_detector_resizes_and_maps_boxes_and_masks_back() -> None:
    network = Recorded(detector_outputs)
    module = opened(described("detect", {"min_size": 48, "max_size": 80}), network)
    wide, tall = module([torch.rand(3, 20, 60), torch.rand(3, 96, 64)])
    assert network.shapes == [(1, 3, 27, 80), (1, 3, 72, 48)]
    assert wide["boxes"].tolist() == [[0, 0, 30, 10], [15, 10, 60, 20], [0, 0, 60, 20]]
    torch.testing.assert_close(tall["boxes"][1], torch.tensor([16.0, 48.0, 64.0, 96.0]))
    assert wide["labels"].tolist() == [2, 0, 1]
    assert wide["masks"].shape == (3, 1, 20, 60)
    assert wide["masks"].sum(dim=(1, 2, 3)).tolist() == [300, 450, 1200]


def test_a_detector_leaves_out_what_is_asked_for() -> None:
    description = described("detect", {"min_size": 48, "max_size": 80})
    network = Recorded(detector_outputs)
    sure = opened(description, network, selection=RUN_SELECTION._replace(score_thresh=0.3))
    assert sure([torch.rand(3, 48, 48)])[0]["labels"].tolist() == [2, 0]
    best = opened(description, network, selection=RUN_SELECTION._replace(detections_per_img=1))
    assert best([torch.rand(3, 48, 48)])[0]["labels"].tolist() == [2]
    assert len(best.remarks) == 1


def test_a_detector_says_what_it_cannot_do() -> None:
    description = described("detect", {"min_size": 48, "max_size": 80}, recipe={"iou": 0.6, "conf": 0.1})
    network = Recorded(detector_outputs)
    with pytest.raises(TwinsError, match=r"net.onnx: --iou 0.5 is not what it was exported with, 0.6: leave it out"):
        opened(description, network, selection=RUN_SELECTION)
    module = opened(description, network, selection=Selection(0.01, 0.6, 300))
    assert "--conf 0.01 shows no more" in module.remarks[1]
    assert "--max-det 300 shows no more" in module.remarks[2]
    assert isinstance(module, ExportedDetector)


def test_an_exported_file_has_no_average() -> None:
    with pytest.raises(TwinsError, match="net.onnx: --ema is for checkpoints"):
        opened(described("classify", {"img_size": 8}), nn.Identity(), ema=True)
